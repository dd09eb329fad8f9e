"""The boxes of all components."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.components import components_per_threshold


def every(score_map: NDArray[np.floating], thresholds: ArrayLike) -> list[NDArray[np.float32]]:
    """The tight boxes around all components above each threshold; the best of them counts (MaxBoxAccV2).

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4.2.

    Args:
        score_map: (H, W), in [0, 1].
        thresholds: (T,) ascending; foreground lies strictly above, 8-connected.

    Returns:
        T arrays (B, 4), boxes as edges, in raster order; (0, 4) where nothing lies above the threshold.
    """
    found = components_per_threshold(score_map, thresholds)
    return [found.boxes[start:stop] for start, stop in zip(found.start.tolist(), found.stop.tolist(), strict=True)]
