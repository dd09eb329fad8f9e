"""The energy-based pointing game: how much of the map lies on the object."""

from wsol.scoring.outcomes import Outcomes, mean_of, per_image
from wsol.scoring.record import LocalizationRecord


@per_image
def energy_pointing(record: LocalizationRecord) -> Outcomes:
    """Mean share of the score map's sum that lies inside the true boxes.

    Source: Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPR
    Workshops 2020, section 4.3. Needs no threshold. A map of zeros has none of it inside.

    Returns:
        A fraction in [0, 1]; NaN where boxes come from no map.
    """
    return mean_of(record.energy_inside)
