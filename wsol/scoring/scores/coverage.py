"""Coverage."""

from wsol.scoring.outcomes import Outcomes, mean_of, per_image
from wsol.scoring.record import LocalizationRecord


@per_image
def coverage(record: LocalizationRecord) -> Outcomes:
    """Compute the mean share of the true box that lies inside the predicted one, at the operating point.

    Returns:
        A fraction in [0, 1]; an image without a predicted box counts 0.
    """
    return mean_of(record.extent().coverage)
