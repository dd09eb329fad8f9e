"""Give the stored features of a run's splits, for runs whose head alone learns."""

from wsol.data.image_set import ImageSet
from wsol.data.views import Views
from wsol.machine import Machine
from wsol.networks.classifier import Classifier
from wsol.networks.stored_features import FeatureSet, store_features
from wsol.runs.experiment import Experiment


def trains_on_features(experiment: Experiment, classifier: Classifier) -> bool:
    """Return True if a run trains on stored features: its whole trunk is frozen, and its images are fixed views."""
    if classifier.backbone.added:  # random layers, which learn although the rest of the trunk is frozen
        return False
    return experiment.train.views is not None and experiment.method.admits_features


def features_of(
    experiment: Experiment, classifier: Classifier, images: ImageSet, machine: Machine, views: int = 1
) -> FeatureSet:
    """Return the stored features of a split, computed once for all runs of the same trunk; see `store_features`.

    Args:
        experiment: of the run.
        classifier: has the frozen trunk.
        images: the split.
        machine: where the trunk runs.
        views: number of views of each image.
    """
    identity = {part: experiment.settings[part] for part in ("data", "backbone")}
    return store_features(classifier.backbone, images, Views(experiment.image_size, views), identity, machine)
