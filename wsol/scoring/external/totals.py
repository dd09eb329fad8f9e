"""Score maps of any origin in one pass, in memory that does not grow with images x thresholds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.ground_truth import GroundTruth
from wsol.scoring.box_agreement import extent_of
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.compilation import compile_engine
from wsol.scoring.match_maps import MapSource, Scratch
from wsol.scoring.matching import best_of, true_boxes_of
from wsol.scoring.pixel_scores import pixel_iou, score_histograms
from wsol.scoring.pointing import peak_and_energy
from wsol.scoring.protocol import Protocol
from wsol.scoring.score_map import fill_score_map
from wsol.scoring.thresholds import index_below, otsu_threshold
from wsol.threads import in_threads

# Whose class must be right for a hit to count: anybody's; the true class first; among the first five.
ANY, TOP1, TOP5 = 0, 1, 2
# (n,) ranks of the true class -> which images count; a rank of -1 is not known.
RIGHT_CLASS: tuple[Callable[[NDArray[np.int64]], NDArray[np.bool_]], ...] = (
    lambda ranks: np.full(len(ranks), True),
    lambda ranks: ranks == 0,
    lambda ranks: (ranks >= 0) & (ranks < 5),
)

_BATCH = 64  # images that a thread takes at a time, and that are summed up together

IOU_THRESHOLDS = (0.3, 0.5, 0.7)


@dataclass
class BoxTally:
    """The outcomes of one box rule at every threshold."""

    hits: NDArray[np.int64]  # (3, D, T) images whose IoU reaches each IoU threshold; by ANY, TOP1 and TOP5
    iou: NDArray[np.float64]  # (T,) sums of the images' best IoU
    boxes: NDArray[np.int64]  # (T,) images with a predicted box
    log_area_ratio: NDArray[np.float64]  # (T,) sums over those
    coverage: NDArray[np.float64]  # (T,) sums over all
    leakage: NDArray[np.float64]  # (T,)

    @classmethod
    def of(
        cls,
        best_iou: NDArray[np.float32],
        boxes: NDArray[np.float32],
        true_boxes: NDArray[np.float32],
        ranks: NDArray[np.int64],
        iou_thresholds: NDArray[np.float64],
    ) -> "BoxTally":
        """Of some images.

        Args:
            best_iou: (n, T).
            boxes: (n, T, 4) predicted, zeros where there is none.
            true_boxes: (n, T, 4) that they are compared with.
            ranks: (n,) place of the true class among the predicted ones; -1: not known.
            iou_thresholds: (D,).
        """
        reached = best_iou[:, None] >= iou_thresholds.astype(np.float32)[:, None]
        area_ratio, coverage, leakage = extent_of(boxes, true_boxes)
        found = area_ratio > 0
        logs = np.log(area_ratio, out=np.zeros_like(area_ratio), where=found)
        return cls(
            np.stack([reached[right(ranks)].sum(axis=0) for right in RIGHT_CLASS]),
            best_iou.sum(axis=0, dtype=np.float64),
            found.sum(axis=0),
            logs.sum(axis=0),
            coverage.sum(axis=0),
            leakage.sum(axis=0),
        )

    def add(self, other: "BoxTally") -> None:
        """Add other images."""
        self.hits += other.hits
        self.iou += other.iou
        self.boxes += other.boxes
        self.log_area_ratio += other.log_area_ratio
        self.coverage += other.coverage
        self.leakage += other.leakage


@dataclass
class PixelTally:
    """The outcomes against masks."""

    histograms: NDArray[np.int64]  # (2, T + 1), as of `score_histograms`
    iou: NDArray[np.float64]  # (T,) sums of each image's own IoU

    @classmethod
    def of(cls, histograms: NDArray[np.int64]) -> "PixelTally":
        """Of some images, (n, 2, T + 1)."""
        return cls(histograms.sum(axis=0), pixel_iou(histograms).sum(axis=0))

    def add(self, other: "PixelTally") -> None:
        """Add other images."""
        self.histograms += other.histograms
        self.iou += other.iou


@dataclass(frozen=True)
class Judgement:
    """What a split's maps come to. N images, R box rules, T thresholds, P operating points."""

    thresholds: NDArray[np.float64]  # (T,)
    iou_thresholds: tuple[float, ...]
    images: int
    boxes: Mapping[str, BoxTally]  # by box rule; empty where there are no true boxes
    pixels: PixelTally | None  # None where there are no masks
    # Image by image, so that two judgements can be compared in pairs.
    label_free: NDArray[np.int64]  # (N,) index of the threshold that each map chooses alone (Otsu)
    label_free_iou: Mapping[str, NDArray[np.float32]]  # by box rule, (N,) at that threshold
    ranks: NDArray[np.int64]  # (N,) place of the true class among those predicted; -1: not known
    point_iou: Mapping[str, NDArray[np.float32]]  # by box rule, (N, P) at the operating points
    from_maps: bool  # False where the boxes come from no map, which then neither points nor chooses a threshold
    peak_distance: NDArray[np.float32]  # (N,) NaN where there are no true boxes, or no maps
    energy_inside: NDArray[np.float32]  # (N,)

    def label_free_hits(self, rule: str, group: int, iou_threshold: float) -> int:
        """Images that are hit at their own threshold, among those whose class is right as `group` asks."""
        right = RIGHT_CLASS[group](self.ranks)
        return int((right & (self.label_free_iou[rule] >= np.float32(iou_threshold))).sum())


@dataclass
class _Part:
    """The same of some images."""

    boxes: dict[str, BoxTally]
    pixels: PixelTally | None
    label_free: NDArray[np.int64]
    label_free_iou: dict[str, NDArray[np.float32]]
    point_iou: dict[str, NDArray[np.float32]]
    pointing: NDArray[np.float32]  # (n, 2)


def judge(
    maps: MapSource,
    truth: GroundTruth,
    box_rules: Mapping[str, BoxRule],
    thresholds: NDArray[np.float64],
    protocol: Protocol,
    *,
    ranks: NDArray[np.int64] | None = None,
    points: Sequence[int] = (),
    are_score_maps: bool = False,
    from_maps: bool = True,
    progress: bool = True,
) -> Judgement:
    """Score maps by every box rule at every threshold, and against masks where there are some.

    Args:
        maps: one map per image of `truth`, in the same order.
        truth: the split's boxes, masks, or both.
        box_rules: by name.
        thresholds: (T,) ascending, in [0, 1).
        protocol: from activation map to hit.
        ranks: (N,) place of each true class among the predicted ones; None: nothing was classified.
        points: P indices of thresholds that each image's IoU is kept at.
        are_score_maps: the maps are resized and normalized already.
        from_maps: False for box rules that do not look at the map; nothing else is told of it then.
        progress: show a bar.

    Raises:
        ValueError: if the maps are of other images, hold NaN, or are no score maps where they should be; or if one of
            the images has no true box, or an empty one where boxes are edges.
    """
    if not np.array_equal(maps.image_ids, truth.image_ids):
        raise ValueError("The maps are of other images than the annotations.")
    if truth.has_boxes:
        _check_true_boxes(truth, protocol)
    compile_engine()
    read_mask = truth.read_mask if from_maps else None
    rules = box_rules if truth.has_boxes else {}
    known = np.full(len(truth), -1) if ranks is None else ranks
    iou_thresholds = np.array(IOU_THRESHOLDS)
    kept = list(points)
    scratch = Scratch()

    def score_map_of(n: int) -> NDArray[np.float64]:
        grid = protocol.grid or truth.size(n)
        if are_score_maps:
            score_map = np.ascontiguousarray(maps.read(n), dtype=np.float64)
            if score_map.shape != tuple(grid):
                raise ValueError(
                    f"The score map of image {str(truth.image_ids[n])!r} is {score_map.shape}, not {grid}."
                )
            return score_map
        score_map = scratch.score_map(grid)
        fill_score_map(maps.read(n), score_map, protocol, f"image {str(truth.image_ids[n])!r}")
        return score_map

    def judge_some(start: int) -> _Part:
        stop = min(start + _BATCH, len(truth))
        count, grid = stop - start, len(thresholds)
        iou = {name: np.empty((count, grid), np.float32) for name in rules}
        boxes = {name: np.empty((count, grid, 4), np.float32) for name in rules}
        true_boxes = {name: np.empty((count, grid, 4), np.float32) for name in rules}
        label_free = np.empty(count, np.int64)
        pointing = np.full((count, 2), np.nan, np.float32)
        histograms = [] if read_mask is None else [np.empty((0, 2, grid + 1), np.int64)]
        for place, n in enumerate(range(start, stop)):
            score_map = score_map_of(n)
            label_free[place] = index_below(thresholds, otsu_threshold(score_map))
            if rules:
                true = true_boxes_of(truth.boxes[n], truth.size(n), protocol)
                if from_maps:
                    pointing[place] = peak_and_energy(score_map, true)
            for name, rule in rules.items():
                best = best_of(rule(score_map, thresholds, protocol), true)
                iou[name][place], boxes[name][place] = best.iou, best.boxes
                true_boxes[name][place] = true[best.true_index]
            if read_mask is not None:
                size = (score_map.shape[0], score_map.shape[1])
                histograms.append(score_histograms(score_map, read_mask(n, size), thresholds)[None])
        some = known[start:stop]
        return _Part(
            {name: BoxTally.of(iou[name], boxes[name], true_boxes[name], some, iou_thresholds) for name in rules},
            PixelTally.of(np.concatenate(histograms)) if histograms else None,
            label_free,
            {name: np.take_along_axis(iou[name], label_free[:, None], axis=1)[:, 0] for name in rules},
            {name: iou[name][:, kept] for name in rules},
            pointing,
        )

    starts = range(0, len(truth), _BATCH)
    parts = []
    first: _Part | None = None
    with tqdm(
        desc="scoring", total=len(truth), unit="map", delay=1, leave=False, disable=None if progress else True
    ) as bar:
        for part in in_threads(judge_some, starts):  # in order, so that sums of floats do not depend on threads
            if first is None:
                first = part
            else:
                for name, tally in part.boxes.items():
                    first.boxes[name].add(tally)
                if first.pixels is not None and part.pixels is not None:
                    first.pixels.add(part.pixels)
                part.boxes, part.pixels = {}, None
            parts.append(part)
            bar.update(len(part.label_free))
    if first is None:
        raise ValueError("There is no image to score.")
    return Judgement(
        thresholds=thresholds,
        iou_thresholds=IOU_THRESHOLDS,
        images=len(truth),
        boxes=first.boxes,
        pixels=first.pixels,
        label_free=np.concatenate([part.label_free for part in parts]),
        ranks=known,
        label_free_iou={name: np.concatenate([part.label_free_iou[name] for part in parts]) for name in rules},
        point_iou={name: np.concatenate([part.point_iou[name] for part in parts]) for name in rules},
        from_maps=from_maps,
        peak_distance=np.concatenate([part.pointing[:, 0] for part in parts]),
        energy_inside=np.concatenate([part.pointing[:, 1] for part in parts]),
    )


def _check_true_boxes(truth: GroundTruth, protocol: Protocol) -> None:
    for image_id, boxes in zip(truth.image_ids, truth.boxes, strict=True):
        if len(boxes) == 0:
            raise ValueError(f"Image {str(image_id)!r} has no true box, where others have; take it out of the split.")
        if protocol.iou == "half_open" and (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(
                f"Image {str(image_id)!r} has an empty true box, {boxes.tolist()}, where protocol {protocol.name!r} "
                "reads x1 and y1 as edges; correct the box."
            )
