"""Train the classifier of an experiment: try its maps first, and say if it failed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.stats import beta
from torch import Tensor

from wsol.data.sample import collate
from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import forward_pass
from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode
from wsol.runs.experiment import Experiment
from wsol.training.train import Checkpointing, train

DIVERGED, COLLAPSED = "diverged", "collapsed"
_ALPHA = 0.05


def is_collapsed(right: int, images: int, num_classes: int) -> bool:
    """Is it shown that a classifier does little better than chance?

    Chance is 1 / K. It must be ruled out, by the exact one-sided 95 % bound of Clopper and Pearson (Biometrika 1934),
    that the accuracy is twice as high, or a tenth of the way from chance to perfect, whichever is less. So a network
    that is merely weak, or tested on few images, is not called collapsed.

    Args:
        right: images of `val` whose first class is the true one.
        images: all of them.
        num_classes: K.
    """
    chance = 1 / num_classes
    bound = 1.0 if right >= images else float(beta.ppf(1 - _ALPHA, right + 1, images - right))
    return bound < min(2 * chance, chance + 0.1 * (1 - chance))


def fit(
    experiment: Experiment, splits: Splits, classifier: Classifier, machine: Machine, checkpoint: Path | None = None
) -> list[dict[str, Any]]:
    """Train in place, going on from the checkpoint if there is one; the history, an epoch each.

    Raises:
        FloatingPointError: if the loss is NaN or infinite, or what the trained network gives for images of `val`.
    """
    splits.train.preload()
    history = train(
        classifier,
        splits.train,
        experiment.train,
        seed=experiment.seed,
        image_size=experiment.image_size,
        method=experiment.method,
        checkpointing=Checkpointing(checkpoint, splits.val if experiment.train.select == "best" else None),
        machine=machine,
    )
    _check_finite(classifier, splits, machine.batch_size)
    return history


def _check_finite(classifier: Classifier, splits: Splits, images: int) -> None:
    """Training sees the network before its last step, and with the statistics of the batch: its loss shows not all."""
    outputs: list[Tensor] = []
    handle = classifier.backbone.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    batch = collate([splits.val[index] for index in range(min(images, len(splits.val)))])
    device = next(classifier.parameters()).device
    try:
        with evaluation_mode(classifier), torch.no_grad():
            outputs.append(classifier(batch.images.to(device)))
    finally:
        handle.remove()
    if not all(output.isfinite().all() for output in outputs):
        raise FloatingPointError(
            "Training diverged: its loss was finite, but the trained network gives NaN or infinity for images of val; "
            "lower train.lr or train.head_lr."
        )


def check_maps(classifier: Classifier, splits: Splits, maps: Mapping[str, MapMethod]) -> None:
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
