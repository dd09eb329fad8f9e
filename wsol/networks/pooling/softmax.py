"""Softmax-weighted pooling."""

import torch
from torch import Tensor

from wsol.networks.base_pooling import SharpPooling


class Softmax(SharpPooling):
    """The mean of each channel's cells, weighted by their own softmax.

        y = Σ_i p_i x_i,  p = softmax(r x)

    The sharpness r leads from the mean (r -> 0) to the maximum (r -> inf). The gradient p_i (1 + r (x_i - y)) sums to
    one. It is negative for cells more than 1 / r below y, which training pushes down where it raises a channel.

    Source: exponential softmax of Wang, Li and Metze, "A comparison of five multiple instance learning pooling
    functions for sound event detection with weak labeling", ICASSP 2019, where r = 1; with a learned r it is the
    auto-pool of McFee, Salamon and Bello, "Adaptive pooling operators for weakly labeled sound event detection",
    IEEE/ACM TASLP 2018. Differs from auto-pool: all channels share one r, which stays above 0.

    Args:
        sharpness: r, above 0, in units of 1 / features; the initial value if it is learned.
        learned: r = exp(log_sharpness) is trained, one for all channels.

    Raises:
        ValueError: if the sharpness is not a finite number above 0.
    """

    def __init__(self, sharpness: float = 1.0, learned: bool = False) -> None:
        super().__init__(sharpness, learned)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        cells = features.flatten(2).to(torch.promote_types(features.dtype, torch.float32))
        weights = (self.sharpness * cells).softmax(dim=2)
        return (weights * cells).sum(dim=2).to(features.dtype)
