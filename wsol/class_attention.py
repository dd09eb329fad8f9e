"""Where a class is seen, as training reads it: a class activation map in [0, 1], without a graph."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsol.geometry import Size


def class_attention(features: Tensor, weights: Tensor, size: Size | None = None) -> Tensor:
    """The class activation map of one class for each image, min-max normalized.

    Args:
        features: (N, C, h, w) that the linear layer reads, pooled or at each cell.
        weights: (N, C) of each image's class.
        size: (H, W) that the maps are resized to before they are normalized, bilinear; None: their own cells.

    Returns:
        (N, h, w) or (N, H, W), at least float32, from exactly 0 to exactly 1; a constant map becomes zeros.
    """
    # In full precision, whatever the training's: what is close to a threshold is decided here.
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(features.dtype, torch.float32)
        maps = torch.einsum("nchw,nc->nhw", features.to(dtype), weights.to(dtype))
        # Asked before resizing, which leaves rounding noise on a constant map.
        constant = (maps == maps[:, :1, :1]).all(dim=2).all(dim=1)[:, None, None]
        if size is not None:
            maps = interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        lowest = maps.amin(dim=(1, 2), keepdim=True)
        span = maps.amax(dim=(1, 2), keepdim=True) - lowest
        return torch.where(constant | (span == 0), torch.zeros_like(maps), (maps - lowest) / span)
