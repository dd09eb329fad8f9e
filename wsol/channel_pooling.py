"""Poolings that turn each channel into one number."""

from typing import ClassVar

from torch import nn


class ChannelPooling(nn.Module):
    """A pooling (N, C, h, w) -> (N, C) whose output c depends on channel c alone.

    Before one linear layer, the gradient of class k's score is then `fc.weight[k, c]` times one gradient of the pooling
    that all classes share, and the gradient methods have closed forms.

    Attributes:
        shift_equivariant: pooling(x + t) = pooling(x) + t, so that the gradients of a channel's cells sum to one, and
            Grad-CAM at the last layer is ReLU(CAM) / (h * w).
        is_mean: the pooling is the plain mean: every cell has the gradient 1 / (h * w).
    """

    shift_equivariant: ClassVar[bool] = False
    is_mean: ClassVar[bool] = False
