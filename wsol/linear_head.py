"""The linear layer that makes a network's logits."""

import torch
from torch import Tensor, nn

from wsol.classifier import Classifier


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
        raise ValueError(
            f"CAM needs one fc weight per channel, got {head.in_features} for the {features.shape[1]} channels of "
            f"{layer!r}." + (f" {network.cam_hint}" if isinstance(network, Classifier) and network.cam_hint else "")
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
