"""Find the linear layer that gives a network's logits, and check what it reads."""

import torch
from torch import Tensor, nn

from wsol.networks.base_pooling import Pooling
from wsol.networks.classifier import Classifier
from wsol.networks.trained_network import NormalizedNetwork


def linear_head(network: nn.Module) -> nn.Linear:
    """Return the last linear layer of a classifier: a wsol `Classifier`, or one of torchvision or timm.

    Raises:
        ValueError: if the network has no linear layer.
    """
    if isinstance(network, Classifier):
        return network.fc
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear layer that could hold class weights.")
    return layers[-1]


def check_reads_channels(classifier: Classifier, what: str) -> None:
    """Raise ValueError if the linear layer reads other features than the channels of the backbone.

    Args:
        classifier: a wsol classifier.
        what: plural noun for the message: what needs such a linear layer.

    Raises:
        ValueError: naming the head, and the options that do read the channels.
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
    """Return the (K, C) weights of the linear layer that reads the pooled features.

    A wsol `Classifier` has such a layer by construction. Any other network must give its logits by mean pooling and its
    last linear layer; otherwise CAM is undefined for it.

    Args:
        network: the classifier.
        features: (N, C, h, w) output of `layer`.
        logits: (N, K) output of the same pass.
        layer: name of the target layer, for messages.

    Raises:
        ValueError: if pooling and one linear layer do not follow the layer.
    """
    head = linear_head(network)
    if head.in_features != features.shape[1]:
        hint = _hint(network) if isinstance(network, Classifier) else ""
        raise ValueError(
            f"CAM needs one fc weight per channel, got {head.in_features} for the {features.shape[1]} channels of "
            f"{layer!r}. {hint}".rstrip()
        )
    if isinstance(network, Classifier):
        return network.class_weights()
    with torch.no_grad():
        expected, weight = head(features.mean(dim=(2, 3))), head.weight
    if isinstance(network, NormalizedNetwork):
        expected, weight = network.in_class_order(expected), network.in_class_order(weight.T).T
    if expected.shape != logits.shape or not torch.allclose(expected, logits, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"CAM needs mean pooling and one linear layer after {layer!r}, and {type(network).__name__} has "
            "something else there; use grad_cam, which needs neither."
        )
    return weight


def check_reads_places(classifier: Classifier, layer: str) -> None:
    """Raise ValueError if the head reads no cell of the backbone's output, where gradients would be constant.

    Args:
        classifier: a wsol classifier.
        layer: name of the backbone's output, for the message.

    Raises:
        ValueError: naming the map methods or layers to choose instead.
    """
    if type(classifier) is Classifier and isinstance(classifier.pooling, Pooling) and classifier.pooling.map_hint:
        raise ValueError(
            f"No gradient reaches the patches at {layer!r}: {type(classifier.pooling).__name__} does not read them. "
            f"{classifier.pooling.map_hint}"
        )


def _hint(classifier: Classifier) -> str:
    pooling = classifier.pooling if type(classifier) is Classifier else None
    return classifier.cam_hint or (pooling.map_hint if isinstance(pooling, Pooling) else "")
