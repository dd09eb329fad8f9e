"""Thresholded average pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling, PoolSite


class TAP(ChannelPooling):
    """The mean of each channel's cells above a fraction of its maximum.

        y = Σ_i 1(x_i > θ m) x_i / Σ_i 1(x_i > θ m),  m = max_i x_i

    Cells around the object do not lower the value of a channel, as their zeros do under GAP. Where no cell is positive,
    none exceeds the threshold, and y is the maximum, which is the limit of the mean as m falls to 0; signed features
    come from transformers and from layers without a ReLU. All cells that count have the same gradient, 1 / their
    number, so the gradients of a channel sum to one although a shift of all cells moves the threshold. TAP pools
    features alone, because a fraction of the maximum is undefined for class scores, which may be negative.

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization",
    ECCV 2020.

    Args:
        threshold: θ in [0, 1), as a fraction of the maximum.

    Raises:
        ValueError: if the threshold lies outside [0, 1).
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)
    homogeneous: ClassVar[bool] = True

    def __init__(self, threshold: float = 0.1) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be a fraction of the maximum in [0, 1), got {threshold}.")
        self.threshold = float(threshold)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        peak = cells.detach().amax(dim=(2, 3), keepdim=True)
        counted = ((cells > self.threshold * peak) | (cells == peak)).to(cells.dtype)
        return ((counted * cells).sum(dim=(2, 3)) / counted.sum(dim=(2, 3))).to(features.dtype)
