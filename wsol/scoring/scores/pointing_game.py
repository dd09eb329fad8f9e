"""The pointing game."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, mean_of, per_image, share_of
from wsol.scoring.record import LocalizationRecord


@per_image
def pointing_game(record: LocalizationRecord, tolerance: float = 15) -> Outcomes:
    """Compute the share of images whose map peaks in a true box, or within a tolerance of one.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1, where the
    tolerance is 15 pixels. Needs no threshold. The object is its boxes here, not its mask.

    Args:
        record: of any box rule.
        tolerance: in pixels of the score map.

    Returns:
        A fraction in [0, 1]; NaN where boxes come from no map.
    """
    if np.isnan(record.peak_distance).any():
        return mean_of(np.full(len(record.peak_distance), np.nan))
    return share_of(record.peak_distance <= tolerance)
