"""Are boxes too small or too large."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, per_image, ratio
from wsol.scoring.record import LocalizationRecord


@per_image
def box_area_ratio(record: LocalizationRecord) -> Outcomes:
    """Geometric mean over images of the predicted box's area over the true one's, at the operating point.

    1 is the right size; a box twice as large and one half as large cancel. Images without a predicted box are left out.

    Returns:
        Above 0; NaN if there is no box at all.
    """
    areas = record.extent().area_ratio
    found = areas > 0
    logs = np.log(areas, out=np.zeros_like(areas), where=found)
    return Outcomes(np.stack([logs, found], axis=1), lambda means: np.exp(ratio(means)), bounded=False, pooled=True)
