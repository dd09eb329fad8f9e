"""Random search for training settings, with the same budget and the same points for every head."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock
from lightning.fabric.utilities.seed import seed_everything

from wsol.atomic_files import read_json, whole_file, write_json
from wsol.data.ground_truth import truth_of
from wsol.data.splits import Splits
from wsol.identity import describe, digest
from wsol.machine import Machine
from wsol.maps.make_maps import make_maps
from wsol.maps.methods.cam import CAM
from wsol.networks.classifier import Classifier
from wsol.runs.experiment import Experiment
from wsol.runs.fit import COLLAPSED, DIVERGED, check_maps, fit, is_collapsed
from wsol.runs.folder import load_or_none, save_classifier, save_frame
from wsol.runs.head_name import file_name
from wsol.scoring.boxes.largest import largest
from wsol.scoring.match_maps import match_maps
from wsol.scoring.protocol import TIGHT
from wsol.scoring.thresholds import threshold_grid
from wsol.training.train import TrainSettings

log = logging.getLogger(__name__)

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


def tune(
    experiment: Experiment,
    splits: Splits,
    build_classifier: Callable[[], Classifier],
    tuning: Tuning,
    machine: Machine,
    rehearse_run: Callable[[], None] = lambda: None,
) -> Tuned:
    """Search, or take up a search where it was left; its trials lie under `results/tuning`.

    Args:
        experiment: what is tuned; its seed plays no part, and its training is the first trial.
        splits: trained on `train`, chosen by `val`; `test` is not read.
        build_classifier: makes an untrained one; called after seeding.
        tuning: how.
        machine: where.
        rehearse_run: raises what the run that follows would raise; called before the first trial that is trained.

    Returns:
        What was chosen; if every trial diverged or collapsed, the first, which the log says.

    Raises:
        ValueError: before anything is trained, if the boxes of `val` shall choose and there are none, or CAM cannot be
            made; or if the space draws what cannot be trained with.
    """
    if tuning.select == LOCALIZATION and not len(splits.val.entries.boxes):
        raise ValueError(
            f"tune.select={LOCALIZATION} reads the boxes of {splits.val.name}, which has none; "
            f"choose tune.select={CLASSIFICATION}."
        )
    tuning = _of_what_learns(tuning, experiment.train)
    identity = {
        "data": {"settings": experiment.settings["data"], "fingerprint": splits.fingerprint},
        **{part: value for part, value in experiment.settings.items() if part != "data"},
        "train": experiment.train.identity(),
        "image_size": experiment.image_size,
        "tuning": describe(tuning),
    }
    name = f"{experiment.data}-{experiment.backbone}-{file_name(experiment.pooling)}-{digest(identity)}"
    folder = machine.results / "tuning" / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / "settings.json").exists():
            write_json(folder / "settings.json", {"tuned": experiment.pooling, "identity": identity})
        search = _Search(experiment, splits, build_classifier, tuning, machine, folder, rehearse_run)
        return search.run()


def _of_what_learns(tuning: Tuning, train: TrainSettings) -> Tuning:
    """Without `lr` in the space where nothing learns at it: a head on a frozen trunk learns at `head_lr` alone."""
    if not train.freeze_backbone or "lr" not in tuning.space:
        return tuning
    if "head_lr" in tuning.space:
        return replace(tuning, space={name: ends for name, ends in tuning.space.items() if name != "lr"})
    if train.head_lr is not None:
        raise ValueError("tune.space.lr changes nothing where train.freeze_backbone is set; search tune.space.head_lr.")
    return tuning


@dataclass
class _Search:
    experiment: Experiment
    splits: Splits
    build_classifier: Callable[[], Classifier]
    tuning: Tuning
    machine: Machine
    folder: Path
    rehearse_run: Callable[[], None]

    def run(self) -> Tuned:
        found: list[dict[str, Any]] = []
        rehearsed = False
        points = self.tuning.points()
        settings = [self.settings(point) for point in points]  # all at first: a value may be refused
        for trial, point in enumerate(points):
            file = self.folder / f"trial-{trial:02d}.json"
            told = load_or_none(file, read_json)
            if told is None:
                if not rehearsed:
                    self.check_maps()
                    rehearsed = True
                log.info(
                    "%s: trial %d of %d, %s", self.folder.name, trial + 1, self.tuning.trials, point or "as it is set"
                )
                told = self.trial(trial, settings[trial], best_of(found))
                write_json(file, told)
            found.append(told)
        chosen = best_of(found)
        names = list(self.tuning.space)
        frame = pd.DataFrame(found).reindex(columns=[*TRIAL_COLUMNS, *names])
        save_frame(self.folder / "trials.csv", frame)
        if chosen is None:  # the run that follows will show it
            log.warning(
                "None of %d trials of %s learned anything: %s. The settings stay as they were; widen tune.space.",
                self.tuning.trials,
                self.experiment.pooling,
                self.folder / "trials.csv",
            )
            chosen = 0
        for trial in range(self.tuning.trials):
            if trial != chosen:
                self.network_file(trial).unlink(missing_ok=True)
        point = points[chosen]
        whole = self.tuning.epochs in (None, self.experiment.train.epochs)
        return Tuned(
            self.tuning,
            self.experiment.train,
            chosen,
            replace(self.experiment.train, **point),  # type: ignore[arg-type]
            frame,
            kept if whole and (kept := self.network_file(chosen)).exists() else None,
        )

    def network_file(self, trial: int) -> Path:
        """What the trial trained, kept for the best so far."""
        return self.folder / f"trial-{trial:02d}.pt"

    def check_maps(self) -> None:
        """Tell what cannot work before anything is trained."""
        self.rehearse_run()
        if self.tuning.select == LOCALIZATION:
            seed_everything(self.tuning.seed, verbose=False)
            try:
                check_maps(self.build_classifier(), self.splits, {"cam": CAM()})
            except ValueError as error:
                raise ValueError(
                    f"tune.select={LOCALIZATION} reads maps of CAM; choose tune.select={CLASSIFICATION} for "
                    f"{self.experiment.pooling}. {error}"
                ) from None

    def settings(self, point: Mapping[str, float]) -> TrainSettings:
        epochs = {} if self.tuning.epochs is None else {"epochs": self.tuning.epochs}
        return replace(self.experiment.train, **point, **epochs)  # type: ignore[arg-type]

    def trial(self, trial: int, settings: TrainSettings, best: int | None) -> dict[str, Any]:
        tried = {name: asdict(settings)[name] for name in self.tuning.space}
        self.network_file(trial).unlink(missing_ok=True)  # of the same trial, if it was made before
        one = replace(self.experiment, seed=self.tuning.seed, train=settings)
        seed_everything(one.seed, verbose=False)
        classifier = self.build_classifier()
        checkpoint = self.folder / "training.ckpt"
        owner = self.folder / "training.json"  # whose checkpoint it is: a search may have been stopped in between
        if load_or_none(owner, read_json) != {"trial": trial}:
            checkpoint.unlink(missing_ok=True)
            write_json(owner, {"trial": trial})
        try:
            history = fit(one, self.splits, classifier, self.machine, checkpoint)
        except FloatingPointError as error:
            log.warning("%s: trial %d: %s", self.folder.name, trial, error)
            checkpoint.unlink(missing_ok=True)
            return {"trial": trial, "status": DIVERGED, "score": None, **tried}
        checkpoint.unlink(missing_ok=True)
        told = {"trial": trial, **self.judge(classifier), "seconds": sum(one["seconds"] for one in history), **tried}
        before = None if best is None else load_or_none(self.folder / f"trial-{best:02d}.json", read_json)
        if best_of([told] if before is None else [before, told]) == trial:
            save_classifier(self.network_file(trial), classifier, history)
            if best is not None:
                self.network_file(best).unlink(missing_ok=True)
        return told

    def judge(self, classifier: Classifier) -> dict[str, Any]:
        localizing = self.tuning.select == LOCALIZATION
        predictions, maps = make_maps(
            classifier,
            self.splits.val,
            {"cam": CAM()} if localizing else {},
            self.machine,
        )
        right = int((predictions["class_rank"] == 0).sum())
        chance = predictions["true_class_probability"].clip(lower=1e-12)
        told = {
            "status": COLLAPSED if is_collapsed(right, len(predictions), self.splits.num_classes) else "",
            "top1_cls": right / len(predictions),
            "cross_entropy": float(-np.log(chance).mean()),
        }
        told["score"] = told["top1_cls"]
        if localizing:
            matches = match_maps(maps["cam"], truth_of(predictions), largest, threshold_grid(0.01, 0.0), TIGHT, None)
            told["max_box_acc"] = float((matches.best_iou >= 0.5).mean(axis=0).max())
            told["score"] = told["max_box_acc"]
        return told


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
