"""Accuracy as a function of one of its two thresholds, seed by seed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsol.diagnosis import check_seeds
from wsol.record import LocalizationRecord

IOU_THRESHOLDS = tuple(step / 20 for step in range(1, 20))  # δ = 0.05, 0.1, ..., 0.95


def accuracy_by_threshold(records: Sequence[LocalizationRecord], iou_threshold: float = 0.5) -> NDArray[np.float64]:
    """Share of images whose box reaches the IoU threshold, at every score-map threshold.

    Its maximum over τ is `max_box_acc`, its value at the operating point `gt_known_loc`.

    Args:
        records: S, one a seed.
        iou_threshold: δ in (0, 1].

    Returns:
        (S, T) fractions.

    Raises:
        ValueError: if the records are of different images or thresholds.
    """
    check_seeds(records)
    for place, record in enumerate(records[1:], start=1):
        if not np.array_equal(record.thresholds, records[0].thresholds):
            raise ValueError(f"Record {place} has other score-map thresholds than record 0.")
    return np.stack([(record.best_iou >= iou_threshold).mean(axis=0) for record in records])


def accuracy_by_iou(
    records: Sequence[LocalizationRecord], iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> NDArray[np.float64]:
    """Share of images whose box reaches each IoU threshold, at each record's operating point.

    Args:
        records: S, one a seed.
        iou_thresholds: D values of δ in (0, 1].

    Returns:
        (S, D) fractions.

    Raises:
        ValueError: if the records are of different images.
    """
    check_seeds(records)
    best = [record.best_iou[:, record.operating_point] for record in records]
    # float(δ), as scores compare: float64 scalars of numpy would not be rounded to the float32 of the IoU.
    return np.array([[(iou >= float(delta)).mean() for delta in iou_thresholds] for iou in best])
