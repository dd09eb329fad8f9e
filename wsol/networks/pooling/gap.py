"""Global average pooling."""

from typing import ClassVar

from torch import Tensor

from wsol.networks.base_pooling import ChannelPooling


class GAP(ChannelPooling):
    """The mean of each channel.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 2.
    """

    shift_equivariant: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        return features.mean(dim=(2, 3))
