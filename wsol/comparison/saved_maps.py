"""Read the saved records, maps and scores of one map method of one run."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.atomic_files import read_json
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

    def outcomes(self, scores: Mapping[str, Score]) -> Iterator[tuple[str, Outcomes, NDArray[np.str_]]]:
        """Yield each score's name, outcomes and image ids.

        Scores whose records are missing are left out. So are those that the protocol does not admit: a claim may ask
        for them, but a map of the predicted class does not measure localization with the class given.

        A score whose threshold the test boxes choose is followed by the same score at the thresholds that `val`
        chooses, under the name `held_out(name)`.
        """
        rules = sorted({score.boxes for score in scores.values()})
        saved = {rule: self.pixel_record() if rule == PIXELS else self.record(rule) for rule in rules}
        records: Records = {rule: record for rule, record in saved.items() if record is not None}
        points: dict[tuple[str, float], int] = {}
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
            ids = record.image_ids
            yield name, outcomes, ids
            if outcomes.iou_thresholds:
                wanted = [(score.boxes, delta) for delta in outcomes.iou_thresholds]
                if any(key not in points for key in wanted):
                    points |= self._held_out_points(score.boxes, outcomes.iou_thresholds)
                if all(key in points for key in wanted):
                    yield held_out(name), outcomes.at([points[key] for key in wanted]), ids

    def _held_out_points(self, rule: str, iou_thresholds: tuple[float, ...]) -> dict[tuple[str, float], int]:
        record = self.record(rule, "val")
        if record is None:
            return {}
        return {(rule, delta): choose_operating_point(record.best_iou, delta) for delta in iou_thresholds}


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
