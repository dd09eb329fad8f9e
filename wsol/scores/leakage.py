"""How much of the box is background."""

from wsol.record import LocalizationRecord


def leakage(record: LocalizationRecord) -> float:
    """Mean share of the predicted box that lies outside the true one, at the operating point.

    Returns:
        A fraction in [0, 1]; an image without a predicted box counts 0.
    """
    return float(record.extent().leakage.mean())
