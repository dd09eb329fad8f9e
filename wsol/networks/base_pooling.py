"""Define the base classes of poolings: any pooling, a pooling of each channel, a pooling with a sharpness."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

PoolSite = Literal["features", "scores"]


class Pooling(nn.Module):
    """The part of a head that reads all cells: (N, C, h, w) -> (N, C').

    Attributes:
        sites: allowed places of the pooling: on the `features` before the linear layer, or on the class `scores` after
            it.
        maps_per_class: number of class maps that are averaged before they are pooled, at the `scores` site.
        map_hint: advice for error messages, where the pooling reads no cell of the backbone's output, so that CAM and
            gradients show nothing; empty otherwise.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features",)
    map_hint: ClassVar[str] = ""
    maps_per_class: int = 1

    def prepare(self, channels: int) -> int:
        """Build the parts that depend on the number of channels, once; the classifier calls this after seeding.

        Args:
            channels: C of the input.

        Returns:
            C', the width of the output.
        """
        return channels


class ChannelPooling(Pooling):
    """A pooling (N, C, h, w) -> (N, C) whose output c depends on channel c alone.

    Before one linear layer, the gradient of class k's score is then `fc.weight[k, c]` times one gradient of the pooling
    that all classes share, and the gradient methods have closed forms.

    Attributes:
        shift_equivariant: pooling(x + t) = pooling(x) + t, so that the gradients of a channel's cells sum to one, and
            Grad-CAM at the last layer is ReLU(CAM) / (h * w).
        is_mean: the pooling is the plain mean: every cell has the gradient 1 / (h * w).
        homogeneous: pooling(s x) = s pooling(x) for s > 0, so that the gradients times the cells sum to the output
            (Euler), and HiResCAM sums to the logit.
    """

    sites: ClassVar[tuple[PoolSite, ...]] = ("features", "scores")
    shift_equivariant: ClassVar[bool] = False
    is_mean: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False


class SharpPooling(ChannelPooling):
    """A pooling with a sharpness r, fixed or learned.

    Args:
        sharpness: r, above 0, in units of 1 / features; the initial value if it is learned.
        learned: r = exp(log_sharpness) is trained, one for all channels.

    Raises:
        ValueError: if the sharpness is not a finite number above 0.
    """

    shift_equivariant: ClassVar[bool] = True

    def __init__(self, sharpness: float, learned: bool = False) -> None:
        super().__init__()
        if not 0 < sharpness < math.inf:
            raise ValueError(
                f"sharpness must be a finite number above 0, got {sharpness}. For the limits, take gap or gmp."
            )
        self.initial_sharpness = float(sharpness)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness))) if learned else None

    @property
    def sharpness(self) -> float | Tensor:
        """Current value of r."""
        return self.initial_sharpness if self.log_sharpness is None else self.log_sharpness.exp()
