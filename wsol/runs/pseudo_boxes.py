"""Draw pseudo boxes of training images from a run's own maps, and match the boxes of the regressor they train.

Source: Zhang, Cao and Wu, "Rethinking the Route Towards Weakly Supervised Object Localization" (PSOL), CVPR 2020.
Differs from the paper in where the pseudo boxes come from: there from deep descriptor transformation (DDT), here from
the run's own maps, so that its rows show what the second stage adds. Crops, optimizer and schedule are the run's, not
the paper's.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from wsol.data.ground_truth import GroundTruth
from wsol.data.image_set import ImageSet, prepared_as
from wsol.data.sample import Sample
from wsol.geometry import Size, resize_boxes
from wsol.machine import Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.make_maps import make_maps
from wsol.maps.stored_maps import StoredMaps
from wsol.runs.experiment import PSOL
from wsol.scoring.box_ranges import BoxRanges, BoxRule, StoredBoxes
from wsol.scoring.boxes.largest import largest
from wsol.scoring.compilation import compile_engine
from wsol.scoring.match_maps import Matches, Scratch, counted, fills
from wsol.scoring.matching import best_of, true_boxes_of
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score import Score
from wsol.scoring.supervision import NOTHING, VAL_BOXES, Supervision, supervision_of
from wsol.scoring.thresholds import LABEL_FREE, best_index
from wsol.threads import in_threads

log = logging.getLogger(__name__)

_AT_ONCE = 4096  # images whose maps are kept at a time


def best_on_val(records: Mapping[str, LocalizationRecord], iou_threshold: float = 0.5) -> str:
    """Return the map method with the most hits on `val` at the threshold chosen there; see `choose_operating_point`.

    Args:
        records: of `val`, map method -> its record under one box rule.
        iou_threshold: δ in (0, 1].
    """
    at_point = np.stack([record.best_iou[:, record.operating_point] for record in records.values()], axis=1)
    return list(records)[best_index((at_point >= iou_threshold).sum(axis=0), at_point.sum(axis=0, dtype=np.float64))]


def pseudo_boxes(
    maps: StoredMaps, size: Size, protocol: Protocol, threshold: float, rule: BoxRule = largest, progress: str = ""
) -> StoredBoxes:
    """Draw the box of each map at one threshold, as the protocol draws it.

    Args:
        maps: of N images.
        size: (height, width) of the images.
        protocol: from activation map to box.
        threshold: τ, chosen on `val`.
        rule: a box rule that gives at most one box at a threshold.
        progress: title of a progress bar; empty for none.

    Returns:
        (N, 4) boxes on the images; NaN where the map has no foreground, as a constant one.

    Raises:
        ValueError: if the rule gives several boxes, or a map contains NaN.
    """
    compile_engine()
    drawn = np.full((len(maps.image_ids), 4), np.nan, np.float32)
    grid, scratch = protocol.grid or size, Scratch()

    def draw(n: int) -> None:
        score_map = scratch.read(source, n, size, protocol)
        (boxes,) = rule(score_map, [threshold], protocol)
        if len(boxes) > 1:
            raise ValueError(f"A pseudo box is one box per image, but {rule!r} gives {len(boxes)}; choose largest.")
        if len(boxes) and score_map.any():  # some protocols draw a box of one pixel where there is nothing
            drawn[n] = resize_boxes(boxes, grid, size)[0]

    with counted(maps, progress) as source:
        for _ in in_threads(draw, range(len(drawn))):
            pass
    return StoredBoxes(maps.image_ids, drawn, size)


@dataclass(frozen=True)
class BoxDrawing:
    """Describe how a pseudo box is drawn.

    Attributes:
        method: the run's map method.
        protocol: from activation map to box.
        threshold: τ, chosen on `val`.
        rule: a box rule that gives at most one box at a threshold.
    """

    method: MapMethod
    protocol: Protocol
    threshold: float
    rule: BoxRule = largest


def make_pseudo_boxes(
    network: nn.Module, train: ImageSet, like: ImageSet, drawing: BoxDrawing, machine: Machine
) -> StoredBoxes:
    """Draw the boxes of a trained run on its training images, from maps of their labels' classes.

    Only the maps of some thousand images are in memory at a time.

    Args:
        network: the run's classifier.
        train: its training images.
        like: the split whose size maps are made at.
        drawing: the map method, and how a box is drawn from its map.
        machine: where to compute.

    Returns:
        Boxes on images as large as those of `like`, in the order of `train`.

    Raises:
        ValueError: as `make_maps` and `pseudo_boxes`.
    """
    size, parts = like[0].size, list[StoredBoxes]()
    for start in range(0, len(train), _AT_ONCE):
        images = prepared_as(train, like, np.arange(start, min(start + _AT_ONCE, len(train))))
        _, maps = make_maps(network, images, {PSOL: drawing.method}, machine)
        parts.append(pseudo_boxes(maps[PSOL], size, drawing.protocol, drawing.threshold, drawing.rule))
    return StoredBoxes.concatenate(parts)


class NoPseudoBox(ValueError):
    """Signal that no training image has a pseudo box, as where a head died and all its maps are constant."""


class PseudoBoxed(Dataset[Sample]):
    """Give training images with their pseudo boxes; images without one are left out, and counted in the log.

    Args:
        images: the training images.
        boxes: of the same images in the same order, on images of any one size.

    Raises:
        ValueError: if the boxes are of other images.
        NoPseudoBox: if no image has a box.
    """

    def __init__(self, images: ImageSet, boxes: StoredBoxes) -> None:
        if boxes.image_ids.tolist() != images.image_ids:
            raise ValueError(
                f"The pseudo boxes are of other images than {images.name} holds; delete them to have them remade."
            )
        (self._places,) = np.nonzero(boxes.known)
        if not len(self._places):
            raise NoPseudoBox(
                f"No map of {images.name} has any foreground, so there is no pseudo box to learn from; choose other "
                "`maps`, or leave psol out."
            )
        left_out = len(images) - len(self._places)
        if left_out:
            log.info("%s: %d of %d images have no pseudo box and are left out.", images.name, left_out, len(images))
        self._images, self._boxes = images, boxes

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        place = self._places[index]
        sample = self._images[place]
        return replace(sample, boxes=resize_boxes(self._boxes.boxes[place][None], self._boxes.size, sample.size))


def match_boxes(
    boxes: StoredBoxes,
    ground_truth: GroundTruth,
    thresholds: NDArray[np.float64],
    protocol: Protocol,
    point: int | None = None,
) -> Matches:
    """Match one box per image with the ground truth, at all thresholds the same, since no map is cut.

    The protocol resizes the box to its grid and reads its edges as it does those of the ground truth, so that a box
    that equals a ground-truth box has IoU 1.

    Args:
        boxes: of the images of `ground_truth`, in the same order.
        ground_truth: the split's boxes.
        thresholds: (T,), which only give the record its shape.
        protocol: how boxes are compared.
        point: keep the boxes of this threshold alone; None: of all.

    Returns:
        Matches as of `match_maps`. The label-free thresholds are the first one; peak and energy are NaN without a map.

    Raises:
        ValueError: if the boxes are of other images, or an image has no predicted or no true box, with its id.
    """
    if not np.array_equal(boxes.image_ids, ground_truth.image_ids):
        raise ValueError("The stored boxes are of other images than the split holds; delete them to have them remade.")
    compile_engine()
    count, kept = len(ground_truth), len(thresholds) if point is None else 1
    best_iou = np.empty((count, len(thresholds)), np.float32)
    predicted, true_boxes = np.empty((2, count, kept, 4), np.float32)
    zero, known = np.zeros(1, np.int32), boxes.known
    fills_frame = np.empty(best_iou.shape, bool)
    for n in range(count):
        size = ground_truth.size(n)
        if not known[n] or not len(ground_truth.boxes[n]):
            lacking = "true" if known[n] else "predicted"
            raise ValueError(f"Image {str(ground_truth.image_ids[n])!r} has no {lacking} box, so it cannot be scored.")
        regressed = true_boxes_of(resize_boxes(boxes.boxes[n][None], boxes.size, size), size, protocol)
        true = true_boxes_of(ground_truth.boxes[n], size, protocol)
        best = best_of(BoxRanges(regressed, zero, zero + 1, np.zeros(1, np.int64)), true)
        best_iou[n] = best.iou
        grid = protocol.grid or size
        fills_frame[n] = fills(best.boxes, grid)
        predicted[n] = resize_boxes(regressed, grid, size)
        true_boxes[n] = resize_boxes(true[best.true_index], grid, size)
    nothing = np.full(count, np.nan, np.float32)
    label_free = np.zeros((count, len(LABEL_FREE)), np.int64)
    return Matches(best_iou, predicted, true_boxes, label_free, nothing, nothing, fills_frame, nothing)


def psol_supervision(score: Score, protocol: Protocol) -> Supervision:
    """Return the supervision of a PSOL row: the boxes of `val` chose the map method and the τ of the pseudo boxes.

    At test no map is made, so that no class is given and no threshold is read.
    """
    supervision = supervision_of(score, protocol)
    return replace(supervision, map_class=NOTHING, threshold=NOTHING, box_choice=NOTHING, hyper_parameters=VAL_BOXES)
