"""Why a box is not a hit: one type for each image."""

import numpy as np
from numpy.typing import NDArray

from wsol.record import LocalizationRecord

RIGHT = "right"
WRONG_CLASS = "wrong class"
TOO_SMALL = "too small"
TOO_LARGE = "too large"
WRONG_PLACE = "wrong place"
NO_BOX = "no box"

ERROR_TYPES = (RIGHT, WRONG_CLASS, TOO_SMALL, TOO_LARGE, WRONG_PLACE, NO_BOX)  # in the order to show

SHARED = 0.5  # at least so much of one box must lie in the other, or the two are in different places


def error_types(record: LocalizationRecord, iou_threshold: float = 0.5) -> NDArray[np.str_]:
    """The one type of each image, of the predicted box and the true box that it matches best, at the operating point.

    With IoU >= δ:

    - `right`: and the true class comes first, or nothing was classified;
    - `wrong class`: another class comes first.

    With IoU < δ, whatever the class, where c is the share of the true box inside the predicted one (coverage), and p
    that of the predicted box inside the true one (1 - leakage):

    - `no box`: the predicted box is empty;
    - `wrong place`: both c and p are below one half;
    - `too small`: p >= c, so the box is at most as large as the object and mostly on it: a part;
    - `too large`: c > p, so the box is larger than the object and takes in background, or a second object.

    `right` and `wrong class` together are `gt_known_loc`, and `right` alone is `top_k_loc` of k = 1.

    The division is ours. Types of detection errors (Hoiem et al., "Diagnosing Error in Object Detectors", ECCV 2012)
    sort many boxes with scores; here every image has one box and is known to hold the object. The nearest is the code
    of Pan et al., "Unveiling the Potential of Structure Preserving for Weakly Supervised Object Localization", CVPR
    2021. Differs from it: there a wrong class goes before everything else, so that a worse classifier seems to have
    fewer boxes that are too small; a part is p > 0.5 even where c is larger; more is c >= 0.7; a box on two objects
    has a type of its own, and an empty box has none.

    Under a protocol whose IoU is `inclusive`, a map without foreground gives the pixel (0, 0), so `no box` is empty.

    Args:
        record: read at the threshold that its boxes were saved at.
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
