"""Train an experiment's classifier on its data."""

from pathlib import Path
from typing import Any

from wsol.classifier import Classifier
from wsol.experiment import Experiment, Machine
from wsol.splits import Splits
from wsol.train import train


def fit(
    experiment: Experiment, splits: Splits, classifier: Classifier, machine: Machine, checkpoint: Path | None = None
) -> list[dict[str, Any]]:
    """Train in place, going on from the checkpoint if there is one; the history, an epoch each.

    Raises:
        FloatingPointError: if the loss is NaN or infinite.
    """
    splits.train.preload()
    return train(
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
