"""The energy-based pointing game."""

from wsol.scoring.outcomes import Outcomes, mean_of, per_image
from wsol.scoring.record import LocalizationRecord


@per_image
def energy_pointing(record: LocalizationRecord) -> Outcomes:
    """Compute the mean share of the score map's sum that lies inside the true boxes.

    Source: Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPR
    Workshops 2020, section 4.3. Needs no threshold. A map of zeros counts 0.

    Returns:
        A fraction in [0, 1]; NaN where boxes come from no map.
    """
    return mean_of(record.energy_inside)
