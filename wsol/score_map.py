"""From activation maps on the network's grid to score maps on the image's: where torch ends and numpy begins."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsol.geometry import Size

Interpolation = Literal["bilinear", "bicubic"]


def to_score_maps(
    activation_maps: Tensor,
    size: Size,
    interpolation: Interpolation = "bicubic",
    image_ids: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Upsample to the image's size, then min-max each map to [0, 1]: the order of Choe et al., CVPR 2020.

    Args:
        activation_maps: (N, h, w), any range.
        size: (H, W) of the score maps.
        interpolation: how to upsample.
        image_ids: N names for the error message.

    Returns:
        (N, H, W) float64 in [0, 1], from exactly 0 to exactly 1; a constant map becomes zeros.

    Raises:
        ValueError: for a map with NaN or infinity, naming its image; nothing is repaired.
    """
    finite = torch.isfinite(activation_maps).all(dim=2).all(dim=1)
    if not finite.all():
        index = int(torch.nonzero(~finite)[0])
        name = f"image {image_ids[index]!r}" if image_ids is not None else f"map {index}"
        raise ValueError(f"The activation map of {name} holds NaN or infinity.")
    maps = activation_maps.detach().to("cpu", torch.float64)
    upsampled = F.interpolate(maps[:, None], size=size, mode=interpolation, align_corners=False)[:, 0]
    # Interpolating a constant map leaves rounding noise, which min-max would blow up to a full-range map.
    constant = (maps.amax(dim=(1, 2)) == maps.amin(dim=(1, 2)))[:, None, None]
    low = upsampled.amin(dim=(1, 2), keepdim=True)
    span = upsampled.amax(dim=(1, 2), keepdim=True) - low
    flat = constant | (span == 0)
    return torch.where(flat, 0, (upsampled - low) / torch.where(flat, 1, span)).numpy()
