"""Describe a search for training settings, and what it chose."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from wsol.atomic_files import whole_file
from wsol.training.train import TrainSettings

CLASSIFICATION, LOCALIZATION = "classification", "localization"
_SEARCHED = ("lr", "head_lr", "weight_decay", "momentum", "warmup_epochs", "label_smoothing")  # fractions above 0
# What the log of the trials says of each, beside the settings that were tried.
TRIAL_COLUMNS = ("trial", "status", "score", "top1_cls", "cross_entropy", "max_box_acc", "seconds")


@dataclass(frozen=True)
class Tuning:
    """How training settings are searched; a part of a run's identity.

    Every head gets the same number of trials, at the same points of the same space, trained with the same seed. The
    first trial is what the training is set to anyway, so tuning never ends below it on `val`.

    Attributes:
        trials: of each head, the first included.
        space: field of `TrainSettings` -> [low, high], drawn log-uniformly.
        select: `classification`: the best top-1 on `val`, of equals the least cross entropy. `localization`: the best
            MaxBoxAcc of CAM on `val`, which uses its boxes, and tables say so.
        seed: of the points, and of every trial's training.
        epochs: of each trial; None: as many as the training itself, so that the best one need not be repeated.
    """

    trials: int = 8
    space: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"lr": (3e-4, 3e-2), "head_lr": (1e-3, 1e-1)})
    select: Literal["classification", "localization"] = "classification"
    seed: int = 0
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"tune.trials must be at least 1, got {self.trials}.")
        if self.select not in (CLASSIFICATION, LOCALIZATION):
            raise ValueError(f"tune.select must be {CLASSIFICATION} or {LOCALIZATION}, got {self.select!r}.")
        for name, ends in self.space.items():
            if name not in _SEARCHED:
                raise ValueError(f"tune.space names {name!r}, which cannot be searched; {', '.join(_SEARCHED)} can.")
            if len(ends) != 2 or not 0 < ends[0] <= ends[1]:
                raise ValueError(f"tune.space.{name} must be [low, high] with 0 < low <= high, got {list(ends)}.")

    def points(self) -> list[dict[str, float]]:
        """What each trial changes; the first changes nothing."""
        generator = np.random.default_rng(self.seed)
        found: list[dict[str, float]] = [{}]
        for _ in range(self.trials - 1):
            # Three digits are enough to search by, and can be typed.
            found.append(
                {
                    name: float(f"{np.exp(generator.uniform(np.log(low), np.log(high))):.3g}")
                    for name, (low, high) in self.space.items()
                }
            )
        return found


@dataclass(frozen=True)
class Tuned:
    """What a search came to.

    Attributes:
        tuning: how it searched.
        base: the settings that it started from.
        chosen: the trial.
        train: its settings, with the epochs of the training itself.
        trials: a row each, `TRIAL_COLUMNS` and the settings tried.
        classifier_file: the chosen trial's network, where it is what the run with `tuning.seed` would train.
    """

    tuning: Tuning
    base: TrainSettings
    chosen: int
    train: TrainSettings
    trials: pd.DataFrame
    classifier_file: Path | None

    def about(self) -> dict[str, Any]:
        """As plain data, for the run's settings."""
        names = list(self.tuning.space)
        return {
            "chosen": self.chosen,
            "settings": {name: getattr(self.train, name) for name in names},
            "select": self.tuning.select,
            "trials": [
                {key: None if pd.isna(value) else value for key, value in one.items()}
                for one in self.trials[[*TRIAL_COLUMNS[:-1], *names]].to_dict("records")
            ],
        }


def best_of(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """The trial of the best score, of equals that of the least cross entropy; None if all failed."""
    learned = [one for one in trials if not one["status"]]
    if not learned:
        return None
    return int(max(learned, key=lambda one: (one["score"], -one["cross_entropy"], -one["trial"]))["trial"])


def copy_classifier(tuned: Tuned, seed: int, path: Path) -> bool:
    """Put the chosen trial's network where a run's belongs, if it is what the run would train."""
    if tuned.classifier_file is None or seed != tuned.tuning.seed:
        return False
    with whole_file(path) as aside:
        shutil.copyfile(tuned.classifier_file, aside)
    return True
