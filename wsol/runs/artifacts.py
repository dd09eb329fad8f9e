"""The artefacts of one run, each made only when it is missing."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from lightning.fabric.utilities.seed import seed_everything
from numpy.typing import NDArray
from torch import nn

from wsol.atomic_files import write_json
from wsol.data.ground_truth import GroundTruth, truth_of
from wsol.data.masks import true_masks
from wsol.data.splits import Splits
from wsol.explain.base_measure import measure_faithfulness
from wsol.machine import Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.make_maps import make_maps
from wsol.maps.stored_maps import StoredMaps
from wsol.maps.theorems import exactness, same_as
from wsol.networks.backbone import Backbone
from wsol.networks.classifier import Classifier, with_pooling
from wsol.networks.folding import optimize
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.fit import COLLAPSED, DIVERGED, check_maps, fit, is_collapsed
from wsol.runs.folder import (
    RunFolder,
    ensure_pixel_record,
    ensure_record,
    load_classifier,
    load_maps,
    load_or_none,
    save_classifier,
    save_frame,
)
from wsol.runs.tuning import Tuned, copy_classifier
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.match_maps import Matches, match_maps, match_pixels
from wsol.scoring.record import LocalizationRecord, PixelRecord
from wsol.scoring.score import PIXELS, Records
from wsol.training.train import PLAIN, TrainSettings

log = logging.getLogger(__name__)

SCORED_SPLITS = ("val", "test")  # in this order: val chooses the operating point that test is read at


@dataclass
class RunArtifacts:
    """The artefacts of one run, each made only when it is missing."""

    experiment: Experiment
    splits: Splits
    build_classifier: Callable[[], Classifier]
    evaluation: Evaluation
    machine: Machine
    folder: RunFolder
    tuned: Tuned | None = None
    build_backbone: Callable[[], Backbone] | None = None  # without what a training method adds to it
    base: "RunArtifacts | None" = None  # whose network is read with another pooling
    trained: Classifier | None = None
    inferring: nn.Module | None = None

    @property
    def rules(self) -> Mapping[str, BoxRule]:
        """The box rules, where there are true boxes to compare with."""
        return self.evaluation.boxes if len(self.splits.test.entries.boxes) else {}

    @property
    def diverged(self) -> bool:
        """Did training come to no finite loss or no finite network?"""
        return (self.base or self).folder.diverged_file.exists()

    @property
    def shared_training(self) -> TrainSettings:
        """The settings that all heads of the comparison are trained with, or tuned from."""
        return self.experiment.train if self.tuned is None else self.tuned.base

    def backbone(self) -> Backbone:
        """As the run's own was before it was trained."""
        assert self.build_backbone is not None
        seed_everything(self.experiment.seed, verbose=False)
        return self.build_backbone()

    def ensure_classifier(self) -> None:
        """Train, unless it was done, or was tried and diverged."""
        if self.base is not None:
            if not self.base.folder.classifier_file.exists():  # what does not fit is told before hours of training
                assert self.experiment.pooling_layer is not None
                swapped = with_pooling(self.base.untrained(), self.experiment.pooling_layer)
                check_maps(swapped, self.splits, self.evaluation.maps)
            self.base.ensure_classifier()
        elif self.diverged:
            log.warning(
                "%s diverged before; delete %s to train again.", self.folder.path.name, self.folder.diverged_file
            )
        elif not self.folder.classifier_file.exists():
            self.trained = self.train()
        elif not self.folder.history_file.exists():
            self.classifier()

    def classifier(self) -> Classifier:
        """The trained one."""
        if self.trained is None and self.base is not None:
            assert self.experiment.pooling_layer is not None
            self.trained = with_pooling(self.base.classifier(), self.experiment.pooling_layer)
        if self.trained is None:
            classifier = self.untrained()
            history = load_or_none(self.folder.classifier_file, lambda path: load_classifier(path, classifier))
            if history is None:
                self.trained = self.train()
                assert self.trained is not None
            else:
                self.trained = classifier
                self.save_history(history)
        return self.trained

    def network(self) -> nn.Module:
        """What predictions and maps are made with."""
        if self.inferring is None:
            self.inferring = self.classifier()
            if self.evaluation.optimized:
                layers = {layer for method in self.evaluation.maps.values() for layer in method.target_layers}
                size = (self.experiment.image_size, self.experiment.image_size)
                self.inferring = optimize(self.inferring, self.machine.device, layers, size)
        return self.inferring

    def untrained(self) -> Classifier:
        """As it is built after seeding."""
        seed_everything(self.experiment.seed, verbose=False)
        return self.build_classifier()

    def train(self) -> Classifier | None:
        """None if training diverged."""
        if self.tuned is not None and copy_classifier(self.tuned, self.experiment.seed, self.folder.classifier_file):
            kept = self.untrained()
            history = load_or_none(self.folder.classifier_file, lambda path: load_classifier(path, kept))
            if history is not None:
                log.info("%s is the best trial's network.", self.folder.path.name)
                self.save_history(history)
                return kept
        classifier = self.untrained()
        check_maps(classifier, self.splits, self.evaluation.maps)
        try:
            history = fit(
                self.experiment, self.splits, classifier, self.machine, checkpoint=self.folder.training_checkpoint
            )
        except FloatingPointError as error:
            log.warning("%s: %s It is left out of all means.", self.folder.path.name, error)
            write_json(self.folder.diverged_file, {"status": DIVERGED, "message": str(error)})
            self.folder.training_checkpoint.unlink(missing_ok=True)
            return None
        save_classifier(self.folder.classifier_file, classifier, history)
        self.save_history(history)
        self.folder.training_checkpoint.unlink(missing_ok=True)
        return classifier

    def save_history(self, history: list[dict[str, Any]]) -> None:
        """Write what training measured, where it is not there."""
        if not self.folder.history_file.exists():
            save_frame(self.folder.history_file, pd.DataFrame(history))

    def predictions_and_maps(
        self, split: str, needed: Mapping[str, MapMethod]
    ) -> tuple[pd.DataFrame, dict[str, StoredMaps]]:
        """Predictions, and those maps that are needed, from disk or from one pass of the network."""
        files = {name: self.folder.maps_file(split, self.evaluation.map_key(name)) for name in needed}
        stored = {name: load_or_none(path, load_maps) for name, path in files.items()}
        predictions_file = self.folder.predictions_file(split, self.evaluation.optimized)
        predictions = load_or_none(predictions_file, pd.read_parquet)
        missing = {name: method for name, method in needed.items() if stored[name] is None}
        for part in _parts(missing) if missing or predictions is None else ():
            log.info("%s: one pass over %s for %s", self.folder.path.name, split, ", ".join(part) or "the predictions")
            made, maps = make_maps(
                self.network(),
                getattr(self.splits, split),
                part,
                self.machine,
            )
            if predictions is None:
                predictions = made
                save_frame(predictions_file, predictions)
            for name, one in maps.items():
                one.save(files[name])
            stored |= maps
        assert predictions is not None
        return predictions, {name: one for name, one in stored.items() if one is not None}

    def records(self) -> dict[str, Records]:
        """Map name -> box rule -> the record on test, read at the operating point of val; and that of pixels."""
        found: dict[str, Records] = {name: {} for name in self.evaluation.maps}
        points: dict[tuple[str, str], int] = {}
        for split in SCORED_SPLITS:
            # Every artefact that is missing is remade, so maps and predictions are asked for even if records exist.
            absent = {
                name: method
                for name, method in self.evaluation.maps.items()
                if not self.folder.maps_file(split, self.evaluation.map_key(name)).exists()
            }
            if absent or not self.folder.predictions_file(split, self.evaluation.optimized).exists():
                self.predictions_and_maps(split, absent)
            for name in self.evaluation.maps:
                for rule in self.rules:
                    record = self.record(split, name, rule, points.get((name, rule)))
                    points[name, rule] = record.operating_point
                    found[name] = {**found[name], rule: record}
        if self.evaluation.reads_pixels:
            for name in self.evaluation.maps:
                found[name] = {**found[name], PIXELS: self.pixel_record(name)}
        return found

    def pixel_record(self, name: str) -> PixelRecord:
        """Of one method on test, against masks."""

        def match() -> tuple[NDArray[np.int32], pd.DataFrame]:
            predictions, maps = self.predictions_and_maps("test", {name: self.evaluation.maps[name]})
            progress = f"pixels of {name}, test" if self.machine.progress else ""
            thresholds, protocol = np.asarray(self.evaluation.thresholds), self.evaluation.protocol
            return match_pixels(maps[name], self.truth(predictions), thresholds, protocol, progress), predictions

        path = self.folder.record_file("test", self.evaluation.record_key(name, PIXELS))
        return ensure_pixel_record(path, self.evaluation, match)

    def truth(self, predictions: pd.DataFrame) -> GroundTruth:
        """That of test, with its masks."""
        return replace(truth_of(predictions), read_mask=true_masks(self.splits.test))

    def record(self, split: str, name: str, rule: str, operating_point: int | None) -> LocalizationRecord:
        """Of one method and box rule; without an operating point it is chosen."""
        evaluation = self.evaluation
        path = self.folder.record_file(split, evaluation.record_key(name, rule))

        def match(point: int | None) -> tuple[Matches, pd.DataFrame]:
            predictions, maps = self.predictions_and_maps(split, {name: evaluation.maps[name]})
            progress = f"boxes of {name}, {rule}, {split}" if self.machine.progress else ""
            thresholds = np.asarray(evaluation.thresholds)
            truth = truth_of(predictions)
            rule_of, protocol = evaluation.boxes[rule], evaluation.protocol
            return match_maps(maps[name], truth, rule_of, thresholds, protocol, point, progress), predictions

        return ensure_record(path, evaluation, rule, operating_point, match)

    def facts(self, name: str) -> dict[str, Any]:
        """What a table tells of a map method beside its scores."""
        evaluation = self.evaluation
        predictions, maps = self.predictions_and_maps("test", {name: evaluation.maps[name]})
        degenerate = maps[name].degenerate()
        # A method may have put another head in its place, of which the theorems know nothing.
        usual = self.experiment.method is PLAIN or type(self.classifier()) is Classifier
        pooling = self.experiment.pooling_layer if usual else None
        return {
            "same_as": same_as(name, evaluation.maps, pooling, evaluation.protocol.cuts_negative),
            "exact": exactness(evaluation.maps[name], pooling, self.experiment.pool_site),
            "status": self.status(),
            "forward_ms": 1000 * predictions.attrs.get("seconds", np.nan) / len(predictions),
            "ms_per_image": 1000 * maps[name].seconds / len(maps[name].image_ids),
            "constant_maps": degenerate.constant,
            "zero_maps": degenerate.zero,
            "one_pixel_maps": degenerate.one_pixel,
        }

    def status(self) -> str:
        """Why the run is left out of means; empty if it is not."""
        predictions, _ = self.predictions_and_maps("val", {})
        right = int((predictions["class_rank"] == 0).sum())
        return COLLAPSED if is_collapsed(right, len(predictions), self.splits.num_classes) else ""

    def faithfulness(self, name: str) -> pd.DataFrame:
        """What the measures say of a method's maps: a row per test image, a column per number."""
        evaluation, frames = self.evaluation, []
        for measure in evaluation.faithfulness:
            path = self.folder.faithfulness_file("test", evaluation.measure_key(name, measure))
            frame = load_or_none(path, pd.read_parquet)
            if frame is None:
                _, maps = self.predictions_and_maps("test", {name: evaluation.maps[name]})
                log.info("%s: %s of %s", self.folder.path.name, measure, name)
                frame = measure_faithfulness(
                    self.network(),
                    self.splits.test,
                    evaluation.maps[name],
                    maps[name],
                    evaluation.faithfulness[measure],
                    self.machine,
                )
                save_frame(path, frame)
            frames.append(frame.set_index("image_id"))
        return pd.concat(frames, axis=1) if frames else pd.DataFrame()


def _parts(maps: Mapping[str, MapMethod]) -> list[dict[str, MapMethod]]:
    """What is made in one pass and then saved: all that the pass itself gives; each method that takes more, alone.

    A further pass is little beside those that such a method takes, and what is saved survives an interruption.
    """
    slow = [{name: method} for name, method in maps.items() if method.needs == "calls"]
    quick = {name: method for name, method in maps.items() if method.needs != "calls"}
    return [quick, *slow] if quick or not slow else slow
