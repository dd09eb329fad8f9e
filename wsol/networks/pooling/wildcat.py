"""Pooling of WILDCAT."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling, PoolSite
from wsol.networks.pooling.top_k import TopK


class WILDCAT(ChannelPooling):
    """The mean of the highest cells of each class plus alpha times the mean of its lowest.

        y = (1/k+) Σ_(k+ highest) x_i + α (1/k-) Σ_(k- lowest) x_i

    The lowest cells are evidence against the class. A shift t of all cells moves y by (1 + α) t. Cells that tie for the
    last places share them, as in `TopK`.

    Source: Durand et al., "WILDCAT: Weakly Supervised Learning of Deep ConvNets for Image Classification, Pointwise
    Localization and Segmentation", CVPR 2017; the defaults are those of the authors' example for VOC 2007. Differs from
    the authors' code, which also halves y. The mean of M maps per class is linear, as is the layer before it: one map
    with the mean of M weights is the same function, and M changes only the initialization and the learning.

    Args:
        highest: k+, a number of cells or a fraction of them; see `TopK`.
        lowest: k-, a number of cells or a fraction of them.
        alpha: weight of the lowest cells, at least 0.
        maps_per_class: M, at least 1.

    Raises:
        ValueError: if an argument lies outside its range.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("scores",)
    homogeneous: ClassVar[bool] = True

    def __init__(
        self, highest: int | float = 0.2, lowest: int | float = 0.2, alpha: float = 0.7, maps_per_class: int = 8
    ) -> None:
        super().__init__()
        if not 0 <= alpha < math.inf:
            raise ValueError(f"alpha must be a finite number from 0, got {alpha}; 0 leaves the lowest cells out.")
        if not isinstance(maps_per_class, int) or maps_per_class < 1:
            raise ValueError(f"maps_per_class must be an int from 1, got {maps_per_class!r}.")
        self.highest, self.lowest = TopK(highest), TopK(lowest)
        self.alpha = float(alpha)
        self.maps_per_class = maps_per_class

    def forward(self, features: Tensor) -> Tensor:
        """Map class maps (N, K, h, w) to (N, K)."""
        # In half precision the difference would keep the rounding errors of two larger numbers.
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        return (self.highest(cells) - self.alpha * self.lowest(-cells)).to(features.dtype)
