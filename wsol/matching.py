"""Predicted boxes against ground truth: the best IoU, and the box that reached it, at every threshold."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.components import BoxRule
from wsol.geometry import box_iou

Matches = tuple[NDArray[np.float32], NDArray[np.float32]]


def match_boxes(
    box_rule: BoxRule,
    score_maps: NDArray[np.floating],
    true_boxes: Sequence[NDArray[np.float32]],
    thresholds: ArrayLike,
) -> Matches:
    """Score a batch of maps at all thresholds.

    Args:
        box_rule: `largest`, `every`, or a function like them.
        score_maps: (N, H, W), in [0, 1].
        true_boxes: N arrays (B, 4), at least one box each, on the score maps' grid.
        thresholds: (T,) ascending.

    Returns:
        best_iou: (N, T), the best IoU of any predicted with any true box; 0 where nothing was predicted.
        boxes: (N, T, 4), the predicted box that reached it (the first of equals); zeros where there is none.
    """

    def one(item: tuple[NDArray[np.floating], NDArray[np.float32]]) -> Matches:
        score_map, truth = item
        return best_of(box_rule(score_map, thresholds), truth)

    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:  # components are found without the GIL
        results = list(pool.map(one, zip(score_maps, true_boxes, strict=True)))
    return np.stack([iou for iou, _ in results]), np.stack([boxes for _, boxes in results])


def best_of(predicted: Sequence[NDArray[np.float32]], truth: NDArray[np.float32]) -> Matches:
    """For one image: (T,) best IoU and (T, 4) chosen boxes, from one (B, 4) array of predicted boxes per threshold.

    Raises:
        ValueError: if there is no true box to compare with.
    """
    if len(truth) == 0:
        raise ValueError("An image without a ground-truth box cannot be scored.")
    # All thresholds in one IoU call: a call each would cost more than the arithmetic.
    counts = [len(boxes) for boxes in predicted]
    owner = np.repeat(np.arange(len(predicted)), counts)
    stacked = np.concatenate(predicted) if sum(counts) else np.zeros((0, 4), np.float32)
    iou = box_iou(stacked, truth).max(axis=1, initial=0)
    order = np.lexsort((-np.arange(len(iou)), iou, owner))  # the last of each threshold is its best, first of equals
    last = np.flatnonzero(np.diff(owner[order], append=-1))
    best_iou, boxes = np.zeros(len(predicted), np.float32), np.zeros((len(predicted), 4), np.float32)
    winners = order[last]
    best_iou[owner[winners]], boxes[owner[winners]] = iou[winners], stacked[winners]
    return best_iou, boxes
