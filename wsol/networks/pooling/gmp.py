"""Global max pooling."""

from typing import ClassVar

from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling


class GMP(ChannelPooling):
    """The maximum of each channel.

    Source: Oquab et al., "Is Object Localization for Free?", CVPR 2015, who pool class scores; per channel before the
    linear layer as compared with GAP in Zhou et al., CVPR 2016, section 3.2. Of equal maxima each gets an equal share
    of the gradient (`amax`), so no cell is preferred for its place in memory; the shares sum to one either way.
    """

    shift_equivariant: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C)."""
        return features.amax(dim=(2, 3))
