"""A trained network read with another pooling than it was trained with."""

from torch import nn

from wsol.channel_pooling import Pooling
from wsol.classifier import Classifier


def with_pooling(classifier: Classifier, pooling: nn.Module) -> Classifier:
    """The same backbone and linear layer, shared and not copied, with another pooling.

    Source: the comparison of Zhou et al., CVPR 2016, trains each head anew; what the pooling does to a network that has
    been trained already is another question, so its numbers are rows of their own.

    Args:
        classifier: trained; keeps its own pooling.
        pooling: without parameters of its own, for nothing would train them.

    Raises:
        ValueError: if the pooling has parameters, cannot stand where the trained one did, or gives another width.
    """
    name = type(pooling).__name__
    if type(classifier) is not Classifier:
        raise ValueError(
            f"pooling_at_test needs a head of one pooling and one linear layer, not {type(classifier).__name__}."
        )
    if isinstance(pooling, Pooling):
        maps = pooling.maps_per_class if classifier.pool_site == "scores" else 1
        width = pooling.prepare(classifier.backbone.out_channels)
        if maps * classifier.num_classes != classifier.fc.out_features or (
            classifier.pool_site == "features" and width != classifier.fc.in_features
        ):
            raise ValueError(f"{name} does not fit the linear layer that was trained; it needs one of its own.")
    if any(True for _ in pooling.parameters()):
        raise ValueError(f"{name} has parameters, which nothing trained; give pooling_at_test fixed settings.")
    made = Classifier(classifier.backbone, pooling, classifier.num_classes, classifier.pool_site)
    made.fc = classifier.fc
    return made.train(classifier.training)
