"""Match the maps of a split, or a baseline, with the ground truth, and make the record that every score reads."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol as Interface

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.ground_truth import GroundTruth
from wsol.geometry import Size, resize_boxes
from wsol.scoring.baselines import CenterGaussians, whole_frame
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.compilation import compile_engine
from wsol.scoring.matching import best_of, true_boxes_of
from wsol.scoring.pixel_scores import score_histograms
from wsol.scoring.pointing import peak_and_energy
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import FRAME, LocalizationRecord
from wsol.scoring.score_map import fill_score_map
from wsol.scoring.thresholds import index_below, otsu_threshold
from wsol.threads import in_threads

_BATCH = 32  # images that a thread takes at a time


class MapSource(Interface):
    """Activation maps of a split, read one by one."""

    @property
    def image_ids(self) -> NDArray[np.str_]:
        """Ids of the N images, (N,)."""

    def read(self, index: int) -> NDArray[np.floating]:
        """Return the (h, w) activation map of one image, any range."""


class Scratch(threading.local):
    """Memory of one thread: a score map is the largest array, and allocating it costs more than filling it."""

    def __init__(self) -> None:
        self._score_map = np.empty((0, 0))

    def score_map(self, size: Size) -> NDArray[np.float64]:
        """Return an (H, W) array, not cleared."""
        if self._score_map.shape != tuple(size):
            self._score_map = np.empty(size)
        return self._score_map


@dataclass(frozen=True)
class Matches:
    """Matches of a split's maps, image by image. T' = 1 for boxes of one threshold alone, else T."""

    best_iou: NDArray[np.float32]  # (N, T)
    boxes: NDArray[np.float32]  # (N, T', 4) the boxes that reached it, on the prepared images
    true_boxes: NDArray[np.float32]  # (N, T', 4) the true boxes that they were compared with
    label_free: NDArray[np.int64]  # (N,) index of the threshold that the map alone chooses
    peak_distance: NDArray[np.float32]  # (N,) pixels from the map's peak to the nearest true box, on the score map
    energy_inside: NDArray[np.float32]  # (N,) share of the map's sum inside the true boxes
    fills_frame: NDArray[np.bool_]  # (N, T) whether the box covers over 95 % of the frame
    map_side: NDArray[np.float32]  # (N,) shorter side of the score map in pixels


def match_maps(
    maps: MapSource,
    truth: GroundTruth,
    box_rule: BoxRule,
    thresholds: NDArray[np.float64],
    protocol: Protocol,
    point: int | None = None,
    progress: str = "",
) -> Matches:
    """Score a split's maps at all thresholds, on all processors.

    Args:
        maps: one map per image of `truth`, in the same order.
        truth: the split's boxes.
        box_rule: `largest`, `every`, or a function like them.
        thresholds: (T,) ascending, in [0, 1).
        protocol: from activation map to hit.
        point: index of the only threshold whose boxes are kept; those of all take 32 bytes an image and threshold.
        progress: text of the progress bar; empty for no bar.

    Raises:
        ValueError: if the maps belong to other images than the split, or a map contains NaN.
    """
    if not np.array_equal(maps.image_ids, truth.image_ids):
        raise ValueError("The stored maps are of other images than this split. Delete the file and run again.")
    compile_engine()
    count, kept = len(truth), slice(None) if point is None else slice(point, point + 1)
    best_iou = np.empty((count, len(thresholds)), np.float32)
    boxes = np.empty((count, len(thresholds[kept]), 4), np.float32)
    true_boxes = np.empty_like(boxes)
    label_free = np.empty(count, np.int64)
    peak_distance, energy_inside = np.empty((2, count), np.float32)
    fills_frame, map_side = np.empty(best_iou.shape, bool), np.empty(count, np.float32)
    scratch = Scratch()

    def score(start: int) -> None:
        stop = min(start + _BATCH, count)
        for n in range(start, stop):
            size = truth.size(n)
            score_map = scratch.score_map(protocol.grid or size)
            fill_score_map(maps.read(n), score_map, protocol, f"image {str(truth.image_ids[n])!r}")
            true = true_boxes_of(truth.boxes[n], size, protocol)
            best = best_of(box_rule(score_map, thresholds, protocol), true)
            best_iou[n] = best.iou
            fills_frame[n] = fills(best.boxes, protocol.grid or size)
            boxes[n] = _on_image(best.boxes[kept], size, protocol)
            true_boxes[n] = _on_image(true, size, protocol)[best.true_index[kept]]
            label_free[n] = index_below(thresholds, otsu_threshold(score_map))
            peak_distance[n], energy_inside[n] = peak_and_energy(score_map, true)
            map_side[n] = min(score_map.shape)
        bar.update(stop - start)

    with tqdm(desc=progress, total=count, unit="image", disable=None if progress else True, leave=False) as bar:
        for _ in in_threads(score, range(0, count, _BATCH)):
            pass
    return Matches(best_iou, boxes, true_boxes, label_free, peak_distance, energy_inside, fills_frame, map_side)


def fills(boxes: NDArray[np.float32], size: Size) -> NDArray[np.bool_]:
    """Return whether boxes (..., 4) cover more than 95 % of a frame of this size, in pixels."""
    height, width = size
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return np.asarray(areas > FRAME * height * width)


def match_pixels(
    maps: MapSource,
    truth: GroundTruth,
    thresholds: NDArray[np.float64],
    protocol: Protocol,
    progress: str = "",
) -> NDArray[np.int32]:
    """Count the pixels of every score on and off the masks of a split, on all processors.

    Returns:
        (N, 2, T + 1), for each image as `score_histograms` returns them.

    Raises:
        ValueError: if the maps belong to other images than the split, a map contains NaN, or the split has no masks.
    """
    if not np.array_equal(maps.image_ids, truth.image_ids):
        raise ValueError("The stored maps are of other images than this split. Delete the file and run again.")
    read_mask = truth.read_mask
    if read_mask is None:
        raise ValueError("These images have no masks to score pixels against; leave out scores such as px_ap.")
    compile_engine()
    histograms = np.empty((len(truth), 2, len(thresholds) + 1), np.int32)
    scratch = Scratch()

    def count(n: int) -> None:
        size = protocol.grid or truth.size(n)
        score_map = scratch.score_map(size)
        fill_score_map(maps.read(n), score_map, protocol, f"image {str(truth.image_ids[n])!r}")
        histograms[n] = score_histograms(score_map, read_mask(n, size), thresholds)
        bar.update()

    with tqdm(desc=progress, total=len(truth), unit="image", disable=None if progress else True, leave=False) as bar:
        for _ in in_threads(count, range(len(truth))):
            pass
    return histograms


def match_baseline(
    name: str,
    truth: GroundTruth,
    box_rule: BoxRule,
    thresholds: NDArray[np.float64],
    protocol: Protocol,
    point: int | None = None,
) -> Matches:
    """Match one of `BASELINES`, which need no network, as `match_maps` does a split's maps."""
    maps = CenterGaussians(truth, protocol)
    if name != "whole_frame":
        return match_maps(maps, truth, box_rule, thresholds, protocol, point)
    matches = match_maps(maps, truth, whole_frame, thresholds, protocol, point)
    unknown = np.full(len(truth), np.nan, np.float32)  # a box without a map has no peak
    return replace(matches, peak_distance=unknown, energy_inside=unknown)


def _on_image(boxes: NDArray[np.float32], size: Size, protocol: Protocol) -> NDArray[np.float32]:
    """Convert boxes on the protocol's grid to the prepared image."""
    return boxes if protocol.grid in (None, size) else resize_boxes(boxes, protocol.grid, size)


def make_record(
    matches: Matches,
    operating_point: int,
    thresholds: NDArray[np.float64],
    predictions: pd.DataFrame,
    protocol: Mapping[str, object],
) -> LocalizationRecord:
    """Join matches and classes, image by image.

    Args:
        matches: the matches of a split.
        operating_point: index into thresholds, chosen on `val`.
        thresholds: (T,).
        predictions: a row per image, in the same order: image_id, class_id, class_rank.
        protocol: protocol and box rule of the matches, as plain data.
    """
    kept = operating_point if matches.boxes.shape[1] > 1 else 0
    return LocalizationRecord(
        image_ids=predictions["image_id"].to_numpy(dtype=np.str_),
        class_ids=predictions["class_id"].to_numpy(np.int64),
        class_rank=predictions["class_rank"].to_numpy(np.int64),
        best_iou=matches.best_iou,
        boxes=matches.boxes[:, kept],
        true_boxes=matches.true_boxes[:, kept],
        thresholds=thresholds,
        operating_point=operating_point,
        label_free=matches.label_free,
        peak_distance=matches.peak_distance,
        energy_inside=matches.energy_inside,
        protocol=protocol,
        fills_frame=matches.fills_frame,
        map_side=matches.map_side,
    )
