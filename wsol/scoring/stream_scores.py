"""Compute scores of any maps in one pass, in memory that does not grow with images x thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.ground_truth import GroundTruth
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.compilation import compile_engine
from wsol.scoring.match_maps import MapSource, Scratch, fills, match_image
from wsol.scoring.outcomes import Outcomes
from wsol.scoring.pixel_scores import score_histograms
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord, PixelRecord
from wsol.scoring.score import PIXELS, Score
from wsol.scoring.thresholds import LABEL_FREE, best_index
from wsol.threads import in_threads

_BATCH = 64  # images that a thread takes at a time, and that are summed up together
_FEW = 4  # outcomes of an image that are kept, so that their mean is that of a run to the last digit


@dataclass(frozen=True)
class SplitMaps:
    """The maps of a split with all that they are compared with.

    Attributes:
        maps: one map per image of `truth`, in the same order.
        truth: the split's boxes, masks, or both.
        class_rank: (N,) place of each true class among the predicted ones; None: nothing was classified.
        are_score_maps: the maps are resized and normalized already.
        from_maps: False for box rules that do not read the map: no other score then reads it.
    """

    maps: MapSource
    truth: GroundTruth
    class_rank: NDArray[np.int64] | None = None
    are_score_maps: bool = False
    from_maps: bool = True

    def ranks(self) -> NDArray[np.int64]:
        """Return (N,) class ranks; -1 where nothing was classified."""
        return np.full(len(self.truth), -1) if self.class_rank is None else self.class_rank


@dataclass(frozen=True)
class Reading:
    """How maps become matches, at which thresholds.

    Attributes:
        box_rules: by name.
        thresholds: (T,) ascending, in [0, 1).
        protocol: from activation map to hit.
        points: P indices of thresholds; each image's IoU is kept at these.
    """

    box_rules: Mapping[str, BoxRule]
    thresholds: NDArray[np.float64]
    protocol: Protocol
    points: Sequence[int] = ()


@dataclass
class Total:
    """The outcomes of one score over some images.

    Attributes:
        outcomes: of the first images, without their values: how means become the score.
        share: the score is the share of images that count.
        sums: (K,) over the images; or (T, K), at each of T thresholds.
        images: N, how many were summed.
        values: parts of the (N, K) outcomes, where K is small and no threshold is open; None for others.
    """

    outcomes: Outcomes
    share: bool
    sums: NDArray[np.float64]
    images: int
    values: list[NDArray[np.generic]] | None = None

    @classmethod
    def of(cls, outcomes: Outcomes, thresholds: int | None = None) -> "Total":
        """Sum the outcomes of some images.

        Args:
            outcomes: of N images; or of each image at each of T thresholds in turn, N T of them.
            thresholds: T; None for the former.
        """
        values = outcomes.values
        exact = np.int64 if values.dtype.kind in "bui" else np.float64
        kept = [values] if thresholds is None and values.shape[1] <= _FEW else None
        if thresholds is not None:
            values = values.reshape(-1, thresholds, values.shape[1])
        sums = values.sum(axis=0, dtype=exact).astype(np.float64)
        frame = replace(outcomes, values=outcomes.values[:0].copy())
        return cls(frame, outcomes.hits is not None, sums, len(values), kept)

    def add(self, other: "Total") -> None:
        """Add the outcomes of other images, which come after these."""
        self.sums += other.sums
        self.images += other.images
        if self.values is not None and other.values is not None:
            self.values += other.values

    @property
    def means(self) -> NDArray[np.float64]:
        """Means over images, (K,) or (T, K); their sums, where the score is the same for sums."""
        if self.values is not None:
            return np.asarray(np.concatenate(self.values).mean(axis=0, dtype=np.float64), np.float64)
        return self.sums if self.outcomes.pooled else self.sums / self.images

    @property
    def has_curve(self) -> bool:
        """Whether the score is one at each threshold, or the highest point of one curve over them."""
        return self.sums.ndim == 2 or self.outcomes.curve is not None or len(self.outcomes.iou_thresholds) == 1

    def value(self) -> float:
        """Return the score of the images."""
        return float(self.outcomes.combine(self.means))

    def curve(self) -> NDArray[np.floating]:
        """Return the score at each threshold, (T,), of a score that has a curve."""
        if self.sums.ndim == 2:
            return self.outcomes.combine(self.means)
        return self.outcomes.curve(self.means) if self.outcomes.curve is not None else self.means


@dataclass
class StreamedScores:
    """Scores of a split's maps. N images, T thresholds, P points that were asked for.

    Attributes:
        thresholds: (T,).
        totals: by score.
        iou: by box rule, (T,) sums of the images' best IoU.
        boxes: by box rule, (T,) images with a predicted box.
        class_rank: (N,); -1: nothing was classified.
        label_free: (N, L) indices of the thresholds that each map chooses alone, see `LABEL_FREE`.
        label_free_iou: by box rule, (N, L) best IoU at these thresholds.
        point_iou: by box rule, (N, P) best IoU at the points.
        peak_distance: (N,) NaN where there are no true boxes, or no maps.
        energy_inside: (N,) NaN where there are no true boxes, or no maps.
    """

    thresholds: NDArray[np.float64]
    totals: Mapping[str, Total]
    iou: Mapping[str, NDArray[np.float64]]
    boxes: Mapping[str, NDArray[np.int64]]
    class_rank: NDArray[np.int64]
    label_free: NDArray[np.int64]
    label_free_iou: Mapping[str, NDArray[np.float32]]
    point_iou: Mapping[str, NDArray[np.float32]]
    peak_distance: NDArray[np.float32]
    energy_inside: NDArray[np.float32]

    def best_index(self, name: str, rule: str) -> int:
        """Return the index of a score's best threshold; of equals the one with the highest IoU of the rule's boxes.

        Args:
            name: of a score that has a curve over the thresholds.
            rule: the box rule that the score reads, or `pixels`: of equals the lowest, then.
        """
        curve = self.totals[name].curve()
        return int(curve.argmax()) if rule == PIXELS else best_index(curve, self.iou[rule])


def stream_scores(
    split: SplitMaps, scores: Mapping[str, Score], reading: Reading, progress: bool = True
) -> StreamedScores:
    """Match maps block by block, and sum up the outcomes of every score.

    A score at a held-out or a fixed threshold is computed at all thresholds, so that one may be chosen later.

    Args:
        split: maps and annotations.
        scores: by name. Those that read boxes where there are none, masks where there are none, or another box rule
            are left out.
        reading: box rules, thresholds and protocol.
        progress: show a bar.

    Raises:
        ValueError: if the maps belong to other images, hold NaN, or are no score maps where they should be; or if an
            image has no true box, or an empty one where boxes are edges.
    """
    truth = split.truth
    if not np.array_equal(split.maps.image_ids, truth.image_ids):
        raise ValueError("The maps are of other images than the annotations.")
    if len(truth) == 0:
        raise ValueError("There is no image to score.")
    if truth.has_boxes:
        _check_true_boxes(truth, reading.protocol)
    compile_engine()
    matcher = _Matcher(split, reading, split.ranks(), Scratch())

    def score_block(start: int) -> "_Part":
        block = matcher.match(range(start, min(start + _BATCH, len(truth))))
        return _Part(
            {name: total for name, score in scores.items() if (total := block.total(score)) is not None},
            {name: record.best_iou.sum(axis=0, dtype=np.float64) for name, record in block.records.items()},
            {name: (block.boxes[name][..., 2] > block.boxes[name][..., 0]).sum(axis=0) for name in block.records},
            block.images(reading.points),
        )

    first: _Part | None = None
    images = []
    with tqdm(
        desc="scoring", total=len(truth), unit="map", delay=1, leave=False, disable=None if progress else True
    ) as bar:
        # In order, so that sums of floats do not depend on threads.
        for part in in_threads(score_block, range(0, len(truth), _BATCH)):
            if first is None:
                first = part
            else:
                first.add(part)
            images.append(part.images)
            bar.update(len(part.images["label_free"]))
    assert first is not None
    kept = {name: np.concatenate([part[name] for part in images]) for name in images[0]}
    return StreamedScores(
        thresholds=reading.thresholds,
        totals=first.totals,
        iou=first.iou,
        boxes=first.boxes,
        class_rank=matcher.ranks,
        label_free=kept["label_free"],
        label_free_iou={name: kept[f"label_free_iou {name}"] for name in first.iou},
        point_iou={name: kept[f"point_iou {name}"] for name in first.iou},
        peak_distance=kept["peak_distance"],
        energy_inside=kept["energy_inside"],
    )


@dataclass
class _Part:
    """Sums of the outcomes of one block of images, or of all blocks so far."""

    totals: dict[str, Total]
    iou: dict[str, NDArray[np.float64]]
    boxes: dict[str, NDArray[np.int64]]
    images: dict[str, NDArray[np.generic]]  # image by image

    def add(self, other: "_Part") -> None:
        """Add the sums of the next block."""
        for name, total in other.totals.items():
            self.totals[name].add(total)
        for name in self.iou:
            self.iou[name] += other.iou[name]
            self.boxes[name] += other.boxes[name]


@dataclass
class _Block:
    """The records of a few images, with their boxes at all thresholds on the protocol's grid."""

    records: dict[str, LocalizationRecord]  # by box rule
    boxes: dict[str, NDArray[np.float32]]  # (n, T, 4) predicted
    true_boxes: dict[str, NDArray[np.float32]]  # (n, T, 4) that they are compared with
    pixels: PixelRecord
    has_masks: bool
    peak_distance: NDArray[np.float32]
    energy_inside: NDArray[np.float32]
    label_free: NDArray[np.int64]
    every_threshold: dict[str, LocalizationRecord] = field(default_factory=dict)

    def total(self, score: Score) -> Total | None:
        """Sum the outcomes of a score; None if the block has no record that the score reads."""
        records: dict[str, LocalizationRecord | PixelRecord] = {**self.records}
        if self.has_masks or not records:  # without masks, too, the record contains the classes
            records[PIXELS if self.has_masks else ""] = self.pixels
        record = score.record(records)
        if record is None:
            return None
        if isinstance(record, PixelRecord) or score.threshold in (None, "oracle", *LABEL_FREE):
            return Total.of(score.outcomes(records))
        at_each = self.at_every_threshold(score.boxes)
        return Total.of(replace(score, threshold="held_out").outcomes({score.boxes: at_each}), len(record.thresholds))

    def at_every_threshold(self, rule: str) -> LocalizationRecord:
        """Return a record with a row for each image and threshold, so that every score is computed at all of them."""
        if rule not in self.every_threshold:
            record = self.records[rule]
            count = len(record.thresholds)
            self.every_threshold[rule] = replace(
                record,
                # Zero strides: a thousand copies of every name would take longer than all scores.
                image_ids=np.broadcast_to(np.str_(""), len(record.image_ids) * count),
                class_ids=record.class_ids.repeat(count),
                class_rank=record.class_rank.repeat(count),
                best_iou=record.best_iou.reshape(-1, 1),
                fills_frame=None if record.fills_frame is None else record.fills_frame.reshape(-1, 1),
                boxes=self.boxes[rule].reshape(-1, 4),
                true_boxes=self.true_boxes[rule].reshape(-1, 4),
                thresholds=np.full(1, np.nan),
                label_free=np.broadcast_to(np.int64(0), (len(record.image_ids) * count, len(LABEL_FREE))),
                peak_distance=record.peak_distance.repeat(count),
                energy_inside=record.energy_inside.repeat(count),
                map_side=None if record.map_side is None else record.map_side.repeat(count),
                has_boxes=True,
            )
        return self.every_threshold[rule]

    def images(self, points: Sequence[int]) -> dict[str, NDArray[np.generic]]:
        """Return what is kept of every image, so that two tools' scores of the same images can be paired."""
        kept: dict[str, NDArray[np.generic]] = {
            "label_free": self.label_free,
            "peak_distance": self.peak_distance,
            "energy_inside": self.energy_inside,
        }
        for name, record in self.records.items():
            kept[f"label_free_iou {name}"] = np.take_along_axis(record.best_iou, self.label_free, axis=1)
            kept[f"point_iou {name}"] = record.best_iou[:, list(points)]
        return kept


@dataclass(frozen=True)
class _Matcher:
    """Makes the records of a few images, from one score map for all box rules and the mask."""

    split: SplitMaps
    reading: Reading
    ranks: NDArray[np.int64]
    scratch: Scratch

    def match(self, places: range) -> _Block:
        """Match the maps of these images."""
        split, reading, truth = self.split, self.reading, self.split.truth
        thresholds, protocol = reading.thresholds, reading.protocol
        rules = reading.box_rules if truth.has_boxes else {}
        read_mask = truth.read_mask if split.from_maps else None
        count, grid = len(places), len(thresholds)
        iou = {name: np.empty((count, grid), np.float32) for name in rules}
        boxes = {name: np.empty((count, grid, 4), np.float32) for name in rules}
        true_boxes = {name: np.empty((count, grid, 4), np.float32) for name in rules}
        fills_frame = {name: np.empty((count, grid), bool) for name in rules}
        label_free = np.empty((count, len(LABEL_FREE)), np.int64)
        peak_distance, energy_inside, map_side = np.full((3, count), np.nan, np.float32)
        histograms = np.zeros((count, 2, grid + 1), np.int32) if read_mask else np.zeros((count, 2, 1), np.int32)
        for place, n in enumerate(places):
            score_map = self._score_map(n)
            match = match_image(score_map, truth, n, rules, thresholds, protocol)
            label_free[place], map_side[place] = match.label_free, match.map_side
            if split.from_maps:
                peak_distance[place], energy_inside[place] = match.peak_distance, match.energy_inside
            for name, best in match.best.items():
                iou[name][place], boxes[name][place] = best.iou, best.boxes
                true_boxes[name][place] = match.true_boxes[best.true_index]
                fills_frame[name][place] = fills(best.boxes, (score_map.shape[0], score_map.shape[1]))
            if read_mask is not None:
                size = (score_map.shape[0], score_map.shape[1])
                histograms[place] = score_histograms(score_map, read_mask(n, size), thresholds)
        images = slice(places.start, places.stop)
        image_ids, class_ids, ranks = truth.image_ids[images], truth.class_ids[images], self.ranks[images]
        records = {
            name: LocalizationRecord(
                image_ids,
                class_ids,
                ranks,
                best_iou=iou[name],
                boxes=boxes[name][:, 0],
                true_boxes=true_boxes[name][:, 0],
                thresholds=thresholds,
                operating_point=0,
                label_free=label_free,
                peak_distance=peak_distance,
                energy_inside=energy_inside,
                fills_frame=fills_frame[name],
                map_side=map_side,
                has_boxes=False,
            )
            for name in rules
        }
        pixels = PixelRecord(image_ids, class_ids, ranks, histograms, thresholds)
        has_masks = read_mask is not None
        return _Block(records, boxes, true_boxes, pixels, has_masks, peak_distance, energy_inside, label_free)

    def _score_map(self, n: int) -> NDArray[np.float64]:
        split, protocol = self.split, self.reading.protocol
        size = split.truth.size(n)
        if not split.are_score_maps:
            return self.scratch.read(split.maps, n, size, protocol)
        score_map = np.ascontiguousarray(split.maps.read(n), dtype=np.float64)
        if score_map.shape != tuple(protocol.grid or size):
            name = str(split.truth.image_ids[n])
            raise ValueError(f"The score map of image {name!r} is {score_map.shape}, not {protocol.grid or size}.")
        return score_map


def _check_true_boxes(truth: GroundTruth, protocol: Protocol) -> None:
    for image_id, boxes in zip(truth.image_ids, truth.boxes, strict=True):
        if len(boxes) == 0:
            raise ValueError(f"Image {str(image_id)!r} has no true box, where others have; take it out of the split.")
        if protocol.iou == "half_open" and (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(
                f"Image {str(image_id)!r} has an empty true box, {boxes.tolist()}, where protocol {protocol.name!r} "
                "reads x1 and y1 as edges; correct the box."
            )
