"""PxAP."""

import numpy as np
from numpy.typing import NDArray

from wsol.scoring.outcomes import Outcomes, per_image
from wsol.scoring.pixel_scores import average_precision
from wsol.scoring.record import PixelRecord


@per_image
def px_ap(record: PixelRecord) -> Outcomes:
    """Compute the area under the precision-recall curve of all pixels of all images, over the score-map thresholds.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4.1.
    Images are pooled, so that those with more pixels on the object count for more. No threshold is chosen.

    Returns:
        A fraction in [0, 1]; NaN where no pixel is on an object.
    """
    count, classes, bins = record.histograms.shape

    def pooled(means: NDArray[np.floating]) -> NDArray[np.floating]:
        return average_precision(means.reshape(*means.shape[:-1], classes, bins))

    return Outcomes(record.histograms.reshape(count, classes * bins), pooled, bounded=True, pooled=True)
