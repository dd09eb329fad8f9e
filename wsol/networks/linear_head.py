"""The linear layer that makes a network's logits."""

import torch
from torch import Tensor, nn

from wsol.networks.base_pooling import Pooling
from wsol.networks.classifier import Classifier


def linear_head(network: nn.Module) -> nn.Linear:
    """The last linear layer of a classifier of ours, torchvision's or timm's.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(network, Classifier):
        return network.fc
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear layer that could hold class weights.")
    return layers[-1]


def check_reads_channels(classifier: Classifier, what: str) -> None:
    """Refuse a head whose linear layer reads something else than the channels of the backbone.

    Args:
        classifier: of ours.
        what: for the message: that which needs it.

    Raises:
        ValueError: naming the head, and those that do.
    """
    usual = type(classifier) is Classifier
    reads, given = classifier.fc.in_features, classifier.backbone.out_channels
    if not usual or reads != given:
        head = type(classifier.pooling if usual else classifier).__name__
        raise ValueError(
            f"{what} need a linear layer with one weight per channel of the backbone, and {head} reads {reads} for "
            f"{given}; take pooling=gap, or another pooling of each channel, without method=acol."
        )


def class_weights(network: nn.Module, features: Tensor, logits: Tensor, layer: str) -> Tensor:
    """(K, C) weights of the linear layer that reads the pooled features.

    A classifier of ours is built that way. Of any other network it is checked that mean pooling and its last linear
    layer give its logits, so that no map is called CAM that is none.

    Args:
        network: the classifier.
        features: (N, C, h, w) at `layer`.
        logits: (N, K) of the same pass.
        layer: the name of the target layer, for messages.

    Raises:
        ValueError: if the layer is not followed by pooling and one linear layer.
    """
    head = linear_head(network)
    if head.in_features != features.shape[1]:
        hint = _hint(network) if isinstance(network, Classifier) else ""
        raise ValueError(
            f"CAM needs one fc weight per channel, got {head.in_features} for the {features.shape[1]} channels of "
            f"{layer!r}. {hint}".rstrip()
        )
    if not isinstance(network, Classifier):
        with torch.no_grad():
            expected = head(features.mean(dim=(2, 3)))
        if expected.shape != logits.shape or not torch.allclose(expected, logits, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"CAM needs mean pooling and one linear layer after {layer!r}, and {type(network).__name__} has "
                "something else there; use grad_cam, which needs neither."
            )
    return network.class_weights() if isinstance(network, Classifier) else head.weight


def check_reads_places(classifier: Classifier, layer: str) -> None:
    """Refuse the backbone's output where the head reads nothing that has a place there: gradients would be constant.

    Args:
        classifier: of ours.
        layer: that output's name, for the message.

    Raises:
        ValueError: naming what to ask for instead.
    """
    if type(classifier) is Classifier and isinstance(classifier.pooling, Pooling) and classifier.pooling.map_hint:
        raise ValueError(
            f"No gradient reaches the patches at {layer!r}: {type(classifier.pooling).__name__} does not read them. "
            f"{classifier.pooling.map_hint}"
        )


def _hint(classifier: Classifier) -> str:
    pooling = classifier.pooling if type(classifier) is Classifier else None
    return classifier.cam_hint or (pooling.map_hint if isinstance(pooling, Pooling) else "")
