"""Top-k classification accuracy."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, mean_of, per_image, share_of
from wsol.scoring.record import LocalizationRecord


@per_image
def top_k_cls(record: LocalizationRecord, k: int) -> Outcomes:
    """Compute the share of images with the true class among the first k.

    Returns:
        A fraction in [0, 1]; NaN where nothing was classified.
    """
    if (record.class_rank < 0).any():
        return mean_of(np.full(len(record.class_rank), np.nan))
    return share_of(record.class_rank < k)
