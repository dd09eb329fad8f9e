"""GT-known Loc."""

from wsol.scoring.outcomes import Outcomes, per_image, share_of
from wsol.scoring.record import LocalizationRecord


@per_image
def gt_known_loc(record: LocalizationRecord, iou_threshold: float = 0.5) -> Outcomes:
    """Compute the share of images whose box reaches the IoU threshold at the operating point.

    The map is the one of the true class.

    Returns:
        A fraction in [0, 1].
    """
    return share_of(record.best_iou[:, record.operating_point] >= iou_threshold)
