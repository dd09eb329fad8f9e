"""Fully connected layers of VGG-16 and AlexNet in place of a pooling."""

from typing import Literal, get_args

from torch import Tensor, nn
from torchvision.models import get_model

from wsol.networks.base_pooling import Pooling
from wsol.networks.pretrained import torchvision_weights

Network = Literal["vgg16", "alexnet"]


class FullyConnected(Pooling):
    """fc6 and fc7 of torchvision's VGG-16 or AlexNet; the classifier's own linear layer is fc8.

    Source: Simonyan and Zisserman, ICLR 2015; Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014. After `vgg16_pool5` or `alexnet_pool5` the classifier is the unchanged network, which Grad-CAM
    explains and CAM cannot (Selvaraju et al., ICCV 2017, section 3).

    The cells are averaged to 7 x 7 (VGG-16; AlexNet 6 x 6), which changes nothing for 224 px, and flattened. fc6, fc7,
    their ReLUs and dropouts keep torchvision's order and its names, `classifier.0` and `classifier.3` (AlexNet
    `classifier.1` and `classifier.4`). 119,545,856 parameters, AlexNet 54,534,144. fc8 is new for any weights.

    Args:
        network: network that the layers come from: `vgg16` reads 512 channels, `alexnet` 256.
        weights: `imagenet`: torchvision's default weights, downloaded when the classifier is first built; None:
            random.

    Raises:
        ValueError: for another network.
    """

    def __init__(self, network: Network = "vgg16", weights: str | None = "imagenet") -> None:
        super().__init__()
        if network not in get_args(Network):
            raise ValueError(f"network of fully_connected must be {' or '.join(get_args(Network))}, got {network!r}.")
        self.network, self.weights = network, weights
        self.avgpool: nn.Module = nn.Identity()
        self.classifier = nn.Sequential()  # empty until `prepare`

    def prepare(self, channels: int) -> int:
        """Build the layers; a second call leaves them unchanged.

        Args:
            channels: C of the features.

        Returns:
            4096, the width of fc7.

        Raises:
            ValueError: for another number of channels than the network's, or other weights.
            ConnectionError: if the weights cannot be downloaded.
        """
        expected = {"vgg16": 512, "alexnet": 256}[self.network]
        if channels != expected:
            raise ValueError(
                f"The fully connected layers of {self.network} read {expected} channels, got {channels}; "
                f"use backbone={self.network}_pool5."
            )
        if not self.classifier:
            state, _, _ = torchvision_weights(self.network, self.weights)
            whole = get_model(self.network, weights=None)
            if state is not None:
                whole.load_state_dict(state)
            self.avgpool, self.classifier = whole.avgpool, whole.classifier[:-1]
        return 4096

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, 4096)."""
        if not self.classifier:
            raise ValueError("FullyConnected has no layers yet: put it into a Classifier, or call `prepare`.")
        return self.classifier(self.avgpool(features).flatten(1))
