"""Make records by hand or at random, for tests of what a setting's seeds are summarized to."""

import numpy as np

from wsol.scoring.record import LocalizationRecord
from wsol.scoring.thresholds import LABEL_FREE


def record_of(boxes, true_boxes, rank=0, thresholds=(0.2,), point=0, other_iou=0.0) -> LocalizationRecord:
    """A record whose IoU at the operating point is that of its boxes, and the same number everywhere else.

    `rank` is of all images, or one for each.
    """
    one, other = np.array(boxes, dtype=np.float32), np.array(true_boxes, dtype=np.float32)
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=1)
    areas = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1)
    best_iou = np.full((len(one), len(thresholds)), other_iou, dtype=np.float32)
    best_iou[:, point] = both / (areas - both)
    count = len(one)
    return LocalizationRecord(
        image_ids=np.array([f"{n:05d}" for n in range(count)]),
        class_ids=np.zeros(count, dtype=np.int64),
        class_rank=np.broadcast_to(np.asarray(rank, dtype=np.int64), count).copy(),
        best_iou=best_iou,
        boxes=one,
        true_boxes=other,
        thresholds=np.array(thresholds),
        operating_point=point,
        label_free=np.zeros((count, len(LABEL_FREE)), dtype=np.int64),
        peak_distance=np.zeros(count, dtype=np.float32),
        energy_inside=np.zeros(count, dtype=np.float32),
    )


def iou_record(best_iou, thresholds=None, point=0) -> LocalizationRecord:
    """A record of these IoU, (N, T), whose boxes say nothing."""
    iou = np.array(best_iou, dtype=np.float32)
    boxes = np.zeros((len(iou), 4), dtype=np.float32)
    grid = np.arange(iou.shape[1]) / iou.shape[1] if thresholds is None else np.array(thresholds)
    record = record_of(boxes, boxes + np.array([0, 0, 1, 1]), thresholds=grid, point=point)
    record.best_iou[:] = iou
    return record


def random_record(seed: int, images: int = 200) -> LocalizationRecord:
    """Small boxes with whole corners, each moved a little from its object, so that ties and all errors are common."""
    rng = np.random.default_rng(seed)
    low = rng.integers(4, 9, (images, 2))
    true = np.concatenate([low, low + rng.integers(1, 8, (images, 2))], axis=1)
    predicted = true + rng.integers(-3, 4, (images, 4))
    predicted[(predicted[:, 2:] <= predicted[:, :2]).any(axis=1)] = 0  # as where nothing was predicted
    return record_of(predicted, true, rank=rng.integers(0, 3, images))
