"""One experiment from data to rows: train, make maps, box, score. Whatever is on disk already is not made again."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities.seed import seed_everything
from numpy.typing import NDArray
from torch import nn

from wsol.baselines import BASELINES, CENTER_GAUSSIAN, CenterGaussians
from wsol.box_ranges import BoxRule
from wsol.classifier import Classifier
from wsol.experiment import Evaluation, Experiment, Machine
from wsol.failed_runs import COLLAPSED, DIVERGED, is_collapsed
from wsol.faithfulness_pass import measure_faithfulness
from wsol.fit import fit
from wsol.forward_pass import forward_pass
from wsol.head_name import file_name
from wsol.identity import describe, digest
from wsol.infer import infer
from wsol.localize import Matches, make_record, match_baseline, match_maps, match_pixels
from wsol.map_method import MapMethod
from wsol.optimized import optimize
from wsol.pixel_record import PixelRecord
from wsol.record import LocalizationRecord, choose_operating_point
from wsol.runs import (
    FACT_COLUMNS,
    RUN_COLUMNS,
    SCORE_COLUMNS,
    RunFolder,
    load_classifier,
    load_maps,
    load_or_none,
    load_pixel_record,
    load_record,
    read_json,
    read_rows,
    save_classifier,
    save_frame,
    truth_of,
    write_json,
)
from wsol.sample import collate
from wsol.score import FAITHFULNESS, PIXELS, Records
from wsol.splits import Splits
from wsol.stored_maps import StoredMaps
from wsol.swapped_pooling import with_pooling
from wsol.theorems import exactness, same_as
from wsol.true_masks import true_masks
from wsol.truth import Truth
from wsol.tuning import Tuned, copy_classifier
from wsol.versions import commit, versions

log = logging.getLogger(__name__)

SCORED_SPLITS = ("val", "test")  # in this order: val chooses the operating point that test is read at
NONE = "none"  # the backbone and the pooling of a baseline


def run_experiment(
    experiment: Experiment,
    splits: Splits,
    build_classifier: Callable[[], Classifier],
    evaluation: Evaluation,
    machine: Machine,
    command: str = "",
    tuned: Tuned | None = None,
) -> pd.DataFrame:
    """Train one classifier and score every map and box rule on it, together with the baselines of its data set.

    Args:
        experiment: what is trained; its settings name the folder.
        splits: the data; images are decoded only if something has to be made.
        build_classifier: makes the untrained classifier; called after seeding, and only if needed.
        evaluation: how it is scored.
        machine: where it runs.
        command: what the user typed, kept with the run.
        tuned: the search that `experiment.train` comes from.

    Returns:
        The run's rows: one per map and score, columns as in `scores-*.csv`; without values if training diverged.

    Raises:
        ValueError: before anything is trained, if the data lack what a score reads.
    """
    _check_annotations(splits, evaluation)
    folder, about = _identify(experiment, splits, machine, tuned)
    with folder.lock():
        _introduce(folder, about, command)
        job = _Job(experiment, splits, build_classifier, evaluation, machine, folder, tuned=tuned)
        if experiment.trained_as is not None:
            base, about_base = _identify(experiment.trained_as, splits, machine, tuned)
            job.base = _Job(experiment.trained_as, splits, build_classifier, evaluation, machine, base, tuned=tuned)
            with base.lock():
                _introduce(base, about_base, command)
                job.ensure_classifier()
        else:
            job.ensure_classifier()
        if job.diverged:
            return _ensure_failed_rows(folder, evaluation, about, command)
        records = job.records()
        rows = _ensure_scores(folder, evaluation, about, records, command, job)
    baseline_folder = RunFolder(machine.results / "runs" / str(about["baselines"]))
    with baseline_folder.lock():
        baseline = {**about, "run": about["baselines"], "backbone": NONE, "pooling": NONE, "seed": 0}
        _introduce(baseline_folder, baseline, command)
        _ensure_scores(baseline_folder, evaluation, baseline, _baseline_records(baseline_folder, job), command)
    return rows


def _introduce(folder: RunFolder, about: Mapping[str, Any], command: str) -> None:
    if not folder.settings_file.exists():
        folder.write_settings({**about, "command": command, "commit": commit(), "versions": versions()})


def _identify(
    experiment: Experiment, splits: Splits, machine: Machine, tuned: Tuned | None
) -> tuple[RunFolder, dict[str, Any]]:
    """The run's folder, and what its `settings.json` says."""
    data_settings = {"settings": experiment.settings["data"], "fingerprint": splits.fingerprint}
    trained = (experiment.train if tuned is None else tuned.base).identity()
    comparison = {
        "data": data_settings,
        "backbone": experiment.settings["backbone"],
        "train": trained,
        "image_size": experiment.image_size,
    }
    if tuned is not None:  # heads are compared by how they were tuned, and each has settings of its own
        comparison["tuning"] = describe(tuned.tuning)
    head = {part: value for part, value in experiment.settings.items() if part not in ("data", "backbone")}
    identity = {**comparison, "train": experiment.train.identity(), **head, "seed": experiment.seed}
    head_name = file_name(experiment.pooling)
    name = f"{experiment.data}-{experiment.backbone}-{head_name}-s{experiment.seed}-{digest(identity)}"
    about = {
        "run": name,
        "data": experiment.data,
        "reader": dict(experiment.reader),
        "backbone": experiment.backbone,
        "pooling": experiment.pooling,
        "seed": experiment.seed,
        # Runs that differ in nothing but the head and the seed share this, and so a table.
        "comparison": f"{experiment.data}-{experiment.backbone}-{digest(comparison)}",
        "baselines": f"{experiment.data}-baselines-{digest([data_settings, experiment.image_size])}",
        "identity": identity,
        "num_classes": splits.num_classes,
        "split_sizes": {split: len(getattr(splits, split).class_ids) for split in ("train", *SCORED_SPLITS)},
        **({} if tuned is None else {"tuned": tuned.about()}),
    }
    return RunFolder(machine.results / "runs" / name), about


def _check_annotations(splits: Splits, evaluation: Evaluation) -> None:
    for split in (splits.val, splits.test):
        wanted = [name for name, score in evaluation.scores.items() if score.needs_boxes]
        if wanted and not len(split.entries.boxes):
            raise ValueError(
                f"{split.name} has no boxes, which these scores read: {', '.join(wanted)}. Where there are masks, "
                "choose scores=pixels."
            )
    if evaluation.reads_pixels and true_masks(splits.test) is None:
        wanted = [name for name, score in evaluation.scores.items() if score.boxes == PIXELS]
        raise ValueError(
            f"{splits.test.name} has no masks, which these scores read: {', '.join(wanted)}; leave them out."
        )


@dataclass
class _Job:
    """The artefacts of one run, each made only when it is missing."""

    experiment: Experiment
    splits: Splits
    build_classifier: Callable[[], Classifier]
    evaluation: Evaluation
    machine: Machine
    folder: RunFolder
    tuned: Tuned | None = None
    base: "_Job | None" = None  # whose network is read with another pooling
    trained: Classifier | None = None
    inferring: nn.Module | None = None

    @property
    def rules(self) -> Mapping[str, BoxRule]:
        """The box rules, where there are true boxes to compare with."""
        return self.evaluation.boxes if len(self.splits.test.entries.boxes) else {}

    @property
    def diverged(self) -> bool:
        """Did training come to no finite loss?"""
        return (self.base or self).folder.diverged_file.exists()

    def ensure_classifier(self) -> None:
        if self.base is not None:
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
                self.inferring = optimize(self.inferring, device_of(self.machine.accelerator), layers, size)
        return self.inferring

    def untrained(self) -> Classifier:
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
        self.rehearse(classifier)
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

    def rehearse(self, classifier: Classifier) -> None:
        """Try the maps on one image: a wrong target layer is told before hours of training, not after."""
        batch = collate([self.splits.val[0]])
        methods = self.evaluation.maps.values()
        forward = forward_pass(classifier, batch.images, [layer for one in methods for layer in one.target_layers])
        for method in methods:
            if method.needs != "calls":  # these may take minutes an image
                method(forward, batch.class_ids)

    def save_history(self, history: list[dict[str, Any]]) -> None:
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
            made, maps = infer(
                self.network(),
                getattr(self.splits, split),
                part,
                device=device_of(self.machine.accelerator),
                batch_size=self.machine.batch_size,
                workers=self.machine.workers,
                progress=self.machine.progress,
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
        def match() -> tuple[NDArray[np.int32], pd.DataFrame]:
            predictions, maps = self.predictions_and_maps("test", {name: self.evaluation.maps[name]})
            progress = f"pixels of {name}, test" if self.machine.progress else ""
            thresholds, protocol = np.asarray(self.evaluation.thresholds), self.evaluation.protocol
            return match_pixels(maps[name], self.truth(predictions), thresholds, protocol, progress), predictions

        path = self.folder.record_file("test", self.evaluation.record_key(name, PIXELS))
        return _ensure_pixel_record(path, self.evaluation, match)

    def truth(self, predictions: pd.DataFrame) -> Truth:
        """That of test, with its masks."""
        return replace(truth_of(predictions), read_mask=true_masks(self.splits.test))

    def record(self, split: str, name: str, rule: str, operating_point: int | None) -> LocalizationRecord:
        evaluation = self.evaluation
        path = self.folder.record_file(split, evaluation.record_key(name, rule))

        def match(point: int | None) -> tuple[Matches, pd.DataFrame]:
            predictions, maps = self.predictions_and_maps(split, {name: evaluation.maps[name]})
            progress = f"boxes of {name}, {rule}, {split}" if self.machine.progress else ""
            thresholds = np.asarray(evaluation.thresholds)
            truth = truth_of(predictions)
            rule_of, protocol = evaluation.boxes[rule], evaluation.protocol
            return match_maps(maps[name], truth, rule_of, thresholds, protocol, point, progress), predictions

        return _ensure_record(path, evaluation, rule, operating_point, match)

    def facts(self, name: str) -> dict[str, Any]:
        """What a table tells of a map method beside its scores."""
        evaluation = self.evaluation
        predictions, maps = self.predictions_and_maps("test", {name: evaluation.maps[name]})
        degenerate = maps[name].degenerate()
        return {
            "same_as": same_as(name, evaluation.maps, self.experiment.pooling_layer, evaluation.protocol),
            "exact": exactness(evaluation.maps[name], self.experiment.pooling_layer, self.experiment.pool_site),
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
                    device=device_of(self.machine.accelerator),
                    progress=f"{measure} of {name}" if self.machine.progress else "",
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


def _ensure_record(
    path: Path,
    evaluation: Evaluation,
    rule: str,
    operating_point: int | None,
    match: Callable[[int | None], tuple[Matches, pd.DataFrame]],
) -> LocalizationRecord:
    """Load the record, or make it; without an operating point (on val) it is chosen here."""
    record = load_or_none(path, load_record)
    if record is None or (operating_point is not None and record.operating_point != operating_point):
        matches, predictions = match(operating_point)
        point = choose_operating_point(matches.best_iou) if operating_point is None else operating_point
        thresholds = np.asarray(evaluation.thresholds)
        record = make_record(matches, point, thresholds, predictions, evaluation.describe_record(rule))
        save_frame(path, record.to_frame())
    return record


def _ensure_pixel_record(
    path: Path, evaluation: Evaluation, match: Callable[[], tuple[NDArray[np.int32], pd.DataFrame]]
) -> PixelRecord:
    """Load the record of pixels, or make it."""
    record = load_or_none(path, load_pixel_record)
    if record is None:
        histograms, predictions = match()
        record = PixelRecord(
            image_ids=predictions["image_id"].to_numpy(dtype=np.str_),
            class_ids=predictions["class_id"].to_numpy(np.int64),
            class_rank=predictions["class_rank"].to_numpy(np.int64),
            histograms=histograms,
            thresholds=np.asarray(evaluation.thresholds),
            protocol=describe(evaluation.protocol),
        )
        save_frame(path, record.to_frame())
    return record


def _baseline_records(folder: RunFolder, job: _Job) -> dict[str, Records]:
    """Baseline name -> box rule -> the record on test; the ground truth comes with the run's predictions."""
    evaluation = job.evaluation
    found: dict[str, Records] = {}
    truths: dict[str, pd.DataFrame] = {}
    for rule in job.rules:
        points: dict[str, int] = {}
        for split in SCORED_SPLITS:
            if split not in truths:
                truths[split] = job.predictions_and_maps(split, {})[0].assign(class_rank=-1)
            for name in BASELINES:

                def match(
                    point: int | None, name: str = name, rule: str = rule, predictions: pd.DataFrame = truths[split]
                ) -> tuple[Matches, pd.DataFrame]:
                    truth, thresholds = truth_of(predictions), np.asarray(evaluation.thresholds)
                    box_rule, protocol = evaluation.boxes[rule], evaluation.protocol
                    return match_baseline(name, truth, box_rule, thresholds, protocol, point), predictions

                path = folder.record_file(split, evaluation.record_key(name, rule))
                record = _ensure_record(path, evaluation, rule, points.get(name), match)
                points[name] = record.operating_point
                found[name] = {**found.get(name, {}), rule: record}
    if evaluation.reads_pixels:  # the whole frame is no map
        path = folder.record_file("test", evaluation.record_key(CENTER_GAUSSIAN, PIXELS))

        def match_center() -> tuple[NDArray[np.int32], pd.DataFrame]:
            predictions = job.predictions_and_maps("test", {})[0].assign(class_rank=-1)
            truth, thresholds = job.truth(predictions), np.asarray(evaluation.thresholds)
            maps = CenterGaussians(truth, evaluation.protocol)
            return match_pixels(maps, truth, thresholds, evaluation.protocol), predictions

        record_of_pixels = _ensure_pixel_record(path, evaluation, match_center)
        found[CENTER_GAUSSIAN] = {**found.get(CENTER_GAUSSIAN, {}), PIXELS: record_of_pixels}
    return found


def _ensure_scores(
    folder: RunFolder,
    evaluation: Evaluation,
    about: Mapping[str, Any],
    records: Mapping[str, Records],
    command: str,
    job: _Job | None = None,
) -> pd.DataFrame:
    """The rows, from disk or made; of a job, the maps' facts and faithfulness come with them."""
    path = folder.scores_file(evaluation.key)
    rows = load_or_none(path, read_rows)
    protocol_file = folder.protocol_file(evaluation.key)
    told = load_or_none(protocol_file, read_json)
    text = {"protocol": evaluation.protocol.name, "text": evaluation.protocol.text, "command": command}
    about_rows = {**text, "settings": describe(evaluation)}
    if told is None or (rows is None and told != about_rows):  # the command that it names is the one that made the rows
        write_json(protocol_file, about_rows)
    if rows is None:
        runs = {column: about[column] for column in RUN_COLUMNS}
        made: list[dict[str, Any]] = []
        better = {
            column: f"{FAITHFULNESS}: {told.better} is better"
            for measure in evaluation.faithfulness.values()
            for column, told in measure.columns.items()
        }
        for name, by_rule in records.items():
            one = {**runs, "protocol_key": evaluation.key, "map": name, "commit": commit()}
            measured = pd.DataFrame()
            if job is not None:
                one, measured = one | job.facts(name), job.faithfulness(name)
            for score_name, score in evaluation.scores.items():
                record = score.record(by_rule)
                if record is None:  # a baseline without a map has no pixels' scores
                    continue
                told = {"value": score(by_rule), "threshold": score.threshold_used(by_rule)}
                images = len(record.image_ids)
                made.append(
                    {**one, "score": score_name, "protocol": evaluation.protocol_of(score), **told, "images": images}
                )
            for column in measured:
                values = measured[column].dropna()
                told = {"value": values.mean(), "threshold": np.nan}
                made.append({**one, "score": column, "protocol": better[str(column)], **told, "images": len(values)})
        rows = pd.DataFrame(made).reindex(columns=[*RUN_COLUMNS, *SCORE_COLUMNS, *FACT_COLUMNS])
        save_frame(path, rows)
        rows = read_rows(path)  # what a second run will read, so that its table is the same to the last digit
    return rows


def _ensure_failed_rows(
    folder: RunFolder, evaluation: Evaluation, about: Mapping[str, Any], command: str
) -> pd.DataFrame:
    """Rows without values, of a run whose training diverged."""
    path = folder.scores_file(evaluation.key)
    rows = load_or_none(path, read_rows)
    if rows is None:
        text = {"protocol": evaluation.protocol.name, "text": evaluation.protocol.text, "command": command}
        write_json(folder.protocol_file(evaluation.key), {**text, "settings": describe(evaluation)})
        runs = {column: about[column] for column in RUN_COLUMNS}
        made = [
            {
                **runs,
                "protocol_key": evaluation.key,
                "map": name,
                "commit": commit(),
                "status": DIVERGED,
                "score": score_name,
                "protocol": evaluation.protocol_of(score),
                "images": 0,
            }
            for name in evaluation.maps
            for score_name, score in evaluation.scores.items()
        ]
        save_frame(path, pd.DataFrame(made).reindex(columns=[*RUN_COLUMNS, *SCORE_COLUMNS, *FACT_COLUMNS]))
        rows = read_rows(path)
    return rows


def device_of(accelerator: str) -> torch.device:
    """The device that an accelerator's name stands for."""
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))
