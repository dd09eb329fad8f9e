"""Pixel IoU, pooled over images."""

import numpy as np
from numpy.typing import NDArray

from wsol.scoring.outcomes import Outcomes, best_of_curve, per_image
from wsol.scoring.pixel_scores import pixel_iou
from wsol.scoring.record import PixelRecord


@per_image
def p_iou(record: PixelRecord) -> Outcomes:
    """Compute the IoU of foreground and object over the pixels of all images, at the best score-map threshold.

    Images are pooled, so that those with more pixels on the object count for more. An oracle: the scored split's own
    masks choose τ.

    Returns:
        A fraction in [0, 1].
    """
    count, classes, bins = record.histograms.shape

    def iou(sums: NDArray[np.floating]) -> NDArray[np.floating]:
        return pixel_iou(sums.reshape(*sums.shape[:-1], classes, bins))

    return best_of_curve(record.histograms.reshape(count, classes * bins), iou, pooled=True)
