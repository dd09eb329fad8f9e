"""Box area ratio."""

import numpy as np

from wsol.scoring.outcomes import Outcomes, per_image, ratio
from wsol.scoring.record import LocalizationRecord


@per_image
def box_area_ratio(record: LocalizationRecord) -> Outcomes:
    """Compute the geometric mean of the predicted box's area over that of the true one, at the operating point.

    1 is the right size; a box twice as large and one half as large cancel. Images without a predicted box are left out.

    Returns:
        Above 0; NaN if there is no box at all.
    """
    areas = record.extent().area_ratio
    has_box = areas > 0
    logs = np.log(areas, out=np.zeros_like(areas), where=has_box)
    return Outcomes(np.stack([logs, has_box], axis=1), lambda means: np.exp(ratio(means)), bounded=False, pooled=True)
