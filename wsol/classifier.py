"""Backbone, pooling, one linear layer."""

from torch import Tensor, nn

from wsol.backbone import Backbone


class Classifier(nn.Module):
    """An image classifier whose head is pooling per channel + one linear layer.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 2.

    Args:
        backbone: images -> features (N, C, h, w).
        pooling: (N, C, h, w) -> (N, C).
        num_classes: K.
    """

    def __init__(self, backbone: Backbone, pooling: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.fc = nn.Linear(backbone.out_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8, or float in [0, 1] -> logits (N, K)."""
        return self.fc(self.pooling(self.backbone(images)))
