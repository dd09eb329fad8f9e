"""Mask IoU, averaged over images."""

import numpy as np
from numpy.typing import NDArray

from wsol.scoring.outcomes import Outcomes, best_of_curve, per_image
from wsol.scoring.pixel_scores import pixel_iou
from wsol.scoring.record import PixelRecord


@per_image
def mask_iou(record: PixelRecord) -> Outcomes:
    """Compute the mean over images of the IoU of foreground and mask, at the best score-map threshold.

    Every image counts the same. An oracle: the scored split's own masks choose τ, one for all images.

    Returns:
        A fraction in [0, 1].
    """

    def mean_iou(means: NDArray[np.floating]) -> NDArray[np.floating]:
        return means

    return best_of_curve(pixel_iou(record.histograms), mean_iou)
