"""Maps of any origin against a split's annotations, in one pass and in memory that does not grow with T x N."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.box_ranges import BoxRule
from wsol.compilation import compile_engine
from wsol.localize import MapSource, Scratch
from wsol.matching import best_of, in_threads, true_boxes_of
from wsol.otsu import otsu_threshold
from wsol.pixel_scores import score_histograms
from wsol.pointing import peak_and_energy
from wsol.protocol import Protocol
from wsol.score_map import fill_score_map
from wsol.tallies import RIGHT_CLASS, BoxTally, PixelTally
from wsol.thresholds import index_below
from wsol.truth import Truth

_BATCH = 64  # images that a thread takes at a time, and that are summed up together

IOU_THRESHOLDS = (0.3, 0.5, 0.7)


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
    truth: Truth,
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


def _check_true_boxes(truth: Truth, protocol: Protocol) -> None:
    for image_id, boxes in zip(truth.image_ids, truth.boxes, strict=True):
        if len(boxes) == 0:
            raise ValueError(f"Image {str(image_id)!r} has no true box, where others have; take it out of the split.")
        if protocol.iou == "half_open" and (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(
                f"Image {str(image_id)!r} has an empty true box, {boxes.tolist()}, where protocol {protocol.name!r} "
                "reads x1 and y1 as edges; correct the box."
            )
