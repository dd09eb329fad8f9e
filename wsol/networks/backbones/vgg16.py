"""Build backbones from torchvision's VGG-16."""

from torch import nn

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import torchvision_features
from wsol.networks.trunk import GAP_CONVOLUTION, add_gap_convolution, added_convolution, new_parts

_POOL4 = 23  # index of pool4 among torchvision's features


def vgg16(weights: str | None = "imagenet") -> Backbone:
    """Build VGG-16 up to conv5_3 and its ReLU, without the last max pooling and the fully connected layers.

    Source: Simonyan and Zisserman, ICLR 2015. The network gives 512 channels and 14 x 14 cells for 224 px (output
    stride 16) and has 14,714,688 parameters. It lacks the extra convolution of VGG16-GAP in Zhou et al., CVPR 2016,
    which `vgg16_gap` has.

    Args:
        weights: `imagenet`: torchvision's default weights, downloaded on first use; None: random.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    features, mean, std = torchvision_features("vgg16", weights)
    return Backbone(_named(features[:-1]), out_channels=512, mean=mean, std=std)


def vgg16_gap(weights: str | None = "imagenet") -> Backbone:
    """Build VGG16-GAP: remove the fully connected layers and pool5, add a 3x3 convolution with 1024 units.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.1. The network
    gives 1024 channels and 14 x 14 cells for 224 px; it has 19,434,304 parameters, of which the 4,719,616 of `conv_gap`
    are new.

    Differs from the released Caffe network (github.com/metalbubble/CAM), which also drops half of the pooled features
    in training.

    Args:
        weights: weights of the trunk; see `vgg16`.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    features, mean, std = torchvision_features("vgg16", weights)
    trunk = _named(features[:-1])
    return Backbone(trunk, add_gap_convolution(trunk, 512), mean, std, added=new_parts([GAP_CONVOLUTION], weights))


def vgg16_pool5(weights: str | None = "imagenet") -> Backbone:
    """Build the unchanged VGG-16 up to and including pool5, which its fully connected layers read.

    Source: Simonyan and Zisserman, ICLR 2015. The network gives 512 channels and 7 x 7 cells for 224 px and has
    14,714,688 parameters. `pooling=fully_connected` completes VGG-16, to which Selvaraju et al., ICCV 2017, apply
    Grad-CAM. The 14 x 14 cells of conv5_3 and its ReLU are the target layer `backbone.features.29`.

    Args:
        weights: see `vgg16`.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    features, mean, std = torchvision_features("vgg16", weights)
    return Backbone(_named(features), out_channels=512, mean=mean, std=std)


def vgg16_choe(weights: str | None = "imagenet", output_stride: int = 16) -> Backbone:
    """Build the VGG-16 of Choe et al.: remove pool5 and the fully connected layers, add a 3x3 convolution `conv6`.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, as released
    (github.com/clovaai/wsolevaluation). The network gives 1024 channels and 14 x 14 or 28 x 28 cells for 224 px; it has
    19,434,304 parameters, of which the 4,719,616 of `conv6` are new. At stride 16 it equals `vgg16_gap`.

    At stride 8 pool4 is removed as well (their `large_feature_map`), and conv5 is not dilated: it keeps its weights and
    reads a grid twice as fine as in its training.

    Args:
        weights: weights of the trunk; see `vgg16`.
        output_stride: pixels per cell, 16 or 8.

    Raises:
        ValueError: for another output stride or other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    if output_stride not in (16, 8):
        raise ValueError(f"output_stride of vgg16_choe must be 16 or 8, got {output_stride}.")
    features, mean, std = torchvision_features("vgg16", weights)
    if output_stride == 8:
        features[_POOL4] = nn.Identity()  # the layers behind it keep their indices
    trunk = _named(features[:-1])
    trunk.add_module("conv6", added_convolution(512))
    trunk.add_module("relu", nn.ReLU(inplace=True))
    return Backbone(trunk, out_channels=1024, mean=mean, std=std, added=new_parts(["conv6"], weights))


def _named(features: nn.Sequential) -> nn.Sequential:
    trunk = nn.Sequential()
    trunk.add_module("features", features)
    return trunk
