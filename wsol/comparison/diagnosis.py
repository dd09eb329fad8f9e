"""Explain a score by types of error, groups of objects, and accuracy over thresholds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.geometry import Size
from wsol.scoring.record import LocalizationRecord

RIGHT = "right"
WRONG_CLASS = "wrong class"
TOO_SMALL = "too small"
TOO_LARGE = "too large"
WRONG_PLACE = "wrong place"
NO_BOX = "no box"

ERROR_TYPES = (RIGHT, WRONG_CLASS, TOO_SMALL, TOO_LARGE, WRONG_PLACE, NO_BOX)  # in the order to show

SHARED = 0.5  # smallest share of one box inside the other; with less, the two boxes are in different places

IOU_THRESHOLDS = tuple(step / 20 for step in range(1, 20))  # δ = 0.05, 0.1, ..., 0.95

SMALL, MEDIUM, LARGE = "small", "medium", "large"
OBJECT_SIZES = (SMALL, MEDIUM, LARGE)
SMALL_BELOW, LARGE_ABOVE = 0.2, 0.5  # shares of the image's area

OBJECT_COUNTS = ("1", "2", "3 or more")


def error_types(record: LocalizationRecord, iou_threshold: float = 0.5) -> NDArray[np.str_]:
    """Assign one type of error to each image, from the predicted box and the true box that it matches best.

    The box is that of the record's operating point. With IoU >= δ:

    - `right`: the true class ranks first, or nothing was classified;
    - `wrong class`: another class ranks first.

    With IoU < δ, whatever the class, let c be the share of the true box inside the predicted one (coverage), and p the
    share of the predicted box inside the true one (1 - leakage):

    - `no box`: the predicted box is empty;
    - `wrong place`: both c and p are below one half;
    - `too small`: p >= c, so the box is at most as large as the object and lies mostly on it: a part;
    - `too large`: c > p, so the box is larger than the object and covers background, or a second object.

    `right` and `wrong class` together are `gt_known_loc`, and `right` alone is `top_k_loc` of k = 1.

    The types are this project's own. Types of detection errors (Hoiem et al., "Diagnosing Error in Object Detectors",
    ECCV 2012) sort many boxes with scores; here every image has one box and is known to contain the object. The nearest
    published types are in the code of Pan et al., "Unveiling the Potential of Structure Preserving for Weakly
    Supervised Object Localization", CVPR 2021. Differs from that code: there a wrong class goes before everything else,
    so that a worse classifier seems to have fewer boxes that are too small; a part is p > 0.5 even where c is larger; a
    box that is too large has c >= 0.7; a box on two objects has a type of its own, and an empty box has none.

    Under a protocol whose IoU is `inclusive`, a map without foreground gives the pixel (0, 0), so that no image has the
    type `no box`.

    Args:
        record: a record at the threshold that its boxes were saved at.
        iou_threshold: δ in (0, 1].

    Returns:
        (N,) of `ERROR_TYPES`.

    Raises:
        ValueError: if the boxes were saved at another threshold than the record is read at.
    """
    extent = record.extent()
    hit = record.best_iou[:, record.operating_point] >= iou_threshold
    apart = (extent.coverage < SHARED) & (extent.leakage > 1 - SHARED)
    # p >= c is the same as an area ratio of at most 1, without the rounding of 1 - leakage.
    return np.select(
        [hit & (record.class_rank > 0), hit, extent.area_ratio <= 0, apart, extent.area_ratio <= 1],
        [WRONG_CLASS, RIGHT, NO_BOX, WRONG_PLACE, TOO_SMALL],
        default=TOO_LARGE,
    )


def check_seeds(records: Sequence[LocalizationRecord]) -> None:
    """Raise ValueError unless there is a record, and all records have the same images in the same order."""
    if len(records) == 0:
        raise ValueError("A setting needs at least one record.")
    for place, record in enumerate(records):
        if not np.array_equal(record.image_ids, records[0].image_ids):
            raise ValueError(f"Record {place} has other images than record 0, or has them in another order.")


def by_group(
    records: Sequence[LocalizationRecord],
    groups: NDArray,
    iou_threshold: float = 0.5,
    order: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compute GT-known Loc of each group of images, at each record's operating point.

    Args:
        records: S, one for each seed.
        groups: (N,) the group of each image, of any type that sorts.
        iou_threshold: δ in (0, 1].
        order: all possible groups in the order to list them; None: sorted.

    Returns:
        Columns group, images, gt_known_loc (mean over seeds, a fraction), std (sample standard deviation over seeds;
        NaN for one). Groups without images are left out.

    Raises:
        ValueError: if the records have different images, if the groups are not one for each image, or if `order` lacks
            a group.
    """
    check_seeds(records)
    labels = np.asarray(groups)
    if labels.shape != records[0].image_ids.shape:
        raise ValueError(f"{len(records[0].image_ids)} images need as many groups, got an array of {labels.shape}.")
    hits = pd.DataFrame([record.best_iou[:, record.operating_point] >= iou_threshold for record in records])
    grouped = hits.T.astype(float).groupby(labels, dropna=False)
    per_seed, images = grouped.mean(), grouped.size()
    if order is not None:
        missing = sorted(set(per_seed.index) - set(order))
        if missing:
            raise ValueError(f"The order {tuple(order)} lacks the groups {missing}.")
        listed = [group for group in order if group in per_seed.index]
        per_seed, images = per_seed.loc[listed], images.loc[listed]
    return pd.DataFrame(
        {
            "group": per_seed.index.to_numpy(),
            "images": images.to_numpy(),
            "gt_known_loc": per_seed.mean(axis=1).to_numpy(),
            "std": per_seed.std(axis=1).to_numpy(),
        }
    )


def error_shares(records: Sequence[LocalizationRecord], iou_threshold: float = 0.5) -> pd.DataFrame:
    """Compute the share of images of each type of error.

    Args:
        records: S, one for each seed, each at the threshold that its boxes were saved at.
        iou_threshold: δ in (0, 1].

    Returns:
        Columns error, share (mean over seeds; the shares sum to 1), std (sample standard deviation over seeds; NaN for
        one). A row for each of `ERROR_TYPES`, also where no image has it.

    Raises:
        ValueError: if the records have different images, or without boxes at their operating point.
    """
    check_seeds(records)
    per_seed = pd.DataFrame(
        [[float((types == error).mean()) for error in ERROR_TYPES] for types in _types(records, iou_threshold)],
        columns=list(ERROR_TYPES),
    )
    return pd.DataFrame(
        {"error": ERROR_TYPES, "share": per_seed.mean().to_numpy(), "std": per_seed.std().to_numpy()},
    )


def _types(records: Sequence[LocalizationRecord], iou_threshold: float) -> list[NDArray[np.str_]]:
    return [error_types(record, iou_threshold) for record in records]


def area_ratios(records: Sequence[LocalizationRecord]) -> NDArray[np.float64]:
    """Compute log2 of the predicted box's area over the true box's: 0 for the right size, 1 for twice as large.

    Returns:
        At most (S N,), seed after seed, without the images that have no box. The mean over one seed is the log2 of
        `box_area_ratio`.

    Raises:
        ValueError: if the records have different images, or without boxes at their operating point.
    """
    check_seeds(records)
    ratios = np.concatenate([record.extent().area_ratio for record in records])
    return np.log2(ratios[ratios > 0])


def accuracy_by_threshold(records: Sequence[LocalizationRecord], iou_threshold: float = 0.5) -> NDArray[np.float64]:
    """Compute the share of images whose box reaches the IoU threshold, at every score-map threshold.

    The maximum over τ is `max_box_acc`, the value at the operating point `gt_known_loc`.

    Args:
        records: S, one for each seed.
        iou_threshold: δ in (0, 1].

    Returns:
        (S, T) fractions.

    Raises:
        ValueError: if the records have different images or thresholds.
    """
    check_seeds(records)
    for place, record in enumerate(records[1:], start=1):
        if not np.array_equal(record.thresholds, records[0].thresholds):
            raise ValueError(f"Record {place} has other score-map thresholds than record 0.")
    return np.stack([(record.best_iou >= iou_threshold).mean(axis=0) for record in records])


def accuracy_by_iou(
    records: Sequence[LocalizationRecord], iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> NDArray[np.float64]:
    """Compute the share of images whose box reaches each IoU threshold, at each record's operating point.

    Args:
        records: S, one for each seed.
        iou_thresholds: D values of δ in (0, 1].

    Returns:
        (S, D) fractions.

    Raises:
        ValueError: if the records have different images.
    """
    check_seeds(records)
    best = [record.best_iou[:, record.operating_point] for record in records]
    # float(δ), as in scores: a float64 scalar of numpy would not be rounded to the float32 of the IoU.
    return np.array([[(iou >= float(delta)).mean() for delta in iou_thresholds] for iou in best])


def object_sizes(true_boxes: NDArray[np.floating], size: Size) -> NDArray[np.str_]:
    """Sort objects by the share of the image that their boxes cover: small, medium or large.

    An object is small below 0.2, large above 0.5, and medium in between, both ends included. The bounds are fixed, so
    that the groups are the same for every method and data set. Above one half, the whole frame is a hit at δ = 0.5.

    Args:
        true_boxes: (N, 4) edges. A record's `true_boxes` are those that were matched: with several objects in an image
            they depend on the prediction. To compare settings, pass the same boxes for all of them.
        size: (height, width) of the image, or grid, that the boxes are on.

    Returns:
        (N,) of `OBJECT_SIZES`.

    Raises:
        ValueError: if a box reaches beyond the image by more than the one pixel that inclusive boxes may.
    """
    height, width = size
    boxes = np.asarray(true_boxes, dtype=np.float64)
    if len(boxes) and (boxes.min() < -1 or boxes[:, 2].max() > width + 1 or boxes[:, 3].max() > height + 1):
        raise ValueError(
            f"Boxes reach beyond an image of {height} x {width} pixels. Pass the size that the boxes belong to."
        )
    share = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (height * width)
    return np.select([share < SMALL_BELOW, share > LARGE_ABOVE], [SMALL, LARGE], default=MEDIUM)


def object_counts(counts: NDArray[np.integer]) -> NDArray[np.str_]:
    """Return the number of objects of each image as a label.

    Args:
        counts: (N,) true boxes of each image, at least 1.

    Returns:
        (N,) of `OBJECT_COUNTS`.

    Raises:
        ValueError: if an image has no object.
    """
    if len(counts) and np.min(counts) < 1:
        raise ValueError(f"Every image has at least one object, got {int(np.min(counts))}.")
    return np.array(OBJECT_COUNTS)[np.minimum(counts, len(OBJECT_COUNTS)) - 1]
