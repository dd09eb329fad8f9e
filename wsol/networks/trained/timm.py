"""Load a classification network of timm as it is."""

from typing import Any

import timm
from timm.data import infer_imagenet_subset

from wsol.data.class_names import imagenet_classes
from wsol.networks.library_networks import check_name
from wsol.networks.pretrained import timm_weights
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork


def timm_classifier(name: str) -> TrainedNetwork:
    """Load a network of timm with pretrained weights, which are downloaded on first use.

    Args:
        name: as in `timm.list_models()`, with or without the tag of its weights: `convnext_tiny.fb_in22k_ft_in1k`.

    Raises:
        ValueError: for a name that timm lacks, listing close names.
        ConnectionError: with a message of one line, if the weights cannot be downloaded.
    """
    check_name(name.split(".")[0], timm.list_models(), "timm")
    state, mean, std = timm_weights(name)
    network: Any = timm.create_model(name, pretrained=False)
    network.load_state_dict(state)
    subset = infer_imagenet_subset(network)
    return TrainedNetwork(
        f"timm-{name}",
        NormalizedNetwork(network, mean, std),
        network.pretrained_cfg["input_size"][-1],
        None if subset is None else imagenet_classes(subset),
    )
