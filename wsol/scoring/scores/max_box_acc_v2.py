"""MaxBoxAccV2."""

from collections.abc import Sequence

from wsol.scoring.outcomes import Outcomes, best_over_thresholds, per_image
from wsol.scoring.record import LocalizationRecord


@per_image
def max_box_acc_v2(record: LocalizationRecord, iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7)) -> Outcomes:
    """Compute the mean of MaxBoxAcc over IoU thresholds, each with a score threshold of its own.

    Source: Choe et al., "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets",
    TPAMI 2022. Belongs to the box rule `every`. An oracle: the scored split's own boxes choose τ.

    Returns:
        A fraction in [0, 1].
    """
    return best_over_thresholds(record.best_iou, iou_thresholds)
