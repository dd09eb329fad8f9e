"""Load a classification network of torchvision as it is."""

from torchvision import models

from wsol.data.class_names import imagenet_classes
from wsol.networks.library_networks import check_name
from wsol.networks.pretrained import torchvision_weights
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork


def torchvision_classifier(name: str) -> TrainedNetwork:
    """Load a network of torchvision with its default weights, which are downloaded on first use.

    Args:
        name: of a classification network, as in `torchvision.models.list_models(torchvision.models)`.

    Raises:
        ValueError: for a name that torchvision lacks, listing close names.
        ConnectionError: with a message of one line, if the weights cannot be downloaded.
    """
    check_name(name, models.list_models(module=models), "torchvision")
    _, mean, std = torchvision_weights(name, "imagenet")  # raises a message of one line if the download fails
    weights = models.get_model_weights(name).DEFAULT
    # Built with its weights, because some networks (GoogLeNet) compute another function with weights than without.
    network = NormalizedNetwork(models.get_model(name, weights=weights), mean, std)
    return TrainedNetwork(f"torchvision-{name}", network, weights.transforms().crop_size[0], imagenet_classes())
