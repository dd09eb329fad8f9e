"""Build backbones from torchvision's AlexNet."""

from torch import nn

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import torchvision_features
from wsol.networks.trunk import GAP_CONVOLUTION, add_gap_convolution, new_parts


def alexnet_gap(weights: str | None = "imagenet") -> Backbone:
    """Build AlexNet-GAP: remove the fully connected layers and pool5, add a 3x3 convolution with 1024 units.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.1. The network
    gives 1024 channels and 13 x 13 cells for 224 px; it has 4,830,016 parameters, of which the 2,360,320 of `conv_gap`
    are new.

    Differs from the paper in the trunk: torchvision's AlexNet is that of Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014: other widths, no groups and no local response normalization. It is not
    AlexNet*-GAP, which has two further convolutions.

    Args:
        weights: weights of the trunk. `imagenet`: torchvision's default weights, downloaded on first use; None: random.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    features, mean, std = torchvision_features("alexnet", weights)
    trunk = nn.Sequential()
    trunk.add_module("features", features[:-1])
    return Backbone(trunk, add_gap_convolution(trunk, 256), mean, std, added=new_parts([GAP_CONVOLUTION], weights))


def alexnet_pool5(weights: str | None = "imagenet") -> Backbone:
    """Build the unchanged AlexNet up to and including pool5, which its fully connected layers read.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as in torchvision. The
    network gives 256 channels and 6 x 6 cells for 224 px and has 2,469,696 parameters. `pooling=fully_connected` with
    its network `alexnet` completes AlexNet. The 13 x 13 cells of conv5 and its ReLU are the target layer
    `backbone.features.11`.

    Args:
        weights: see `alexnet_gap`.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    features, mean, std = torchvision_features("alexnet", weights)
    trunk = nn.Sequential()
    trunk.add_module("features", features)
    return Backbone(trunk, out_channels=256, mean=mean, std=std)
