"""Train the classifier of an experiment: check its maps first, and record if training diverged."""

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from lightning_fabric.utilities.seed import seed_everything
from scipy.stats import beta
from torch import Tensor

from wsol.atomic_files import write_json
from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import forward_pass
from wsol.networks.classifier import Classifier, with_pooling
from wsol.networks.frozen_trunk import reading
from wsol.networks.inference import evaluation_mode
from wsol.networks.stored_features import FeatureSet
from wsol.runs.experiment import Experiment
from wsol.runs.features import features_of, trains_on_features
from wsol.runs.folder import RunFolder, load_classifier, load_or_none, save_classifier, save_frame
from wsol.training.train import Checkpointing, train

log = logging.getLogger(__name__)
T = TypeVar("T")

DIVERGED, COLLAPSED = "diverged", "collapsed"
_ALPHA = 0.05


def is_collapsed(right: int, images: int, num_classes: int) -> bool:
    """Return True if the images show that a classifier does little better than chance.

    Chance is 1 / K. The exact one-sided 95 % bound of Clopper and Pearson (Biometrika 1934) must rule out that the
    accuracy is twice as high, or a tenth of the way from chance to perfect, whichever is less. A network that is merely
    weak, or tested on few images, is therefore not called collapsed.

    Args:
        right: images of `val` whose first class is the true one.
        images: all images of `val`.
        num_classes: K.
    """
    chance = 1 / num_classes
    bound = 1.0 if right >= images else float(beta.ppf(1 - _ALPHA, right + 1, images - right))
    return bound < min(2 * chance, chance + 0.1 * (1 - chance))


@dataclass
class Trainer:
    """Build the classifier of one experiment, and check its maps once in a job.

    Attributes:
        experiment: what is trained, or read with another pooling than it is trained with.
        splits: the data.
        build_classifier: makes the untrained classifier; called after seeding.
        maps: map methods by name.
        machine: where it runs.
    """

    experiment: Experiment
    splits: Splits
    build_classifier: Callable[[], Classifier]
    maps: Mapping[str, MapMethod]
    machine: Machine
    _checked: bool = field(default=False, init=False)

    @property
    def trained(self) -> Experiment:
        """Experiment whose network is trained."""
        return self.experiment.trained_as or self.experiment

    def untrained(self) -> Classifier:
        """Build the classifier after seeding."""
        return build_seeded(self.trained.seed, self.build_classifier)

    def at_test(self, classifier: Classifier) -> Classifier:
        """Return the classifier with the pooling that it is tested with; see `with_pooling`."""
        if self.experiment.trained_as is None:
            return classifier
        assert self.experiment.pooling_layer is not None
        return with_pooling(classifier, self.experiment.pooling_layer)

    def check_maps_once(self, classifier: Classifier) -> None:
        """Check the maps of the first untrained classifier of a job; see `check_maps`."""
        if not self._checked:
            check_maps(self.at_test(classifier), self.splits, self.maps)
            self._checked = True


def build_seeded(seed: int, build: Callable[[], T]) -> T:
    """Seed all random generators, then build a network."""
    seed_everything(seed, verbose=False)
    return build()


def train_classifier(trainer: Trainer, folder: RunFolder) -> Callable[[], Classifier] | None:
    """Train a classifier, unless the folder holds it or its training diverged before.

    Args:
        trainer: builds and checks the classifier.
        folder: of the run that is trained; locked by the caller.

    Returns:
        A function that returns the classifier as it is tested. It reads a classifier of the folder at its first call,
        because a run whose other files are complete needs none. None if training diverged.

    Raises:
        ValueError: before training, if a map method cannot read the network.
    """
    if folder.diverged_file.exists():
        log.warning("%s diverged before; delete %s to train again.", folder.path.name, folder.diverged_file)
        return None
    classifier = None
    if not folder.classifier_file.exists():
        classifier = _train(trainer, folder)
        if classifier is None:
            return None
    elif not folder.history_file.exists():
        classifier = _load_or_train(trainer, folder)
    return functools.cache(
        lambda: trainer.at_test(_load_or_train(trainer, folder) if classifier is None else classifier)
    )


def _load_or_train(trainer: Trainer, folder: RunFolder) -> Classifier:
    classifier: Classifier | None = trainer.untrained()
    assert classifier is not None
    if not _load(classifier, folder):
        classifier = _train(trainer, folder)
        if classifier is None:
            raise FloatingPointError(
                f"{folder.classifier_file} could not be read, and training again diverged. Run the same command again."
            )
    return classifier


def _load(classifier: Classifier, folder: RunFolder) -> bool:
    """Fill the classifier from its file, and write the history file if it is missing; False if it cannot be read."""
    history = load_or_none(folder.classifier_file, lambda path: load_classifier(path, classifier))
    if history is not None:
        _save_history(folder, history)
    return history is not None


def _train(trainer: Trainer, folder: RunFolder) -> Classifier | None:
    """Train a classifier; None if training diverged."""
    experiment = trainer.trained
    classifier = trainer.untrained()
    trainer.check_maps_once(classifier)
    try:
        history = fit(experiment, trainer.splits, classifier, trainer.machine, checkpoint=folder.training_checkpoint)
    except FloatingPointError as error:
        record_divergence(folder, error)
        folder.training_checkpoint.unlink(missing_ok=True)
        return None
    save_classifier(folder.classifier_file, classifier, history)
    _save_history(folder, history)
    folder.training_checkpoint.unlink(missing_ok=True)
    return classifier


def record_divergence(folder: RunFolder, error: FloatingPointError) -> None:
    """Log why a run has no network, and write it into the run's folder."""
    log.warning("%s: %s It is left out of all means.", folder.path.name, error)
    write_json(folder.diverged_file, {"status": DIVERGED, "message": str(error)})


def _save_history(folder: RunFolder, history: list[dict[str, Any]]) -> None:
    if not folder.history_file.exists():
        save_frame(folder.history_file, pd.DataFrame(history))


def fit(
    experiment: Experiment, splits: Splits, classifier: Classifier, machine: Machine, checkpoint: Path | None = None
) -> list[dict[str, Any]]:
    """Train a classifier in place, from the checkpoint if there is one.

    Returns:
        The training history, one entry per epoch.

    Raises:
        FloatingPointError: if the loss, or an output of the trained network for images of `val`, is NaN or infinite.
    """
    training: ImageSet | FeatureSet = splits.train
    validation: ImageSet | FeatureSet = splits.val
    if trains_on_features(experiment, classifier):
        training = features_of(experiment, classifier, splits.train, machine, experiment.train.views or 1)
        validation = features_of(experiment, classifier, splits.val, machine)
    else:
        splits.train.preload()
    history = train(
        classifier,
        training,
        experiment.train,
        seed=experiment.seed,
        image_size=experiment.image_size,
        method=experiment.method,
        checkpointing=Checkpointing(checkpoint, validation if experiment.train.select == "best" else None),
        machine=machine,
    )
    count = min(machine.batch_size, len(validation))
    if isinstance(validation, FeatureSet):
        _check_finite(reading(classifier, validation), validation.read(torch.arange(count)))
    else:
        _check_finite(classifier, collate([validation[index] for index in range(count)]).images)
    return history


def _check_finite(classifier: Classifier, images: Tensor) -> None:
    """Raise FloatingPointError if the trained network gives NaN or infinity for images, or for stored features.

    The loss cannot show this: it is that of the network before its last step, with the statistics of the batch.
    """
    outputs: list[Tensor] = []
    handle = classifier.backbone.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    device = next(classifier.parameters()).device
    try:
        with evaluation_mode(classifier), torch.no_grad():
            outputs.append(classifier(images.to(device)))
    finally:
        handle.remove()
    if not all(output.isfinite().all() for output in outputs):
        raise FloatingPointError(
            "Training diverged: its loss was finite, but the trained network gives NaN or infinity for images of val; "
            "lower train.lr or train.head_lr."
        )


def check_maps(classifier: Classifier, splits: Splits, maps: Mapping[str, MapMethod]) -> None:
    """Make the maps of the first image of `val`, so that a wrong target layer raises before training, not after.

    Args:
        classifier: untrained.
        splits: the data.
        maps: methods by name. Those that call the network many times are skipped: they may take minutes an image.

    Raises:
        ValueError: as the method raises it for a network that it cannot read.
    """
    batch = collate([splits.val[0]])
    layers = [layer for method in maps.values() for layer in method.target_layers]
    forward = forward_pass(classifier, batch.images, layers)
    for method in maps.values():
        if method.needs != "calls":
            method(forward, batch.class_ids)
