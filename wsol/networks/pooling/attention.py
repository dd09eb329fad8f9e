"""Gated attention pooling."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from wsol.networks.base_pooling import Pooling, PoolSite


class Attention(Pooling):
    """The mean of all channels' cells, weighted by one learned attention for each cell.

        y = Σ_i a_i x_i,  a = softmax_i(wᵀ (tanh(V x_i) ⊙ sigm(U x_i))),  x_i in R^C

    The weight of a cell depends on all its channels, so the gradient methods have no closed form for this pooling.

    Source: Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, eqs. 7 and 9. The
    paper uses no biases, and L = 128 in its experiments.

    Args:
        width: L, number of rows of V and U.

    Raises:
        ValueError: if the width is not an int of at least 1.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"width must be an int from 1, got {width!r}.")
        self.width = width
        self.branches: nn.Linear | None = None  # V above U
        self.score: nn.Linear | None = None  # w

    def prepare(self, channels: int) -> int:
        """Draw V, U and w for a number of channels; a second call with the same number changes nothing.

        Raises:
            ValueError: for another number of channels than in the first call.
        """
        if self.branches is None:
            self.branches = nn.Linear(channels, 2 * self.width, bias=False)
            self.score = nn.Linear(self.width, 1, bias=False)
        elif self.branches.in_features != channels:
            raise ValueError(
                f"This Attention was prepared for {self.branches.in_features} channels, got {channels}; make a new one."
            )
        return channels

    def attention(self, features: Tensor) -> Tensor:
        """Return the (N, h, w) weights of the cells of features (N, C, h, w): at least float32, positive, of sum 1.

        Raises:
            ValueError: before `prepare`.
        """
        if self.branches is None or self.score is None:
            raise ValueError("Attention has no weights yet; call prepare(channels) first, as Classifier does.")
        of_values, of_gates = self.branches(features.permute(0, 2, 3, 1)).chunk(2, dim=-1)
        scores = self.score(of_values.tanh() * of_gates.sigmoid())[..., 0]
        # Half precision cannot represent the small weights of many cells.
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return scores.flatten(1).softmax(dim=1).view_as(scores)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        weights = self.attention(features).to(features.dtype)
        return torch.einsum("nchw,nhw->nc", features, weights)
