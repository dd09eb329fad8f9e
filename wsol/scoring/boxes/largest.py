"""Box rule: the box of the largest region."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.scoring.box_ranges import BoxRanges
from wsol.scoring.engine.regions import largest_region
from wsol.scoring.protocol import TIGHT, Protocol


def largest(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol = TIGHT) -> BoxRanges:
    """Return the box of the largest region above each threshold, at most one.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2.

    Args:
        score_map: (H, W), in [0, 1].
        thresholds: (T,) ascending in [0, 1); foreground lies strictly above, 8-connected.
        protocol: what a region is, which of two is larger, and where its box ends.

    Raises:
        ValueError: if the map is outside [0, 1] or holds NaN, or the thresholds do not ascend.
    """
    return largest_region(score_map, thresholds, protocol)
