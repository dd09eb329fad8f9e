"""Top-k Loc."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, mean_of, per_image, share_of
from wsol.scoring.record import LocalizationRecord


@per_image
def top_k_loc(record: LocalizationRecord, k: int, iou_threshold: float = 0.5) -> Outcomes:
    """Compute the share of images with the true class among the first k and a box that reaches the IoU threshold.

    Source: the localization task of Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV
    2015; 1 - top_k_loc is its error. An image counts when one of its k (class, box) pairs has the right class and the
    right place. Only the pair with the true class can, so the true class's map decides for every k.

    Returns:
        A fraction in [0, 1]; NaN where nothing was classified.
    """
    if (record.class_rank < 0).any():
        return mean_of(np.full(len(record.class_rank), np.nan))
    placed = record.best_iou[:, record.operating_point] >= iou_threshold
    return share_of(placed & (record.class_rank < k))
