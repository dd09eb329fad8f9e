"""Classification."""

import numpy as np

from wsol.record import LocalizationRecord


def top_k_cls(record: LocalizationRecord, k: int) -> float:
    """Share of images with the true class among the first k.

    Returns:
        A fraction in [0, 1]; NaN where nothing was classified.
    """
    if (record.class_rank < 0).any():
        return float("nan")
    return float(np.mean(record.class_rank < k))
