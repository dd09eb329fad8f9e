"""Train an experiment's classifier on its data."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsol.classifier import Classifier
from wsol.experiment import Experiment, Machine
from wsol.network_state import evaluation_mode
from wsol.sample import collate
from wsol.splits import Splits
from wsol.train import train


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
        validation=splits.val if experiment.train.select == "best" else None,
        checkpoint=checkpoint,
        accelerator=machine.accelerator,
        devices=machine.devices,
        workers=machine.workers,
        progress=machine.progress,
        compile=machine.compile,
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
