"""Box rule: the boxes of all regions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.scoring.box_ranges import BoxRanges
from wsol.scoring.engine.regions import every_region
from wsol.scoring.protocol import TIGHT, Protocol


def every(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol = TIGHT) -> BoxRanges:
    """Return the boxes of all regions above each threshold; the best of them counts (MaxBoxAccV2).

    Source: Choe et al., "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets",
    TPAMI 2022.

    Args:
        score_map: (H, W), in [0, 1].
        thresholds: (T,) ascending in [0, 1); foreground lies strictly above, 8-connected.
        protocol: what a region is, and where its box ends.

    Raises:
        ValueError: if the map is outside [0, 1] or holds NaN, or the thresholds do not ascend.
    """
    return every_region(score_map, thresholds, protocol)
