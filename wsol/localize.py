"""From stored maps, or from a baseline that needs none, to the record that every score reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.components import BoxRule
from wsol.geometry import Size
from wsol.matching import Matches, best_of, match_boxes
from wsol.record import LocalizationRecord
from wsol.score_map import Interpolation, to_score_maps
from wsol.stored_maps import StoredMaps


@dataclass(frozen=True)
class Truth:
    """What a split is scored against, without its pixels."""

    image_ids: NDArray[np.str_]  # (N,)
    class_ids: NDArray[np.int64]  # (N,)
    boxes: list[NDArray[np.float32]]  # N arrays (B, 4), on the grid of the prepared images
    size: Size  # of the prepared images


def match_maps(
    maps: StoredMaps,
    truth: Truth,
    box_rule: BoxRule,
    thresholds: NDArray[np.float64],
    interpolation: Interpolation = "bicubic",
    progress: str = "",
) -> Matches:
    """Best IoU (N, T) and chosen boxes (N, T, 4) of a split's stored maps.

    Args:
        maps: one map per image of `truth`, in the same order.
        truth: the split's boxes.
        box_rule: `largest`, `every`, or a function like them.
        thresholds: (T,) ascending, in [0, 1).
        interpolation: how maps are upsampled to the images' size.
        progress: what a progress bar says; empty for none.

    Raises:
        ValueError: if the maps are not those of the split's images, or a map holds NaN.
    """
    if not np.array_equal(maps.image_ids, truth.image_ids):
        raise ValueError("The stored maps are of other images than the split holds; delete them to have them remade.")
    found, step = [], 64  # 64 maps of 224 x 224 in float64 are 26 MB
    batches = range(0, len(truth.boxes), step)
    for start in tqdm(batches, desc=progress, unit="batch", disable=None if progress != "" else True, leave=False):
        stop = start + step
        activation_maps = maps.activation_maps(start, stop)
        score_maps = to_score_maps(activation_maps, truth.size, interpolation, truth.image_ids[start:stop].tolist())
        found.append(match_boxes(box_rule, score_maps, truth.boxes[start:stop], thresholds))
    return np.concatenate([iou for iou, _ in found]), np.concatenate([boxes for _, boxes in found])


def match_fixed(predicted: Sequence[NDArray[np.float32]], truth: Truth) -> Matches:
    """The same for boxes (T arrays (B, 4)) that are the same in every image: the baselines."""
    found = [best_of(predicted, boxes) for boxes in truth.boxes]
    return np.stack([iou for iou, _ in found]), np.stack([boxes for _, boxes in found])


def make_record(
    matches: Matches, operating_point: int, thresholds: NDArray[np.float64], predictions: pd.DataFrame
) -> LocalizationRecord:
    """Join boxes and classes, image by image.

    Args:
        matches: best IoU (N, T) and boxes (N, T, 4).
        operating_point: index into thresholds, chosen on `val`.
        thresholds: (T,).
        predictions: a row per image, in the same order: image_id, class_id, class_rank.
    """
    best_iou, boxes = matches
    return LocalizationRecord(
        image_ids=predictions["image_id"].to_numpy(dtype=np.str_),
        class_ids=predictions["class_id"].to_numpy(np.int64),
        class_rank=predictions["class_rank"].to_numpy(np.int64),
        best_iou=best_iou,
        boxes=boxes[:, operating_point],
        thresholds=thresholds,
        operating_point=operating_point,
    )
