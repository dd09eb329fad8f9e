"""The pointing game."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, mean_of, per_image, share_of
from wsol.scoring.record import LocalizationRecord

TOLERANCE = 15 / 224  # of the shorter side of the score map


@per_image
def pointing_game(
    record: LocalizationRecord, tolerance: float | None = TOLERANCE, pixels: float | None = None
) -> Outcomes:
    """Compute the share of images whose map peaks in a true box, or within a tolerance of one.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1, where the
    tolerance is 15 pixels. Needs no threshold. The object is its boxes here, not its mask.

    Differs from the source, where the tolerance is the same for images of any size: here it is 15 pixels of an image of
    224, and scales with the image, so that small images are as hard as large ones. `pixels` is the published one.

    Args:
        record: of any box rule.
        tolerance: as a share of the shorter side of the score map; None with `pixels`.
        pixels: in pixels of the score map, in place of `tolerance`.

    Returns:
        A fraction in [0, 1]; NaN where boxes come from no map.

    Raises:
        ValueError: if both tolerances are given, or none; or if the record is of a version without the maps' sizes.
    """
    if np.isnan(record.peak_distance).any():
        return mean_of(np.full(len(record.peak_distance), np.nan))
    if tolerance is None and pixels is not None:
        return share_of(record.peak_distance <= pixels)
    if tolerance is None or pixels is not None:
        raise ValueError(f"Give tolerance or pixels, and set the other to null; got {tolerance} and {pixels}.")
    if record.map_side is None:
        raise ValueError("The record lacks the sizes of the score maps; run the same command again to make it again.")
    return share_of(record.peak_distance <= tolerance * record.map_side)
