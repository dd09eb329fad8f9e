"""Load the files of one run under one evaluation, or have them made and save them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wsol.maps.stored_maps import StoredMaps
from wsol.runs.experiment import Evaluation
from wsol.runs.fit import DIVERGED
from wsol.runs.folder import RunFolder, load_maps, load_or_none, load_pixel_record, load_record, read_rows, save_frame
from wsol.scoring.record import LocalizationRecord, PixelRecord
from wsol.scoring.score import PIXELS
from wsol.versions import commit, versions


@dataclass(frozen=True)
class RunArtifacts:
    """Name the files of one run under one evaluation; each is loaded, or made by the caller and saved.

    Attributes:
        folder: of the run.
        about: what `settings.json` contains, without command and versions.
        evaluation: how the run is scored.
        command: what the user typed.
    """

    folder: RunFolder
    about: Mapping[str, Any]
    evaluation: Evaluation
    command: str = ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, and write `settings.json` if it is missing."""
        with self.folder.lock():
            if not self.folder.settings_file.exists():
                made_by = {"command": self.command, "commit": commit(), "versions": versions()}
                self.folder.write_settings({**self.about, **made_by})
            yield

    def maps_file(self, split: str, name: str) -> Path:
        """Return the path of a method's maps."""
        return self.folder.maps_file(split, self.evaluation.map_key(name))

    def load_maps(self, split: str, name: str) -> StoredMaps | None:
        """Read the maps of a method; None if they are missing or damaged."""
        return load_or_none(self.maps_file(split, name), load_maps)

    def predictions_file(self, split: str) -> Path:
        """Return the path of the predictions of a split."""
        return self.folder.predictions_file(split, self.evaluation.optimized)

    def load_predictions(self, split: str) -> pd.DataFrame | None:
        """Read the predictions of a split; None if they are missing or damaged."""
        return load_or_none(self.predictions_file(split), pd.read_parquet)

    def record(
        self, split: str, source: str, rule: str, point: int | None, match: Callable[[], LocalizationRecord]
    ) -> LocalizationRecord:
        """Load the record of a source under a box rule, or make and save it.

        Args:
            split: `val` or `test`.
            source: the map method or the baseline.
            rule: the box rule.
            point: index of the threshold that `val` chose; a record of another one is made again. None: any.
            match: makes the record.
        """
        path = self.folder.record_file(split, self.evaluation.record_key(source, rule))
        record = load_or_none(path, load_record)
        # A record of an older version lacks `fills_frame`, which verdicts read.
        stale = record is None or record.fills_frame is None
        if record is None or stale or (point is not None and record.operating_point != point):
            record = match()
            save_frame(path, record.to_frame())
        return record

    def pixel_record(self, source: str, match: Callable[[], PixelRecord]) -> PixelRecord:
        """Load the record of a source against the masks of test, or make and save it."""
        path = self.folder.record_file("test", self.evaluation.record_key(source, PIXELS))
        record = load_or_none(path, load_pixel_record)
        if record is None:
            record = match()
            save_frame(path, record.to_frame())
        return record

    def faithfulness(self, name: str, measure: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Load the per-image values of one faithfulness measure of a method's maps, or make and save them."""
        path = self.folder.faithfulness_file("test", self.evaluation.measure_key(name, measure))
        frame = load_or_none(path, pd.read_parquet)
        if frame is None:
            frame = make()
            save_frame(path, frame)
        return frame

    def load_rows(self) -> pd.DataFrame | None:
        """Read the run's rows; None if they are missing or damaged, or of a training that was repeated since."""
        rows = load_or_none(self.folder.scores_file(self.evaluation.key), read_rows)
        return None if rows is not None and (rows["status"] == DIVERGED).all() else rows
