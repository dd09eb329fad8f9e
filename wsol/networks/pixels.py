"""Images as the numbers that a network computes with, and the colour that it sees as nothing."""

import torch
from torch import Tensor, nn


def to_pixels(network: nn.Module, images: Tensor) -> Tensor:
    """Images as the floats that gradients are taken of and that masks are laid over.

    Args:
        network: it decides the type that uint8 becomes.
        images: (N, 3, H, W) uint8, for a network that normalizes inside; or float as it takes it.

    Returns:
        (N, 3, H, W) float without a graph: uint8 divided by 255; float as it is.

    Raises:
        ValueError: for images that are no floats, where the network does not normalize: their scale is not known.
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
    """(1, 3, 1, 1) the colour that the network normalizes to zero; erased pixels are set to it, as in the papers.

    Args:
        network: of ours, or any other.
        otherwise: the colour for a network that does not normalize inside: 0, as it gets normalized images.
    """
    mean = _mean_inside(network)
    if mean is not None:
        return mean.detach()
    parameter = next(network.parameters(), torch.zeros(()))
    return torch.full((1, 3, 1, 1), otherwise, dtype=parameter.dtype, device=parameter.device)


def _mean_inside(network: nn.Module) -> Tensor | None:
    """The mean of the module that normalizes, a `Backbone` or a `NormalizedNetwork`."""
    for module in network.modules():
        mean, std = getattr(module, "mean", None), getattr(module, "std", None)
        if isinstance(mean, Tensor) and isinstance(std, Tensor) and mean.shape == std.shape == (1, 3, 1, 1):
            return mean
    return None
