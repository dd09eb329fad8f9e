"""Read the saved records, maps and scores of one map method of one run."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.atomic_files import read_json
from wsol.comparison.bootstrap import ImageResamples
from wsol.identity import restore
from wsol.maps.stored_maps import StoredMaps
from wsol.runs.as_is import AS_IS
from wsol.runs.experiment import map_key, measure_key, record_key
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder, load_maps, load_or_none, load_pixel_record, load_record
from wsol.scoring.baselines import NONE
from wsol.scoring.outcomes import Outcomes, mean_of_known
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord, PixelRecord, choose_operating_point
from wsol.scoring.score import PIXELS, Records, Score

log = logging.getLogger(__name__)


class _Val:
    """The record of `val` under one box rule; what its resamples choose is computed once."""

    def __init__(self, record: LocalizationRecord) -> None:
        self.record = record
        self._chosen: dict[float, NDArray[np.int64]] = {}

    def points(self, delta: float, resamples: ImageResamples) -> NDArray[np.int64]:
        """Return the index of the threshold that each resample chooses at this IoU, (R,)."""
        if delta not in self._chosen:
            iou = self.record.best_iou
            hits, mean_iou = resamples.replicates_of(
                [Outcomes(iou >= delta, lambda means: means), Outcomes(iou, lambda means: means)]
            )
            # As `choose_operating_point`: most hits; of equals the highest mean IoU, then the lowest threshold.
            best = hits == hits.max(axis=1, keepdims=True)
            self._chosen[delta] = np.where(best, mean_iou, -1.0).argmax(axis=1)
        return self._chosen[delta]


@dataclass(frozen=True)
class ChosenOnVal:
    """A score at all thresholds, and the record of `val` that chooses among them.

    Attributes:
        at_all: its `combine` returns the score for each of D IoU thresholds and T score-map thresholds, (..., D, T).
        val: the record of `val`.
        iou_thresholds: D values of δ, each with a choice of its own; the score is the mean over them.
    """

    at_all: Outcomes
    val: _Val
    iou_thresholds: tuple[float, ...]

    @property
    def val_images(self) -> int:
        """Number of images of `val`."""
        return len(self.val.record.image_ids)

    def points(self, resamples: ImageResamples) -> NDArray[np.int64]:
        """Return the thresholds that each resample of `val` chooses, (R, D) indices."""
        return np.stack([self.val.points(delta, resamples) for delta in self.iou_thresholds], axis=1)


class ScoredOutcomes(NamedTuple):
    """Outcomes of one score, and what `val` chose for it."""

    name: str
    outcomes: Outcomes
    image_ids: NDArray[np.str_]
    chosen_on_val: ChosenOnVal | None = None  # None: no threshold was chosen on val, or its record is not on disk


def _chosen_on_val(score: Score, record: LocalizationRecord, val: _Val) -> ChosenOnVal | None:
    """Return a score of τ from val at all thresholds; None for one that reads the boxes, which are kept at one alone.

    The operating point is the threshold with most hits at IoU 0.5, whatever IoU the score reads.
    """
    count = len(record.thresholds)
    try:
        by_threshold = [
            score.outcomes({score.boxes: replace(record, operating_point=point, has_boxes=False)})
            for point in range(count)
        ]
    except ValueError:
        return None
    values = np.concatenate([outcomes.values for outcomes in by_threshold], axis=1)
    combine = by_threshold[0].combine

    def at_all(means: NDArray[np.floating]) -> NDArray[np.floating]:
        return combine(means.reshape(*means.shape[:-1], 1, count, -1))

    return ChosenOnVal(Outcomes(values, at_all), val, (0.5,))


@dataclass(frozen=True)
class ScoredMap:
    """One map method of one run, or one baseline, as one evaluation scored it.

    Attributes:
        folder: the run's folder.
        name: the map method.
        pooling: the run's head; `none` for a baseline.
        seed: the run's seed.
        evaluation: the settings of the evaluation, as plain data; empty in runs of older versions, which have rows
            alone.
        trained: False where nothing was trained, so that the seed means nothing: a baseline, or a network as it is.
    """

    folder: RunFolder
    name: str
    pooling: str
    seed: int
    evaluation: Mapping[str, Any]
    trained: bool = True

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.folder.path.name

    @property
    def protocol(self) -> Protocol:
        """Protocol that scored the map."""
        return restore(self.evaluation["protocol"], classes=[Protocol])

    def record(self, rule: str, split: str = "test") -> LocalizationRecord | None:
        """Return the outcomes of one box rule; None if they are not on disk."""
        if rule not in self.evaluation.get("boxes", {}):
            return None
        file = self.folder.record_file(split, record_key(self.evaluation, self.name, rule))
        return load_or_none(file, load_record)

    def pixel_record(self) -> PixelRecord | None:
        """Return the outcomes against masks; None if they are not on disk."""
        file = self.folder.record_file("test", record_key(self.evaluation, self.name, PIXELS))
        return load_or_none(file, load_pixel_record)

    def maps(self) -> StoredMaps | None:
        """Return the activation maps of the test images; None if they are not on disk, as for a baseline."""
        if few_shot_count(self.pooling) is not None:
            return load_or_none(self.folder.maps_file("test", self.name), load_maps)
        if self.name not in self.evaluation.get("maps", {}):
            return None
        return load_or_none(self.folder.maps_file("test", map_key(self.evaluation, self.name)), load_maps)

    def predictions(self) -> pd.DataFrame | None:
        """Return the classes and true boxes of the test images; None if they are not on disk."""
        file = self.folder.predictions_file("test", bool(self.evaluation.get("optimized")))
        return load_or_none(file, pd.read_parquet)

    def faithfulness(self) -> Iterator[tuple[str, Outcomes]]:
        """Yield the name and outcomes of each column of the faithfulness measures."""
        for measure in self.evaluation.get("faithfulness", {}):
            if self.name in self.evaluation["maps"]:
                file = self.folder.faithfulness_file("test", measure_key(self.evaluation, self.name, measure))
                frame = load_or_none(file, pd.read_parquet)
                if frame is None:
                    continue
                for column in frame.columns.drop("image_id"):
                    yield str(column), mean_of_known(frame[column].to_numpy(np.float64))

    def outcomes(self, scores: Mapping[str, Score]) -> Iterator[ScoredOutcomes]:
        """Yield each score's outcomes.

        Scores whose records are missing are left out. So are those that the protocol does not admit.

        A score whose threshold the test boxes choose is followed by the same score at the thresholds that `val`
        chooses, under the name `held_out(name)`.
        """
        rules = sorted({score.boxes for score in scores.values()})
        saved = {rule: self.pixel_record() if rule == PIXELS else self.record(rule) for rule in rules}
        records: Records = {rule: record for rule, record in saved.items() if record is not None}
        val: dict[str, _Val | None] = {}
        for name, score in scores.items():
            record = score.record(records)
            if record is None:
                continue
            if not self.protocol.admits(score.threshold, score.needs_class, score.reads_map):
                continue
            try:
                outcomes = score.outcomes(records)
            except (TypeError, ValueError) as error:
                log.warning("%s of %s, %s: no outcome for each image (%s)", name, self.run, self.name, error)
                continue
            by_val = score.threshold == "held_out" or bool(outcomes.iou_thresholds)
            if by_val and score.boxes not in val:
                of_val = self.record(score.boxes, "val")
                val[score.boxes] = None if of_val is None else _Val(of_val)
            of_rule = val.get(score.boxes)
            choice = None
            if of_rule is not None and score.threshold == "held_out" and isinstance(record, LocalizationRecord):
                choice = _chosen_on_val(score, record, of_rule)
            yield ScoredOutcomes(name, outcomes, record.image_ids, choice)
            if of_rule is not None and outcomes.iou_thresholds:
                deltas = outcomes.iou_thresholds
                at_all = replace(outcomes, combine=outcomes.curves, iou_thresholds=())
                yield ScoredOutcomes(
                    held_out(name),
                    outcomes.at([choose_operating_point(of_rule.record.best_iou, delta) for delta in deltas]),
                    record.image_ids,
                    ChosenOnVal(at_all, of_rule, deltas),
                )


def held_out(score: str) -> str:
    """Return the name of a score at the thresholds that `val` chose, in place of those that the test images chose."""
    return f"{score} held out"


def read_scored_maps(results: Path, rows: pd.DataFrame) -> list[ScoredMap]:
    """Return the scored maps of rows, in the order of the rows.

    Args:
        results: the folder that contains `runs`.
        rows: a frame of `read_rows`.
    """
    evaluations: dict[tuple[str, str], Mapping[str, Any]] = {}
    scored_maps = []
    for row in rows.drop_duplicates(["run", "protocol_key", "map"]).to_dict("records"):
        folder, key = RunFolder.named(results, row["run"]), (row["run"], row["protocol_key"])
        if key not in evaluations:
            protocol = load_or_none(folder.protocol_file(row["protocol_key"]), read_json) or {}
            evaluations[key] = protocol.get("settings", {})
        trained = row["backbone"] not in (NONE, AS_IS)
        scored_maps.append(ScoredMap(folder, row["map"], row["pooling"], int(row["seed"]), evaluations[key], trained))
    return scored_maps
