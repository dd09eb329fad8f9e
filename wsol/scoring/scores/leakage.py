"""Leakage."""

from wsol.scoring.outcomes import Outcomes, mean_of, per_image
from wsol.scoring.record import LocalizationRecord


@per_image
def leakage(record: LocalizationRecord) -> Outcomes:
    """Compute the mean share of the predicted box that lies outside the true one, at the operating point.

    Returns:
        A fraction in [0, 1]; an image without a predicted box counts 0.
    """
    return mean_of(record.extent().leakage)
