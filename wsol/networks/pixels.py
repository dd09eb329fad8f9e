"""Convert images to the floats that a network computes with, and find the colour that it normalizes to zero."""

import torch
from torch import Tensor, nn


def to_pixels(network: nn.Module, images: Tensor) -> Tensor:
    """Convert images to floats, which have gradients and can be masked.

    Args:
        network: the network whose precision uint8 images are converted to.
        images: (N, 3, H, W) uint8 for a network that normalizes inside, or float in the network's own range.

    Returns:
        (N, 3, H, W) float without a graph: uint8 images divided by 255, float images unchanged.

    Raises:
        ValueError: for integer images of a network that does not normalize inside, because their scale is unknown.
    """
    if images.is_floating_point():
        return images.clone() if images.is_inference() else images.detach()
    mean = _mean_inside(network)
    if images.dtype != torch.uint8 or mean is None:
        raise ValueError(
            f"Pixels must be floats, got {images.dtype} for a {type(network).__name__}; only a network that normalizes "
            "inside, like those with a wsol Backbone, takes uint8. Give it the float images that it was trained on."
        )
    return images.to(mean.dtype) / 255


def mean_color(network: nn.Module, otherwise: float = 0.0) -> Tensor:
    """Return the (1, 3, 1, 1) colour that a network normalizes to zero; papers set erased pixels to this colour.

    Args:
        network: any network.
        otherwise: colour for a network that does not normalize inside; 0 fits normalized images.
    """
    mean = _mean_inside(network)
    if mean is not None:
        return mean.detach()
    parameter = next(network.parameters(), torch.zeros(()))
    return torch.full((1, 3, 1, 1), otherwise, dtype=parameter.dtype, device=parameter.device)


def _mean_inside(network: nn.Module) -> Tensor | None:
    """Return the mean of the module that normalizes, a `Backbone` or a `NormalizedNetwork`; None without one."""
    for module in network.modules():
        mean, std = getattr(module, "mean", None), getattr(module, "std", None)
        if isinstance(mean, Tensor) and isinstance(std, Tensor) and mean.shape == std.shape == (1, 3, 1, 1):
            return mean
    return None
