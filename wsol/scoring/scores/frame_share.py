"""Share of boxes that cover the frame."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, mean_of, per_image, share_of
from wsol.scoring.record import LocalizationRecord


@per_image
def frame_share(record: LocalizationRecord) -> Outcomes:
    """Compute the share of images whose box covers more than 95 % of the frame, at the operating point.

    Such a box says nothing about where the object is: a score of many of them is the score of the frame itself.

    Returns:
        A fraction in [0, 1]; NaN for a record of an older version, which does not contain it.
    """
    if record.fills_frame is None:
        return mean_of(np.full(len(record.best_iou), np.nan))
    return share_of(record.fills_frame[:, record.operating_point])
