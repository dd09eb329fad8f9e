"""What an average hides: accuracy by group of images, types of error, and the size of boxes, over a setting's seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.error_types import ERROR_TYPES, error_types
from wsol.record import LocalizationRecord


def check_seeds(records: Sequence[LocalizationRecord]) -> None:
    """Raise ValueError unless these can be the seeds of one setting: at least one, all of the same images in order."""
    if len(records) == 0:
        raise ValueError("A setting needs at least one record.")
    for place, record in enumerate(records):
        if not np.array_equal(record.image_ids, records[0].image_ids):
            raise ValueError(f"Record {place} is of other images than record 0, or has them in another order.")


def by_group(
    records: Sequence[LocalizationRecord],
    groups: NDArray,
    iou_threshold: float = 0.5,
    order: Sequence[str] | None = None,
) -> pd.DataFrame:
    """GT-known localization of each group of images, at each record's operating point.

    Args:
        records: S, one a seed.
        groups: (N,) the group of each image, of any type that sorts.
        iou_threshold: δ in (0, 1].
        order: all groups there can be, as they are to be listed; None: sorted.

    Returns:
        Columns group, images, gt_known_loc (mean over seeds, a fraction), std (sample standard deviation over seeds;
        NaN for one). Groups without images are left out.

    Raises:
        ValueError: if the records are of different images, if there is not one group for each image, or if `order`
            lacks a group.
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
    """Share of images of each type of error.

    Args:
        records: S, one a seed, each read at the threshold that its boxes were saved at.
        iou_threshold: δ in (0, 1].

    Returns:
        Columns error, share (mean over seeds; the shares sum to 1), std (sample standard deviation over seeds; NaN for
        one). A row for each of `ERROR_TYPES`, also where no image has it.

    Raises:
        ValueError: if the records are of different images, or without boxes at their operating point.
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
    """log2 of the predicted box's area over the true one's: 0 is the right size, 1 twice as large, -1 half as large.

    Returns:
        At most (S N,), seed after seed, without the images that have no box. Its mean over one seed is the log2 of
        `box_area_ratio`.

    Raises:
        ValueError: if the records are of different images, or without boxes at their operating point.
    """
    check_seeds(records)
    ratios = np.concatenate([record.extent().area_ratio for record in records])
    return np.log2(ratios[ratios > 0])
