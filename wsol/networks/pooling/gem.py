"""Generalized mean pooling."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from wsol.networks.base_pooling import ChannelPooling, PoolSite


class GeM(ChannelPooling):
    """The generalized mean of each channel.

        y = ((1/n) Σ_i max(x_i, eps)^p)^(1/p)

    p = 1 is the mean and p -> inf the maximum. The pooling is computed as exp((1/p) log((1/n) Σ_i exp(p log x_i))), so
    that powers of small cells do not underflow. Cells below eps, such as all cells that a ReLU has cut off, count as
    eps and have no gradient; equal cells have equal gradients. GeM pools features alone, because class scores may be
    negative. It is homogeneous above eps only, because eps does not scale with the cells.

    Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, eq. 3.
    Differs from the paper's learned p: the logarithm of p is learned, so that p stays above 0.

    Args:
        power: p, above 0; the initial value if it is learned.
        eps: lower bound of each cell, above 0, in units of the features.
        learned: p = exp(log_power) is trained, one for all channels.

    Raises:
        ValueError: if power or eps is not a finite number above 0.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)

    def __init__(self, power: float = 3.0, eps: float = 1e-6, learned: bool = True) -> None:
        super().__init__()
        if not 0 < power < math.inf:
            raise ValueError(f"power must be a finite number above 0, got {power}; for the maximum take gmp.")
        if not 0 < eps < math.inf:
            raise ValueError(f"eps must be a finite number above 0, got {eps}; 1e-6 is usual.")
        self.initial_power = float(power)
        self.eps = eps
        self.log_power = nn.Parameter(torch.tensor(math.log(power))) if learned else None

    @property
    def power(self) -> float | Tensor:
        """Current value of p."""
        return self.initial_power if self.log_power is None else self.log_power.exp()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C), at least eps."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        logs = cells.clamp(min=self.eps).log()
        power = self.power
        peak = logs.detach().amax(dim=(2, 3), keepdim=True)
        # expm1 and log1p keep the precision for small p, where log(mean(exp)) / p would amplify rounding errors.
        above = torch.expm1(power * (logs - peak)).mean(dim=(2, 3)).log1p() / power
        return (peak[:, :, 0, 0] + above).exp().to(features.dtype)
