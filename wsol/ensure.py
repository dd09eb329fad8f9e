"""Load what a run has on disk, or make it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from wsol.experiment import Evaluation
from wsol.identity import describe
from wsol.localize import Matches, make_record
from wsol.pixel_record import PixelRecord
from wsol.record import LocalizationRecord, choose_operating_point
from wsol.runs import load_classifier, load_or_none, load_pixel_record, load_record, save_classifier, save_frame

N = TypeVar("N", bound=nn.Module)


def ensure_record(
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


def ensure_pixel_record(
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


def ensure_network(path: Path, untrained: Callable[[], N], train: Callable[[], tuple[N, list[dict[str, Any]]]]) -> N:
    """Load a trained network, or train it.

    Args:
        path: of its file.
        untrained: builds one of the same shape.
        train: gives the network and its losses.
    """
    network = untrained()
    if load_or_none(path, lambda file: load_classifier(file, network)) is None:
        network, history = train()
        save_classifier(path, network, history)
    return network
