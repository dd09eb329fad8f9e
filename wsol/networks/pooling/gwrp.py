"""Global weighted rank pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling


class GWRP(ChannelPooling):
    """The mean of each channel's cells, weighted by their rank.

        y = Σ_j d^j x_(j) / Σ_j d^j,  x_(0) >= x_(1) >= ...

    d = 0 is the maximum and d = 1 the mean. Equal cells share the weights of their ranks and hence their gradient, so
    no cell is preferred for its place in memory; no value changes.

    Source: Kolesnikov and Lampert, "Seed, Expand and Constrain: Three Principles for Weakly-Supervised Image
    Segmentation", ECCV 2016, who pool class scores, with d = 0.996 on 41 x 41 cells for classes that are present. The
    highest tenth of the cells then has half of the weight, as it has with d = 0.9 on 8 x 8 cells (0.87 on 7 x 7, 0.965
    on 14 x 14).

    Args:
        decay: d in [0, 1].

    Raises:
        ValueError: if the decay lies outside [0, 1].
    """

    shift_equivariant: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], from the maximum to the mean, got {decay}.")
        self.decay = float(decay)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        cells = features.flatten(2).to(torch.promote_types(features.dtype, torch.float32))
        weights = torch.pow(self.decay, torch.arange(cells.shape[2], dtype=cells.dtype, device=cells.device))
        taken = torch.cat([weights.new_zeros(1), weights.cumsum(dim=0)])  # total weight of the highest 0 ... n cells
        values = cells.detach().contiguous()
        # In ascending order, values before `first` are lower than a cell, and values from `end` on are higher.
        ascending = values.sort(dim=2).values
        first = torch.searchsorted(ascending, values)
        end = torch.searchsorted(ascending, values, right=True)
        count = cells.shape[2]
        shares = (taken[count - first] - taken[count - end]) / (end - first)
        return ((shares * cells).sum(dim=2) / taken[-1]).to(features.dtype)
