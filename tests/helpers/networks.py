"""Small networks with random weights, for tests."""

import torch

from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.base_pooling import Pooling
from wsol.networks.classifier import Classifier


def tiny_classifier(pooling: torch.nn.Module, num_classes: int = 5, seed: int = 0) -> Classifier:
    """Maps of 8 x 8 cells for 16 px images."""
    torch.manual_seed(seed)
    return Classifier(small_cnn(channels=(6, 10)), pooling, num_classes).eval()


class HalfOfTheChannels(Pooling):
    """The mean of every other channel: the linear layer reads another number than the backbone gives."""

    def prepare(self, channels: int) -> int:
        return channels // 2

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 1::2].mean(dim=(2, 3))


class Opaque(torch.nn.Module):
    """A classifier of which nothing is known, so that nothing has a closed form."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.backbone, self.pooling, self.fc = classifier.backbone, classifier.pooling, classifier.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pooling(self.backbone(images)))
