"""Global average pooling."""

from torch import Tensor, nn


class GAP(nn.Module):
    """The mean of each channel.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 2.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C)."""
        return features.mean(dim=(2, 3))
