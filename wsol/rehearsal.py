"""Try every map on one image before hours of training."""

from collections.abc import Mapping

from wsol.classifier import Classifier
from wsol.forward_pass import forward_pass
from wsol.map_method import MapMethod
from wsol.sample import collate
from wsol.splits import Splits


def rehearse(classifier: Classifier, splits: Splits, maps: Mapping[str, MapMethod]) -> None:
    """Make the maps of the first image of `val`: a wrong target layer is told before training, not after.

    Args:
        classifier: untrained.
        splits: the data.
        maps: name -> method; those that call the network many times are left out, since they may take minutes an image.

    Raises:
        ValueError: as the method raises it for a network that it cannot read.
    """
    batch = collate([splits.val[0]])
    layers = [layer for method in maps.values() for layer in method.target_layers]
    forward = forward_pass(classifier, batch.images, layers)
    for method in maps.values():
        if method.needs != "calls":
            method(forward, batch.class_ids)
