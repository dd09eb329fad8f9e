"""MaxBoxAcc."""

from wsol.scoring.outcomes import Outcomes, best_over_thresholds, per_image
from wsol.scoring.record import LocalizationRecord


@per_image
def max_box_acc(record: LocalizationRecord, iou_threshold: float = 0.5) -> Outcomes:
    """Compute the share of images whose box reaches the IoU threshold, at the best score threshold of this split.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, eq. 4.
    Belongs to the box rule `largest`. An oracle: the scored split's own boxes choose τ.

    Returns:
        A fraction in [0, 1].
    """
    return best_over_thresholds(record.best_iou, [iou_threshold])
