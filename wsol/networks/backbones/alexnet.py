"""AlexNet of torchvision, cut before its head."""

from torch import nn
from torchvision.models import get_model

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import Normalization, torchvision_weights
from wsol.networks.trunk import add_gap_convolution


def alexnet_gap(weights: str | None = "imagenet") -> Backbone:
    """AlexNet-GAP: the fully connected layers and pool5 are removed, a 3x3 convolution with 1024 units is added.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.1. 1024 channels
    and 13 x 13 cells for 224 px; 4,830,016 parameters, of which the 2,360,320 of `conv_gap` are new.

    Differs from the paper in the trunk: torchvision's AlexNet is that of Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014: other widths, no groups and no local response normalization. It is not
    AlexNet*-GAP, which has two further convolutions.

    Args:
        weights: of the trunk: `imagenet`: torchvision's default weights, downloaded on first use; None: random.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be had.
    """
    features, mean, std = _features(weights)
    trunk = nn.Sequential()
    trunk.add_module("features", features[:-1])
    return Backbone(trunk, add_gap_convolution(trunk, 256), mean, std)


def alexnet_pool5(weights: str | None = "imagenet") -> Backbone:
    """AlexNet up to and including pool5, nothing changed: what the fully connected layers of AlexNet read.

    Source: as torchvision, Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014. 256
    channels and 6 x 6 cells for 224 px; 2,469,696 parameters. With `pooling=fully_connected` and its network `alexnet`
    it is the whole network. The 13 x 13 cells of conv5 and its ReLU are the target layer `backbone.features.11`.

    Args:
        weights: see `alexnet_gap`.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be had.
    """
    features, mean, std = _features(weights)
    trunk = nn.Sequential()
    trunk.add_module("features", features)
    return Backbone(trunk, out_channels=256, mean=mean, std=std)


def _features(weights: str | None) -> tuple[nn.Sequential, Normalization, Normalization]:
    state, mean, std = torchvision_weights("alexnet", weights)
    network = get_model("alexnet", weights=None)
    if state is not None:
        network.load_state_dict(state)
    return network.features, mean, std
