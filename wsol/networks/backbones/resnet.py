"""Build backbones from torchvision's ResNets."""

from collections import OrderedDict

from torch import nn
from torchvision.models import ResNet, get_model
from torchvision.models.resnet import BasicBlock, Bottleneck

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import torchvision_weights

_STRIDED_STAGES = {32: (), 16: ("layer4",), 8: ("layer3", "layer4")}


def resnet18(weights: str | None = "imagenet", output_stride: int = 32, dilate: bool = True) -> Backbone:
    """Build ResNet-18 up to layer4 (512 channels; 11,176,512 parameters); see `resnet50`."""
    return _resnet("resnet18", weights, output_stride, dilate)


def resnet50(weights: str | None = "imagenet", output_stride: int = 32, dilate: bool = True) -> Backbone:
    """Build ResNet-50 up to layer4 (2048 channels; 7 x 7 cells for 224 px at stride 32; 23,508,032 parameters).

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

    At stride 16 or 8 without dilation it is the ResNet-50 of Choe et al., "Evaluating Weakly Supervised Object
    Localization Methods Right", CVPR 2020, as released (github.com/clovaai/wsolevaluation): 14 x 14 or 28 x 28 cells
    for 224 px (their `large_feature_map`). Differs from the release in the weights: torchvision's default weights come
    from a later training than those that the release loads.

    Args:
        weights: `imagenet`: torchvision's default weights, downloaded on first use; None: random.
        output_stride: pixels per cell. 32 as published; 16 or 8 remove the stride of layer4, or of layer3 and layer4,
            and keep all weights.
        dilate: dilate the 3x3 convolutions behind a removed stride, so that each weight still meets the pixels that it
            was trained on (as torchvision's `replace_stride_with_dilation`); if False, they read the finer grid
            undilated.

    Raises:
        ValueError: for another output stride or other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    return _resnet("resnet50", weights, output_stride, dilate)


def _resnet(name: str, weights: str | None, output_stride: int, dilate: bool) -> Backbone:
    if output_stride not in _STRIDED_STAGES:
        raise ValueError(f"output_stride of {name} must be 32, 16 or 8, got {output_stride}.")
    state, mean, std = torchvision_weights(name, weights)
    network = get_model(name, weights=None)
    if state is not None:
        network.load_state_dict(state)
    remove_strides(network, _STRIDED_STAGES[output_stride], dilate)
    trunk = nn.Sequential(
        OrderedDict((child, module) for child, module in network.named_children() if child not in ("avgpool", "fc"))
    )
    return Backbone(trunk, network.fc.in_features, mean, std)


def remove_strides(network: ResNet, stages: tuple[str, ...], dilate: bool = True) -> None:
    """Set the stride of some stages to 1 and dilate the convolutions behind; torchvision refuses this for basic blocks.

    Args:
        network: changed in place.
        stages: names among layer2, layer3 and layer4, in order.
        dilate: dilate the convolutions behind a removed stride; if False, leave them unchanged.
    """
    dilation = 1
    for stage in stages:
        before, dilation = dilation, dilation * 2 if dilate else 1
        for index, block in enumerate(network.get_submodule(stage).children()):
            assert isinstance(block, BasicBlock | Bottleneck)
            if block.downsample is not None:
                block.downsample[0].stride = (1, 1)
            # The convolution that had the stride still reads the grid of the stage before it.
            strided = "conv1" if isinstance(block, BasicBlock) else "conv2"
            for name in ("conv1", "conv2"):
                convolution = block.get_submodule(name)
                if convolution.kernel_size != (3, 3):
                    continue
                spacing = before if index == 0 and name == strided else dilation
                convolution.stride, convolution.dilation, convolution.padding = (1, 1), (spacing,) * 2, (spacing,) * 2
