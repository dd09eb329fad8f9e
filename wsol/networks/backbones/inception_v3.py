"""Build a backbone from torchvision's InceptionV3."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.inception import (
    BasicConv2d,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import torchvision_weights
from wsol.networks.trunk import added_convolution, cut_after, load_trunk, new_parts


def inception_v3_choe(weights: str | None = "imagenet", output_stride: int = 16) -> Backbone:
    """Build the InceptionV3 of Choe et al.: remove all layers after Mixed_6e, add two 3x3 convolutions.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, as released
    (github.com/clovaai/wsolevaluation), who take the convolutions over from SPG, Zhang et al., "Self-produced Guidance
    for Weakly-supervised Object Localization", ECCV 2018. The network gives 1024 channels and 14 x 14 or 28 x 28 cells
    for 224 px; it has 25,482,976 parameters, of which the 16,517,120 of `SPG_A3_1b` and `SPG_A3_2b` are new.

    Conv2d_1a_3x3 and both max poolings are padded by one pixel. Mixed_6a has no stride and no dilation: at stride 8 all
    layers behind it keep their weights and read a grid twice as fine as in their training; at stride 16 a max pooling
    before it halves the grid instead. Training drops half of the features before each new convolution and after the
    last one. The released code ends with a 1x1 convolution to the classes and the mean; here these are the linear layer
    and `gap`.

    Differs from the released code in the normalization: the weights were trained on images in [-1, 1] (torchvision's
    `transform_input`), so mean and std are 0.5 here; the released code uses those of ImageNet.

    Args:
        weights: weights of the trunk. `imagenet`: torchvision's default weights, downloaded on first use; None: random.
        output_stride: pixels per cell, 16 or 8.

    Raises:
        ValueError: for another output stride or other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    if output_stride not in (16, 8):
        raise ValueError(f"output_stride of inception_v3_choe must be 16 or 8, got {output_stride}.")
    state, _, _ = torchvision_weights("inception_v3", weights)
    blocks = [BasicConv2d, InceptionA, _UnstridedInceptionB, InceptionC, InceptionD, InceptionE, InceptionAux]
    network = get_model(
        "inception_v3", weights=None, aux_logits=False, init_weights=state is None, inception_blocks=blocks
    )
    network.Conv2d_1a_3x3.conv.padding = (1, 1)
    network.maxpool1 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
    network.maxpool2 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
    kept = cut_after(network, "Mixed_6e")
    load_trunk(kept, state)
    trunk = nn.Sequential()
    for name, layer in kept.named_children():
        if name == "Mixed_6a" and output_stride == 16:
            trunk.add_module("maxpool3", nn.MaxPool2d(3, stride=2, ceil_mode=True))
        trunk.add_module(name, layer)
    trunk.add_module("dropout1", nn.Dropout(0.5))
    trunk.add_module("SPG_A3_1b", nn.Sequential(added_convolution(768, weight="xavier"), nn.ReLU(inplace=True)))
    trunk.add_module("dropout2", nn.Dropout(0.5))
    trunk.add_module("SPG_A3_2b", nn.Sequential(added_convolution(1024, weight="xavier"), nn.ReLU(inplace=True)))
    trunk.add_module("dropout3", nn.Dropout(0.5))
    half = (0.5, 0.5, 0.5)
    return Backbone(trunk, 1024, half, half, added=new_parts(["SPG_A3_1b", "SPG_A3_2b"], weights))


class _UnstridedInceptionB(InceptionB):
    """Mixed_6a with stride 1 and padding 1; torchvision hard-codes the stride of its max pooling."""

    def __init__(self, in_channels: int, conv_block: Callable[..., nn.Module] | None = None) -> None:
        super().__init__(in_channels, conv_block)
        for strided in (self.branch3x3, self.branch3x3dbl_3):
            strided.conv.stride, strided.conv.padding = (1, 1), (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 288, h, w) to (N, 768, h, w)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=1, padding=1)], dim=1)
