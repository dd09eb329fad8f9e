"""VGG-16 of torchvision, cut before its head."""

from torch import nn
from torchvision.models import get_model

from wsol.backbone import Backbone
from wsol.pretrained import torchvision_weights


def vgg16(weights: str | None = "imagenet") -> Backbone:
    """VGG-16 up to conv5_3 and its ReLU: the fully connected layers and the last max pooling are removed.

    Source: Simonyan and Zisserman, ICLR 2015. 512 channels at output stride 16, 14 x 14 cells for 224 px. Without the
    extra convolution of VGG16-GAP in Zhou et al., CVPR 2016.

    Args:
        weights: `imagenet`: torchvision's default weights, downloaded on first use; None: random.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be had.
    """
    state, mean, std = torchvision_weights("vgg16", weights)
    network = get_model("vgg16", weights=None)
    if state is not None:
        network.load_state_dict(state)
    trunk = nn.Sequential()
    trunk.add_module("features", network.features[:-1])
    return Backbone(trunk, out_channels=512, mean=mean, std=std)
