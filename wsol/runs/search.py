"""Search training settings at random, with the same budget and the same points for every head."""

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from wsol.atomic_files import read_json, write_json
from wsol.data.ground_truth import truth_of
from wsol.data.image_set import ImageSet
from wsol.data.splits import Splits
from wsol.identity import describe, digest
from wsol.machine import Machine
from wsol.maps.make_maps import make_maps
from wsol.maps.methods.cam import CAM
from wsol.networks.classifier import Classifier
from wsol.networks.stored_features import FeatureSet
from wsol.runs.experiment import Experiment
from wsol.runs.features import features_of, trains_on_features
from wsol.runs.fit import COLLAPSED, DIVERGED, Trainer, build_seeded, check_maps, fit, is_collapsed
from wsol.runs.folder import load_or_none, save_frame
from wsol.runs.head_name import file_name
from wsol.runs.tuning import CLASSIFICATION, LOCALIZATION, TRIAL_COLUMNS, Tuned, Tuning, best_of
from wsol.scoring.boxes.largest import largest
from wsol.scoring.match_maps import match_maps
from wsol.scoring.protocol import TIGHT
from wsol.scoring.thresholds import threshold_grid
from wsol.training.train import TrainSettings

log = logging.getLogger(__name__)


def search_settings(trainer: Trainer) -> Experiment:
    """Return the experiment of a trainer with the training settings that its search chooses; as it is without one.

    Raises:
        ValueError: if the seed of the run is that of the search, and as `tune`.
    """
    experiment = trainer.experiment
    if experiment.tuning is None or experiment.tuned is not None:
        return experiment
    if experiment.seed == experiment.tuning.seed:
        raise ValueError(
            f"seed={experiment.seed} chooses the settings, so it cannot be reported. Choose another seed, or another "
            "tune.seed."
        )

    def check_run() -> None:
        trainer.check_maps_once(trainer.untrained())

    build_classifier, splits, machine = trainer.build_classifier, trainer.splits, trainer.machine
    return experiment.tuned_by(tune(trainer.trained, splits, build_classifier, experiment.tuning, machine, check_run))


def tune(
    experiment: Experiment,
    splits: Splits,
    build_classifier: Callable[[], Classifier],
    tuning: Tuning,
    machine: Machine,
    check_run: Callable[[], None] = lambda: None,
) -> Tuned:
    """Search training settings, or continue a search that was stopped. Its trials are kept below `results/tuning`.

    Args:
        experiment: what is tuned. Its seed is not read, and its training settings are the first trial.
        splits: trained on `train`, chosen by `val`; `test` is not read.
        build_classifier: makes an untrained classifier; called after seeding.
        tuning: how settings are searched.
        machine: where trials run.
        check_run: raises what the run after the search would raise; called before the first trial that is trained.

    Returns:
        The chosen trial; the first one if every trial diverged or collapsed, which is logged.

    Raises:
        ValueError: before anything is trained, if the boxes of `val` shall choose and there are none, or CAM cannot be
            made; or if the space contains settings that cannot be trained with.
    """
    if tuning.select == LOCALIZATION and not len(splits.val.entries.boxes):
        raise ValueError(
            f"tune.select={LOCALIZATION} reads the boxes of {splits.val.name}, which has none; "
            f"choose tune.select={CLASSIFICATION}."
        )
    tuning = _without_idle_rates(tuning, experiment.train)
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
        return _Search(experiment, splits, build_classifier, tuning, machine, folder, check_run).run()


def _without_idle_rates(tuning: Tuning, train: TrainSettings) -> Tuning:
    """Remove `lr` from the space if nothing learns at it: a head on a frozen trunk learns at `head_lr` alone."""
    if not train.freeze_backbone or "lr" not in tuning.space:
        return tuning
    if "head_lr" in tuning.space:
        return replace(tuning, space={name: ends for name, ends in tuning.space.items() if name != "lr"})
    if train.head_lr is not None:
        raise ValueError("tune.space.lr changes nothing where train.freeze_backbone is set; search tune.space.head_lr.")
    return tuning


@dataclass
class _Search:
    """Run the trials of one search."""

    experiment: Experiment
    splits: Splits
    build_classifier: Callable[[], Classifier]
    tuning: Tuning
    machine: Machine
    folder: Path
    check_run: Callable[[], None]
    built: Classifier | None = None

    def run(self) -> Tuned:
        trials: list[dict[str, Any]] = []
        checked = False
        points = self.tuning.points()
        settings = [self.settings(point) for point in points]  # all before the first trial, since a value may raise
        for trial, point in enumerate(points):
            file = self.folder / f"trial-{trial:02d}.json"
            result = load_or_none(file, read_json)
            if result is None:
                if not checked:
                    self.check_maps()
                    checked = True
                log.info(
                    "%s: trial %d of %d, %s", self.folder.name, trial + 1, self.tuning.trials, point or "as it is set"
                )
                result = self.trial(trial, settings[trial])
                write_json(file, result)
            trials.append(result)
        chosen = best_of(trials)
        names = list(self.tuning.space)
        frame = pd.DataFrame(trials).reindex(columns=[*TRIAL_COLUMNS, *names])
        save_frame(self.folder / "trials.csv", frame)
        if chosen is None:  # the run after the search will show it
            log.warning(
                "None of %d trials of %s learned anything: %s. The settings stay as they were; widen tune.space.",
                self.tuning.trials,
                self.experiment.pooling,
                self.folder / "trials.csv",
            )
            chosen = 0
        train = replace(self.experiment.train, **points[chosen])  # type: ignore[arg-type]
        return Tuned(self.tuning, self.experiment.train, chosen, train, frame)

    def check_maps(self) -> None:
        """Raise ValueError if the run, or the CAM that chooses, cannot make its maps."""
        self.check_run()
        if self.tuning.select == LOCALIZATION:
            try:
                check_maps(build_seeded(self.tuning.seed, self.build_classifier), self.splits, {"cam": CAM()})
            except ValueError as error:
                raise ValueError(
                    f"tune.select={LOCALIZATION} reads maps of CAM; choose tune.select={CLASSIFICATION} for "
                    f"{self.experiment.pooling}. {error}"
                ) from None

    def settings(self, point: Mapping[str, float]) -> TrainSettings:
        epochs = {} if self.tuning.epochs is None else {"epochs": self.tuning.epochs}
        return replace(self.experiment.train, **point, **epochs)  # type: ignore[arg-type]

    def trial(self, trial: int, settings: TrainSettings) -> dict[str, Any]:
        tried = {name: asdict(settings)[name] for name in self.tuning.space}
        experiment = replace(self.experiment, seed=self.tuning.seed, train=settings)
        classifier = self.untrained()
        checkpoint = self.folder / "training.ckpt"
        owner = self.folder / "training.json"  # whose checkpoint it is: a search may have been stopped in between
        if load_or_none(owner, read_json) != {"trial": trial}:
            checkpoint.unlink(missing_ok=True)
            write_json(owner, {"trial": trial})
        try:
            history = fit(experiment, self.splits, classifier, self.machine, checkpoint)
        except FloatingPointError as error:
            log.warning("%s: trial %d: %s", self.folder.name, trial, error)
            checkpoint.unlink(missing_ok=True)
            return {"trial": trial, "status": DIVERGED, "score": None, **tried}
        checkpoint.unlink(missing_ok=True)
        seconds = sum(epoch["seconds"] for epoch in history)
        return {"trial": trial, **self.score(classifier), "seconds": seconds, **tried}

    def untrained(self) -> Classifier:
        """Build the classifier of a trial; trials on stored features share one trunk, which none of them changes."""
        if self.built is None:
            built = build_seeded(self.tuning.seed, self.build_classifier)
            if not trains_on_features(self.experiment, built):
                return built
            self.built = built
        trunk = self.built.backbone
        return copy.deepcopy(self.built, {id(trunk): trunk})

    def score(self, classifier: Classifier) -> dict[str, Any]:
        localizing = self.tuning.select == LOCALIZATION
        device = next(classifier.parameters()).device  # of training, whatever the machine's choice
        machine = replace(self.machine, accelerator=str(device))
        images: ImageSet | FeatureSet = self.splits.val
        if trains_on_features(self.experiment, classifier):
            images = features_of(self.experiment, classifier, self.splits.val, machine)
        predictions, maps = make_maps(classifier, images, {"cam": CAM()} if localizing else {}, machine)
        right = int((predictions["class_rank"] == 0).sum())
        chance = predictions["true_class_probability"].clip(lower=1e-12)
        result = {
            "status": COLLAPSED if is_collapsed(right, len(predictions), self.splits.num_classes) else "",
            "top1_cls": right / len(predictions),
            "cross_entropy": float(-np.log(chance).mean()),
        }
        result["score"] = result["top1_cls"]
        if localizing:
            matches = match_maps(maps["cam"], truth_of(predictions), largest, threshold_grid(0.01, 0.0), TIGHT, None)
            result["max_box_acc"] = float((matches.best_iou >= 0.5).mean(axis=0).max())
            result["score"] = result["max_box_acc"]
        return result
