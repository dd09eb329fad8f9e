"""Global max pooling."""

from typing import ClassVar

from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling


class GMP(ChannelPooling):
    """The maximum of each channel.

    Source: Oquab et al., "Is Object Localization for Free?", CVPR 2015, who pool class scores; Zhou et al., CVPR 2016,
    section 3.2, compare it with GAP, per channel before the linear layer. Equal maxima share the gradient equally
    (`amax`), so no cell is preferred for its place in memory; the shares sum to one.
    """

    shift_equivariant: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        return features.amax(dim=(2, 3))
