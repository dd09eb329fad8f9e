"""Match the maps of a split, or a baseline, with the ground truth, and make the record that every score reads."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
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
from wsol.scoring.matching import Best, best_of, true_boxes_of
from wsol.scoring.pixel_scores import score_histograms
from wsol.scoring.pointing import peak_and_energy
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import FRAME, LocalizationRecord
from wsol.scoring.score_map import fill_score_map
from wsol.scoring.thresholds import LABEL_FREE, index_below, label_free_thresholds
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

    def read(self, maps: MapSource, index: int, size: Size, protocol: Protocol) -> NDArray[np.float64]:
        """Return the score map of one image of this size, in memory that the thread's next call overwrites.

        Raises:
            ValueError: if the map contains NaN or infinity, with the image's id.
        """
        grid = protocol.grid or size
        if self._score_map.shape != tuple(grid):
            self._score_map = np.empty(grid)
        fill_score_map(maps.read(index), self._score_map, protocol, f"image {str(maps.image_ids[index])!r}")
        return self._score_map


@dataclass(frozen=True)
class CountedMaps:
    """Maps of a split that move a progress bar as they are read."""

    maps: MapSource
    bar: "tqdm[Any]"

    @property
    def image_ids(self) -> NDArray[np.str_]:
        """Ids of the N images, (N,)."""
        return self.maps.image_ids

    def read(self, index: int) -> NDArray[np.floating]:
        """Return the map of one image."""
        self.bar.update()
        return self.maps.read(index)


@contextmanager
def counted(maps: MapSource, progress: str) -> Iterator[MapSource]:
    """Give the maps with a progress bar of this title, which counts those that are read; no bar if it is empty."""
    hidden = None if progress else True
    with tqdm(desc=progress, total=len(maps.image_ids), unit="image", disable=hidden, leave=False) as bar:
        yield CountedMaps(maps, bar)


class ImageMatch(NamedTuple):
    """Result of matching one score map with the true boxes."""

    best: dict[str, Best]  # by box rule
    true_boxes: NDArray[np.float32]  # (B, 4) on the score map's grid
    label_free: NDArray[np.int64]  # (L,) indices of the thresholds that the map alone chooses
    peak_distance: float  # pixels from the map's peak to the nearest true box
    energy_inside: float  # share of the map's sum inside the true boxes
    map_side: float  # shorter side of the score map in pixels


def match_image(
    score_map: NDArray[np.float64],
    truth: GroundTruth,
    index: int,
    rules: Mapping[str, BoxRule],
    thresholds: NDArray[np.float64],
    protocol: Protocol,
) -> ImageMatch:
    """Match one score map under all box rules; without a rule, no true box is read."""
    label_free = index_below(thresholds, label_free_thresholds(score_map))
    if not rules:
        return ImageMatch({}, np.zeros((0, 4), np.float32), label_free, np.nan, np.nan, min(score_map.shape))
    true = true_boxes_of(truth.boxes[index], truth.size(index), protocol)
    best = {name: best_of(rule(score_map, thresholds, protocol), true) for name, rule in rules.items()}
    return ImageMatch(best, true, label_free, *peak_and_energy(score_map, true), min(score_map.shape))


@dataclass(frozen=True)
class Matches:
    """Matches of a split's maps, image by image. T' = 1 for boxes of one threshold alone, else T."""

    best_iou: NDArray[np.float32]  # (N, T)
    boxes: NDArray[np.float32]  # (N, T', 4) the boxes that reached it, on the prepared images
    true_boxes: NDArray[np.float32]  # (N, T', 4) the true boxes that they were compared with
    label_free: NDArray[np.int64]  # (N, L) indices of the thresholds that the map alone chooses, see `LABEL_FREE`
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
) -> Matches:
    """Score a split's maps at all thresholds, on all processors.

    Args:
        maps: one map per image of `truth`, in the same order.
        truth: the split's boxes.
        box_rule: `largest`, `every`, or a function like them.
        thresholds: (T,) ascending, in [0, 1).
        protocol: from activation map to hit.
        point: index of the only threshold whose boxes are kept; those of all take 32 bytes an image and threshold.

    Raises:
        ValueError: if the maps belong to other images than the split, or a map contains NaN.
    """
    _check_images(maps, truth)
    count, kept = len(truth), slice(None) if point is None else slice(point, point + 1)
    best_iou = np.empty((count, len(thresholds)), np.float32)
    boxes = np.empty((count, len(thresholds[kept]), 4), np.float32)
    true_boxes = np.empty_like(boxes)
    label_free = np.empty((count, len(LABEL_FREE)), np.int64)
    peak_distance, energy_inside = np.empty((2, count), np.float32)
    fills_frame, map_side = np.empty(best_iou.shape, bool), np.empty(count, np.float32)
    scratch = Scratch()

    def score(start: int) -> None:
        for n in range(start, min(start + _BATCH, count)):
            size = truth.size(n)
            match = match_image(scratch.read(maps, n, size, protocol), truth, n, {"": box_rule}, thresholds, protocol)
            best = match.best[""]
            best_iou[n] = best.iou
            fills_frame[n] = fills(best.boxes, protocol.grid or size)
            boxes[n] = _on_image(best.boxes[kept], size, protocol)
            true_boxes[n] = _on_image(match.true_boxes, size, protocol)[best.true_index[kept]]
            label_free[n], peak_distance[n], energy_inside[n], map_side[n] = match[2:]

    for _ in in_threads(score, range(0, count, _BATCH)):
        pass
    return Matches(best_iou, boxes, true_boxes, label_free, peak_distance, energy_inside, fills_frame, map_side)


def fills(boxes: NDArray[np.float32], size: Size) -> NDArray[np.bool_]:
    """Return whether boxes (..., 4) cover more than 95 % of a frame of this size, in pixels."""
    height, width = size
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return np.asarray(areas > FRAME * height * width)


def match_pixels(
    maps: MapSource, truth: GroundTruth, thresholds: NDArray[np.float64], protocol: Protocol
) -> NDArray[np.int32]:
    """Count the pixels of every score on and off the masks of a split, on all processors.

    Returns:
        (N, 2, T + 1), for each image as `score_histograms` returns them.

    Raises:
        ValueError: if the maps belong to other images than the split, a map contains NaN, or the split has no masks.
    """
    read_mask = truth.read_mask
    if read_mask is None:
        raise ValueError("These images have no masks to score pixels against; leave out scores such as px_ap.")
    _check_images(maps, truth)
    histograms = np.empty((len(truth), 2, len(thresholds) + 1), np.int32)
    scratch = Scratch()

    def count(n: int) -> None:
        score_map = scratch.read(maps, n, truth.size(n), protocol)
        histograms[n] = score_histograms(score_map, read_mask(n, protocol.grid or truth.size(n)), thresholds)

    for _ in in_threads(count, range(len(truth))):
        pass
    return histograms


def _check_images(maps: MapSource, truth: GroundTruth) -> None:
    if not np.array_equal(maps.image_ids, truth.image_ids):
        raise ValueError("The stored maps are of other images than this split. Delete the file and run again.")
    compile_engine()


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
