"""Poolings that one number, the sharpness, leads from the mean to the maximum."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from wsol.channel_pooling import ChannelPooling


class SharpPooling(ChannelPooling):
    """Holds the sharpness r, fixed or learned.

    Args:
        sharpness: r, above 0, in units of 1 / features; where it is learned, what it starts from.
        learned: r = exp(log_sharpness) is trained, one for all channels.

    Raises:
        ValueError: if the sharpness is not a finite number above 0.
    """

    shift_equivariant: ClassVar[bool] = True

    def __init__(self, sharpness: float, learned: bool = False) -> None:
        super().__init__()
        if not 0 < sharpness < math.inf:
            raise ValueError(
                f"sharpness must be a finite number above 0, got {sharpness}; for the limits take gap or gmp."
            )
        self.initial_sharpness = float(sharpness)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness))) if learned else None

    @property
    def sharpness(self) -> float | Tensor:
        """r, as it is now."""
        return self.initial_sharpness if self.log_sharpness is None else self.log_sharpness.exp()
