"""Connected components of a thresholded score map."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

# (score_map, thresholds) -> one (B, 4) array of boxes per threshold
BoxRule = Callable[[NDArray[np.floating], ArrayLike], list[NDArray[np.float32]]]

Components = tuple[NDArray[np.float32], NDArray[np.int64]]


def components_per_threshold(score_map: NDArray[np.floating], thresholds: ArrayLike) -> list[Components]:
    """8-connected components of `score_map > threshold`, for every threshold.

    OpenCV labels a mask and measures its components in one call, several times faster than scikit-image or scipy.

    Args:
        score_map: (H, W), in [0, 1].
        thresholds: (T,) ascending.

    Returns:
        T pairs: boxes (B, 4) as edges, in raster order of the components' first pixels, and their pixel counts (B,).

    Raises:
        ValueError: if the map is not (H, W) or holds NaN, or the thresholds do not ascend.
    """
    levels = np.asarray(thresholds, dtype=np.float64)
    if levels.ndim != 1 or np.any(np.diff(levels) <= 0):
        raise ValueError(f"Score thresholds must be an ascending list, got {thresholds!r}.")
    if score_map.ndim != 2 or np.isnan(score_map).any():
        raise ValueError(f"A score map must be (H, W) without NaN, got shape {score_map.shape}.")
    # How many thresholds lie strictly below each pixel: the pixel is foreground for exactly the first so many.
    depth = np.searchsorted(levels, score_map, side="left")
    occupied = np.bincount(depth.ravel(), minlength=len(levels) + 1)
    found: list[Components] = []
    for t in range(len(levels)):
        if t > 0 and occupied[t] == 0:  # no pixel lies between the last threshold and this one: the same mask
            found.append(found[-1])
        else:
            found.append(_components((depth > t).astype(np.uint8)))
    return found


def _components(mask: NDArray[np.uint8]) -> Components:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    x, y, width, height, area = stats[1:count].T  # row 0 is the background
    return np.stack([x, y, x + width, y + height], axis=1).astype(np.float32), area.astype(np.int64)


def pick(
    components: Sequence[Components], rule: Callable[[Components], NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Apply a rule to each threshold's components, once for thresholds that share them."""
    boxes: list[NDArray[np.float32]] = []
    for t, found in enumerate(components):
        boxes.append(boxes[-1] if t > 0 and found is components[t - 1] else rule(found))
    return boxes
