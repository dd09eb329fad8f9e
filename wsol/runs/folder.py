"""Name, read and write the files of a run folder."""

import json
import logging
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import nn

from wsol.atomic_files import file_name_part, read_json, whole_file, write_json
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.record import LocalizationRecord, PixelRecord

log = logging.getLogger(__name__)
T = TypeVar("T")

# Columns of a `scores-*.csv`: those of the run, and those of each score.
RUN_COLUMNS = ("run", "data", "backbone", "pooling", "seed", "comparison", "baselines")
SCORE_COLUMNS = ("protocol_key", "map", "score", "protocol", "value", "threshold", "images", "commit")
# Columns that describe a map method beside its scores; empty for baselines and in rows of older versions.
# `status` is empty, or the reason why the run is left out of all means.
FACT_COLUMNS = (
    "same_as",
    "exact",
    "status",
    "forward_ms",
    "ms_per_image",
    "constant_maps",
    "zero_maps",
    "one_pixel_maps",
)

# Columns of a `scores-*.csv` that become parts of paths.
_NAMES = ("run", "data", "backbone", "comparison", "baselines", "protocol_key", "map", "score")

_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile)

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class RunFolder:
    """Name the files of one folder below `results/runs`. Every file in it appears whole or not at all."""

    path: Path

    @classmethod
    def named(cls, results: Path, run: str) -> "RunFolder":
        """Return the folder of a run below a results folder.

        Raises:
            ValueError: if the name would lead elsewhere.
        """
        return cls(results / "runs" / file_name_part(run, "a run"))

    def lock(self) -> FileLock:
        """Return the lock that a job holds while it works on the folder, so that no two processes train one run."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock")

    @property
    def training_checkpoint(self) -> Path:
        """Path of the state that `train` keeps after every epoch."""
        return self.path / "training.ckpt"

    @property
    def classifier_file(self) -> Path:
        """Path of the trained classifier's state dict and training history."""
        return self.path / "classifier.pt"

    @property
    def diverged_file(self) -> Path:
        """Path of the reason why there is no classifier: training gave no finite loss or no finite network."""
        return self.path / "diverged.json"

    @property
    def history_file(self) -> Path:
        """Path of loss and accuracy per epoch."""
        return self.path / "history.csv"

    @property
    def settings_file(self) -> Path:
        """Path of all settings that can change a number, with the versions and the commit that made the run."""
        return self.path / "settings.json"

    def predictions_file(self, split: str, optimized: bool = False) -> Path:
        """Return the path of the predictions: per image the class, its rank, the top 5, and the ground-truth boxes."""
        return self.path / f"predictions-{split}{'-optimized' if optimized else ''}.parquet"

    def maps_file(self, split: str, key: str) -> Path:
        """Return the path of the activation maps of one method."""
        return self._file("maps", f"{split}-{key}.npz")

    def record_file(self, split: str, key: str) -> Path:
        """Return the path of the per-image outcomes of one method under one box rule."""
        return self._file("records", f"{split}-{key}.parquet")

    def box_regressor_file(self, key: str) -> Path:
        """Return the path of the network that pseudo boxes trained."""
        return self._file("psol", f"regressor-{key}.pt")

    def boxes_file(self, split: str, key: str) -> Path:
        """Return the path of one box per image: pseudo boxes on train, regressed boxes on val and test."""
        return self._file("psol", f"{split}-{key}.npz")

    def diverged_boxes_file(self, key: str) -> Path:
        """Return the path of the reason why there is no box regressor: its training gave no finite loss."""
        return self._file("psol", f"diverged-{key}.json")

    def faithfulness_file(self, split: str, key: str) -> Path:
        """Return the path of the per-image values of one faithfulness measure of one method's maps."""
        return self._file("faithfulness", f"{split}-{key}.parquet")

    def scores_file(self, key: str) -> Path:
        """Return the path of the run's rows of the table."""
        return self._file("", f"scores-{key}.csv")

    def protocol_file(self, key: str) -> Path:
        """Return the path of the full description of how those rows were scored."""
        return self._file("", f"protocol-{key}.json")

    def _file(self, folder: str, name: str) -> Path:
        """Return the path of a file whose name contains a key that may come from another file of the run."""
        return self.path / folder / file_name_part(name, f"a file of {self.path}")

    def settings(self) -> dict[str, Any]:
        """Read what `write_settings` wrote.

        Raises:
            ValueError: if the file is damaged, with its name.
        """
        try:
            return read_json(self.settings_file)
        except ValueError as error:
            raise ValueError(f"{self.settings_file} cannot be read ({error}); train the run again.") from None

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write `settings.json`."""
        write_json(self.settings_file, settings)


def save_classifier(path: Path, classifier: nn.Module, history: list[dict[str, Any]]) -> None:
    """Write the state dict and the training history."""
    with whole_file(path) as aside:
        torch.save({"classifier": classifier.state_dict(), "history": history}, aside)


def load_classifier(path: Path, classifier: nn.Module) -> list[dict[str, Any]]:
    """Fill a classifier of the same build from a file of `save_classifier`, and return the training history."""
    saved = torch.load(path, weights_only=True, map_location="cpu")
    classifier.load_state_dict(saved["classifier"])
    return saved["history"]


def save_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as Parquet with its attrs, or as CSV, by the path's suffix."""
    with whole_file(path) as aside:
        if path.suffix == ".parquet":
            frame.to_parquet(aside, index=False)
        else:
            frame.to_csv(aside, index=False)


def load_or_none(path: Path, load: Callable[[Path], T]) -> T | None:
    """Load a file of a run. None if it does not exist, or if it is damaged, which is logged."""
    if not path.exists():
        return None
    try:
        return load(path)
    except _DAMAGED as error:
        log.warning("%s cannot be read (%s); the run that needs it makes it again.", path, error)
        return None


def read_rows(path: Path) -> pd.DataFrame:
    """Read the rows of a `scores-*.csv`, where `none` is a name, not a missing value.

    Raises:
        ValueError: if the file does not contain such rows, with its name.
    """
    texts = ("same_as", "exact", "status")
    missing = {column: [""] for column in ("value", "threshold", *FACT_COLUMNS) if column not in texts}
    try:
        rows = pd.read_csv(path, keep_default_na=False, na_values=missing, dtype={"commit": str})
    except ValueError:  # pandas raises it for an empty file, too
        rows = pd.DataFrame()
    if rows.empty or not {*RUN_COLUMNS, *SCORE_COLUMNS} <= set(rows.columns):
        raise ValueError(f"{path} does not hold a run's scores; delete it and run the same command again.")
    for column in _NAMES:
        for name in rows[column].astype(str).unique():
            try:
                file_name_part(name, f"the column {column!r}")
            except ValueError as error:
                raise ValueError(f"{path}: {error} Delete the file, and run the same command again.") from None
    complete = rows.reindex(columns=[*rows.columns, *(column for column in FACT_COLUMNS if column not in rows)])
    return complete.fillna(dict.fromkeys(texts, ""))


def load_record(path: Path) -> LocalizationRecord:
    """Read a record file."""
    return LocalizationRecord.from_columns(*_read_columns(path))


def load_pixel_record(path: Path) -> PixelRecord:
    """Read a record file of pixels."""
    return PixelRecord.from_columns(*_read_columns(path))


def _read_columns(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read columns and attrs of a frame without pandas, which makes an object of every image's list."""
    table = pq.read_table(path)
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type):
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns, json.loads(table.schema.metadata[b"pandas"])["attributes"]


def load_maps(path: Path) -> StoredMaps:
    """Read a maps file."""
    return StoredMaps.load(path)


def ensure_network(path: Path, untrained: Callable[[], N], train: Callable[[], tuple[N, list[dict[str, Any]]]]) -> N:
    """Load a trained network, or train and save it.

    Args:
        path: of its file.
        untrained: builds a network of the same shape.
        train: returns the trained network and its losses.
    """
    network = untrained()
    if load_or_none(path, lambda file: load_classifier(file, network)) is None:
        network, history = train()
        save_classifier(path, network, history)
    return network
