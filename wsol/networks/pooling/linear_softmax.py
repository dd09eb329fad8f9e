"""Linear softmax pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling, PoolSite


class LinearSoftmax(ChannelPooling):
    """The mean of each channel's cells, weighted by the cells themselves.

        y = Σ_i x_i² / Σ_i x_i

    The gradient (2 x_i - y) / Σ x is negative for cells below y / 2: where training raises a channel, it pulls high
    cells up and pushes low cells down. Equal cells have equal gradients, whose sum over the cells is not one. The
    formula assumes cells of at least 0: negative cells count as 0 and have no gradient, and a channel without a
    positive cell gives 0, without a gradient. Class scores may be negative, so it pools features alone.

    Source: Wang, Li and Metze, "A comparison of five multiple instance learning pooling functions for sound event
    detection with weak labeling", ICASSP 2019, who pool probabilities.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)
    homogeneous: ClassVar[bool] = True

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C), at least 0."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        # Not relu: a cell at 0 has the formula's gradient, -y / Σ x, and a channel after a ReLU has many such cells.
        cells = cells.masked_fill(cells < 0, 0)
        total = cells.sum(dim=(2, 3), keepdim=True)
        weights = cells / torch.where(total > 0, total, 1)
        return (weights * cells).sum(dim=(2, 3)).to(features.dtype)
