"""The pointing game: does the map's peak lie on the object."""

import numpy as np

from wsol.record import LocalizationRecord


def pointing_game(record: LocalizationRecord, tolerance: float = 15) -> float:
    """Share of images whose map has its highest pixel in a true box, or at most so far from one.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1, where the
    tolerance is 15 pixels. Needs no threshold. Boxes stand for the object here, not masks.

    Args:
        record: of any box rule.
        tolerance: in pixels of the score map.

    Returns:
        A fraction in [0, 1]; NaN where boxes come from no map.
    """
    if np.isnan(record.peak_distance).any():
        return float("nan")
    return float((record.peak_distance <= tolerance).mean())
