"""Localization with the class given."""

from wsol.record import LocalizationRecord


def gt_known_loc(record: LocalizationRecord, iou_threshold: float = 0.5) -> float:
    """Share of images whose box reaches the IoU threshold at the operating point, the true class being given.

    Returns:
        A fraction in [0, 1].
    """
    return float((record.best_iou[:, record.operating_point] >= iou_threshold).mean())
