"""Pseudo supervised object localization: a run's own boxes on its training images teach a box regressor.

Source: Zhang, Cao and Wu, "Rethinking the Route Towards Weakly Supervised Object Localization" (PSOL), CVPR 2020.
Differs from the paper in where the pseudo boxes come from: there from deep descriptor transformation (DDT), here from
the run's own maps, so that its rows tell what the second stage adds. Crops, optimizer and schedule are the run's, not
the paper's.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

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
from wsol.scoring.match_maps import Matches, Scratch
from wsol.scoring.matching import best_of, true_boxes_of
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score import Score
from wsol.scoring.score_map import fill_score_map
from wsol.scoring.supervision import NOTHING, VAL_BOXES, Supervision, supervision_of
from wsol.scoring.thresholds import best_index
from wsol.threads import in_threads

log = logging.getLogger(__name__)

_AT_ONCE = 4096  # images whose maps are kept at a time


def best_on_val(records: Mapping[str, LocalizationRecord], iou_threshold: float = 0.5) -> str:
    """The map method with the most hits on `val` at the threshold chosen there; see `choose_operating_point`.

    Args:
        records: of `val`, map method -> its record under one box rule.
        iou_threshold: δ in (0, 1].
    """
    at_point = np.stack([record.best_iou[:, record.operating_point] for record in records.values()], axis=1)
    return list(records)[best_index((at_point >= iou_threshold).sum(axis=0), at_point.sum(axis=0, dtype=np.float64))]


def pseudo_boxes(
    maps: StoredMaps, size: Size, protocol: Protocol, threshold: float, rule: BoxRule = largest, progress: str = ""
) -> StoredBoxes:
    """The box of each map at one threshold, as the protocol draws it.

    Args:
        maps: of N images.
        size: (height, width) of the images.
        protocol: from activation map to box.
        threshold: τ, chosen on `val`.
        rule: one that gives at most one box at a threshold.
        progress: what a progress bar says; empty for none.

    Returns:
        (N, 4) boxes on the images; NaN where nothing of the map is foreground, as in a constant one.

    Raises:
        ValueError: if the rule gives several boxes, or a map holds NaN.
    """
    compile_engine()
    found = np.full((len(maps.image_ids), 4), np.nan, np.float32)
    grid, scratch = protocol.grid or size, Scratch()

    def draw(n: int) -> None:
        score_map = scratch.score_map(grid)
        fill_score_map(maps.read(n), score_map, protocol, f"image {str(maps.image_ids[n])!r}")
        (boxes,) = rule(score_map, [threshold], protocol)
        if len(boxes) > 1:
            raise ValueError(f"A pseudo box is one box an image, but {rule!r} gives {len(boxes)}; choose largest.")
        if len(boxes) and score_map.any():  # some protocols draw a box of one pixel where there is nothing
            found[n] = resize_boxes(boxes, grid, size)[0]
        bar.update()

    hidden = None if progress else True
    with tqdm(desc=progress, total=len(found), unit="image", disable=hidden, leave=False) as bar:
        for _ in in_threads(draw, range(len(found))):
            pass
    return StoredBoxes(maps.image_ids, found, size)


def make_pseudo_boxes(
    network: nn.Module,
    train: ImageSet,
    like: ImageSet,
    method: MapMethod,
    *,
    protocol: Protocol,
    threshold: float,
    rule: BoxRule = largest,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
    progress: bool = True,
) -> StoredBoxes:
    """The boxes of a trained run on its training images, from maps of their labels' classes.

    Maps are made and forgotten some thousand images at a time.

    Args:
        network: the run's classifier.
        train: its training images.
        like: the split whose size maps are made at.
        method: the run's map method.
        protocol: from activation map to box.
        threshold: τ, chosen on `val`.
        rule: one that gives at most one box at a threshold.
        device: where to compute.
        batch_size: images at a time.
        workers: processes that decode; 0 decodes in this one.
        progress: show bars.

    Returns:
        Boxes on images as large as those of `like`, in the order of `train`.

    Raises:
        ValueError: as `make_maps` and `pseudo_boxes`.
    """
    size, parts = like[0].size, list[StoredBoxes]()
    for start in range(0, len(train), _AT_ONCE):
        images = prepared_as(train, like, np.arange(start, min(start + _AT_ONCE, len(train))))
        _, maps = make_maps(
            network,
            images,
            {PSOL: method},
            Machine(accelerator=str(device), batch_size=batch_size, workers=workers, progress=progress),
        )
        parts.append(pseudo_boxes(maps[PSOL], size, protocol, threshold, rule))
    return StoredBoxes.concatenate(parts)


class NoPseudoBox(ValueError):
    """No training image has a pseudo box, as where a head died and all its maps are constant."""


class PseudoBoxed(Dataset[Sample]):
    """Training images, each with its pseudo box; those without one are left out, which the log tells.

    Args:
        images: the training images.
        boxes: of the same images in the same order, on images of any one size.

    Raises:
        ValueError: if the boxes are of other images.
        NoPseudoBox: if no image has one.
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
    truth: GroundTruth,
    thresholds: NDArray[np.float64],
    protocol: Protocol,
    point: int | None = None,
) -> Matches:
    """One box an image against the true ones: at all thresholds the same, since no map is cut.

    A protocol brings it to its grid, and reads its edges, as it does those of true boxes: one that equals a true box
    has IoU 1.

    Args:
        boxes: of the images of `truth`, in the same order.
        truth: the split's boxes.
        thresholds: (T,), for the record's shape alone.
        protocol: how boxes are compared.
        point: keep the boxes of this threshold alone.

    Returns:
        As of `match_maps`; the label-free threshold is the first one, and there is no map that could point.

    Raises:
        ValueError: if the boxes are of other images, or an image has no predicted or no true box, naming it.
    """
    if not np.array_equal(boxes.image_ids, truth.image_ids):
        raise ValueError("The stored boxes are of other images than the split holds; delete them to have them remade.")
    compile_engine()
    count, kept = len(truth), len(thresholds) if point is None else 1
    best_iou = np.empty((count, len(thresholds)), np.float32)
    predicted, true_boxes = np.empty((2, count, kept, 4), np.float32)
    zero, known = np.zeros(1, np.int32), boxes.known
    for n in range(count):
        size = truth.size(n)
        if not known[n] or not len(truth.boxes[n]):
            lacking = "true" if known[n] else "predicted"
            raise ValueError(f"Image {str(truth.image_ids[n])!r} has no {lacking} box, so it cannot be scored.")
        its = true_boxes_of(resize_boxes(boxes.boxes[n][None], boxes.size, size), size, protocol)
        true = true_boxes_of(truth.boxes[n], size, protocol)
        best = best_of(BoxRanges(its, zero, zero + 1, np.zeros(1, np.int64)), true)
        best_iou[n] = best.iou
        grid = protocol.grid or size
        predicted[n] = resize_boxes(its, grid, size)
        true_boxes[n] = resize_boxes(true[best.true_index], grid, size)
    nothing = np.full(count, np.nan, np.float32)
    return Matches(best_iou, predicted, true_boxes, np.zeros(count, np.int64), nothing, nothing)


def psol_supervision(score: Score, protocol: Protocol) -> Supervision:
    """The ledger's line of a PSOL row: the boxes of `val` chose the map method and the τ of the pseudo boxes.

    At test no map is made, so no class is given and no threshold is read.
    """
    return replace(supervision_of(score, protocol), map_class=NOTHING, threshold=NOTHING, hyper_parameters=VAL_BOXES)
