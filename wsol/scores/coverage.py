"""How much of the object the box covers."""

from wsol.record import LocalizationRecord


def coverage(record: LocalizationRecord) -> float:
    """Mean share of the true box that lies inside the predicted one, at the operating point.

    Returns:
        A fraction in [0, 1]; an image without a predicted box counts 0.
    """
    return float(record.extent().coverage.mean())
