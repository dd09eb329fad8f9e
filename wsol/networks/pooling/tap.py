"""Thresholded average pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling, PoolSite


class TAP(ChannelPooling):
    """The mean of each channel's cells above a fraction of its maximum.

        y = Σ_i 1(x_i > θ m) x_i / Σ_i 1(x_i > θ m),  m = max_i x_i

    The area of a channel does not lower its value, as the zeros around it do under GAP. Where no cell is positive none
    exceeds the threshold, and y is the maximum, which is what the mean tends to as m falls to 0; signed features come
    from transformers and from layers without a ReLU. All cells that count have the same gradient, 1 / their number: the
    gradients of a channel sum to one although a shift of all cells moves the threshold. A fraction of the maximum
    means nothing for class scores, which may be negative, so it pools features alone.

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization",
    ECCV 2020.

    Args:
        threshold: θ in [0, 1), as a fraction of the maximum.

    Raises:
        ValueError: if the threshold is not.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)
    homogeneous: ClassVar[bool] = True

    def __init__(self, threshold: float = 0.1) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be a fraction of the maximum in [0, 1), got {threshold}.")
        self.threshold = float(threshold)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C)."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        peak = cells.detach().amax(dim=(2, 3), keepdim=True)
        counted = ((cells > self.threshold * peak) | (cells == peak)).to(cells.dtype)
        return ((counted * cells).sum(dim=(2, 3)) / counted.sum(dim=(2, 3))).to(features.dtype)
