"""The box of the largest component."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.components import components_per_threshold


def largest(score_map: NDArray[np.floating], thresholds: ArrayLike) -> list[NDArray[np.float32]]:
    """The tight box around the largest component above each threshold.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2.

    Args:
        score_map: (H, W), in [0, 1].
        thresholds: (T,) ascending; foreground lies strictly above, 8-connected.

    Returns:
        T arrays (1, 4), boxes as edges; (0, 4) where nothing lies above the threshold. Of components with equally
        many pixels the first in raster order.
    """
    found = components_per_threshold(score_map, thresholds)
    return [found.boxes[max(row, 0) : row + 1] for row in found.largest.tolist()]
