"""Describe a search for training settings, and what it chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from wsol.training.train import TrainSettings

CLASSIFICATION, LOCALIZATION = "classification", "localization"
_SEARCHED = (
    "lr",
    "head_lr",
    "new_lr",
    "weight_decay",
    "momentum",
    "warmup_epochs",
    "label_smoothing",
)  # fractions above 0
# Columns of `trials.csv`, beside the settings that were tried.
TRIAL_COLUMNS = ("trial", "status", "score", "top1_cls", "cross_entropy", "max_box_acc", "seconds")


@dataclass(frozen=True)
class Tuning:
    """Describe how training settings are searched; a part of a run's identity.

    Every head gets the same number of trials, at the same points of the same space, trained with the same seed. The
    first trial is the training as it is set, so that tuning never ends below it on `val`.

    Attributes:
        trials: number of trials per head, the first included.
        space: field of `TrainSettings` -> [low, high], drawn log-uniformly.
        select: `classification`: the best top-1 on `val`, among ties the least cross entropy. `localization`: the best
            MaxBoxAcc of CAM on `val`, which uses its boxes, as tables state.
        seed: of the points, and of every trial's training. Runs of this seed are refused: the settings were chosen by
            its luck, so that its score would be too high.
        epochs: of each trial; None: as many as the training itself.
    """

    trials: int = 8
    space: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"lr": (3e-4, 3e-2), "head_lr": (1e-3, 1e-1)})
    select: Literal["classification", "localization"] = "classification"
    seed: int = 1000
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
        """Return the settings that each trial changes; the first trial changes none."""
        generator = np.random.default_rng(self.seed)
        points: list[dict[str, float]] = [{}]
        for _ in range(self.trials - 1):
            # Three digits suffice for a search, and can be typed.
            points.append(
                {
                    name: float(f"{np.exp(generator.uniform(np.log(low), np.log(high))):.3g}")
                    for name, (low, high) in self.space.items()
                }
            )
        return points


@dataclass(frozen=True)
class Tuned:
    """Hold the result of a search.

    Attributes:
        tuning: how settings were searched.
        base: the settings that the search started from.
        chosen: number of the chosen trial.
        train: settings of that trial, with the epochs of the training itself.
        trials: a row per trial, `TRIAL_COLUMNS` and the settings tried.
    """

    tuning: Tuning
    base: TrainSettings
    chosen: int
    train: TrainSettings
    trials: pd.DataFrame

    def about(self) -> dict[str, Any]:
        """Return the search as plain data, for the run's settings."""
        names = list(self.tuning.space)
        return {
            "chosen": self.chosen,
            "settings": {name: getattr(self.train, name) for name in names},
            "select": self.tuning.select,
            "trials": [
                {key: None if pd.isna(value) else value for key, value in trial.items()}
                for trial in self.trials[[*TRIAL_COLUMNS[:-1], *names]].to_dict("records")
            ],
        }


def best_of(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the trial of the best score, among ties that of the least cross entropy; None if all failed."""
    learned = [trial for trial in trials if not trial["status"]]
    if not learned:
        return None
    return int(max(learned, key=lambda trial: (trial["score"], -trial["cross_entropy"], -trial["trial"]))["trial"])
