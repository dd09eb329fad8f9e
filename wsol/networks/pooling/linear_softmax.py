"""Linear softmax pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling, PoolSite


class LinearSoftmax(ChannelPooling):
    """The mean of each channel's cells, weighted by the cells themselves.

        y = Σ_i x_i² / Σ_i x_i

    The gradient (2 x_i - y) / Σ x is negative for cells below y / 2: where the channel is to rise, high cells are
    pulled up and low ones pushed down. It is the same for equal cells, and its sum is not one. The formula is made for
    cells from 0. Of features without a ReLU those below count as 0 and have no gradient, and a channel without a
    positive cell gives 0, without a gradient; class scores are not pooled so.

    Source: Wang, Li and Metze, "A comparison of five multiple instance learning pooling functions for sound event
    detection with weak labeling", ICASSP 2019, who pool probabilities.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)
    homogeneous: ClassVar[bool] = True

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C), at least 0."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        # Not relu: a cell at 0 has the formula's gradient, -y / Σ x, and a channel after a ReLU has many such cells.
        cells = cells.masked_fill(cells < 0, 0)
        total = cells.sum(dim=(2, 3), keepdim=True)
        weights = cells / torch.where(total > 0, total, 1)
        return (weights * cells).sum(dim=(2, 3)).to(features.dtype)
