"""Are boxes too small or too large."""

import numpy as np

from wsol.record import LocalizationRecord


def box_area_ratio(record: LocalizationRecord) -> float:
    """Geometric mean over images of the predicted box's area over the true one's, at the operating point.

    1 is the right size; a box twice as large and one half as large cancel. Images without a predicted box are left out.

    Returns:
        Above 0; NaN if there is no box at all.
    """
    ratio = record.extent().area_ratio
    found = ratio > 0
    return float(np.exp(np.log(ratio[found]).mean())) if found.any() else float("nan")
