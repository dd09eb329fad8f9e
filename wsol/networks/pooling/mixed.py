"""Mixed max-average pooling."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from wsol.networks.base_pooling import ChannelPooling


class Mixed(ChannelPooling):
    """A blend of each channel's maximum and mean.

        y = a max_i x_i + (1 - a) (1/n) Σ_i x_i

    Equal maxima share the maximum's gradient.

    Source: Lee, Gallagher and Tu, "Generalizing Pooling Functions in Convolutional Neural Networks: Mixed, Gated, and
    Tree", AISTATS 2016, mixed max-average pooling with one a per layer; the paper pools between convolutions. Differs
    from the paper: the learned a is the sigmoid of a parameter, so that it stays in (0, 1).

    Args:
        share: a in [0, 1], the weight of the maximum; the initial value, in (0, 1), if it is learned.
        learned: a = sigmoid(logit) is trained, one for all channels.

    Raises:
        ValueError: if the share lies outside its range.
    """

    shift_equivariant: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def __init__(self, share: float = 0.5, learned: bool = True) -> None:
        super().__init__()
        if not 0 <= share <= 1 or (learned and share in (0, 1)):
            interval = "(0, 1) where it is learned" if learned else "[0, 1]"
            raise ValueError(f"share must lie in {interval}, got {share}.")
        self.initial_share = float(share)
        self.logit = nn.Parameter(torch.tensor(math.log(share / (1 - share)))) if learned else None

    @property
    def share(self) -> float | Tensor:
        """Current value of a."""
        return self.initial_share if self.logit is None else self.logit.sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        share = self.share
        return (share * cells.amax(dim=(2, 3)) + (1 - share) * cells.mean(dim=(2, 3))).to(features.dtype)
