"""Top-k pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling


class TopK(ChannelPooling):
    """The mean of the k highest cells of each channel.

    k = 1 is the maximum and k = n the mean. Cells that tie for the last places share them and their gradient, so no
    cell is preferred for its place in memory.

    Source: Li and Vasconcelos, "Multiple Instance Learning for Soft Bags via Top Instances", CVPR 2015; the first term
    of WILDCAT (Durand et al., CVPR 2017).

    Args:
        k: an int is a number of cells (all cells where a map has fewer); a float in (0, 1] is a fraction of the cells,
            rounded, at least one cell. 1 is one cell and 1.0 is all cells.

    Raises:
        ValueError: if k is neither an int of at least 1 nor a float in (0, 1].
    """

    shift_equivariant: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def __init__(self, k: int | float = 0.1) -> None:
        super().__init__()
        cells = isinstance(k, int) and not isinstance(k, bool) and k >= 1
        if not cells and not (isinstance(k, float) and 0 < k <= 1):
            raise ValueError(f"k must be an int of cells from 1 or a float fraction in (0, 1], got {k!r}.")
        self.k = k

    def count(self, cells: int) -> int:
        """Return how many of a number of cells are averaged."""
        return min(self.k, cells) if isinstance(self.k, int) else max(1, round(self.k * cells))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        cells = features.flatten(2).to(torch.promote_types(features.dtype, torch.float32))
        count = self.count(cells.shape[2])
        last = cells.detach().topk(count, dim=2).values[:, :, -1:]
        above, tied = (cells > last).to(cells.dtype), (cells == last).to(cells.dtype)
        places = (count - above.sum(dim=2, keepdim=True)) / tied.sum(dim=2, keepdim=True)
        return (((above + tied * places) * cells).sum(dim=2) / count).to(features.dtype)
