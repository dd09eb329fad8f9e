"""MaxBoxAccV2."""

from collections.abc import Sequence

import numpy as np

from wsol.record import LocalizationRecord
from wsol.scores.max_box_acc import max_box_acc


def max_box_acc_v2(record: LocalizationRecord, iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7)) -> float:
    """Mean over IoU thresholds of MaxBoxAcc, the score threshold chosen anew for each.

    Source: Choe et al., "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets",
    TPAMI 2022. Belongs to the box rule `every`. An oracle: the scored split's own boxes choose τ.

    Returns:
        A fraction in [0, 1].
    """
    return float(np.mean([max_box_acc(record, iou_threshold) for iou_threshold in iou_thresholds]))
