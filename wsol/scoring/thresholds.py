"""Choose score-map thresholds: grids, the best on val, and Otsu's."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


def otsu_threshold(score_map: NDArray[np.floating]) -> float:
    """Compute Otsu's τ, which separates background, at most τ, from foreground as far as possible.

    Source: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979; on the 256 levels uint8(255 score).

    Args:
        score_map: (H, W), in [0, 1].

    Returns:
        τ in [0, 1): the lowest level with the highest variance between the groups, over 255.

    Raises:
        ValueError: if the map is outside [0, 1] or holds NaN.
    """
    level = _otsu(np.ascontiguousarray(score_map, dtype=np.float64))
    if level < 0:
        raise ValueError("A score map must lie in [0, 1] without NaN.")
    return level / 255


@njit(cache=True, nogil=True)
def _otsu(scores):
    for y in range(scores.shape[0]):
        valid = True
        for x in range(np.uint64(scores.shape[1])):
            valid &= (scores[y, x] >= 0) & (scores[y, x] <= 1)
        if not valid:
            return -1
    # Two histograms, since neighbouring pixels often fall into one bin and would wait for each other.
    even, odd = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for y in range(scores.shape[0]):
        for x in range(0, scores.shape[1] - 1, 2):
            even[int(scores[y, x] * 255)] += 1
            odd[int(scores[y, x + 1] * 255)] += 1
        if scores.shape[1] % 2 == 1:
            even[int(scores[y, scores.shape[1] - 1] * 255)] += 1
    histogram = even + odd
    total, mass = scores.size, 0
    for level in range(256):
        mass += level * histogram[level]
    below, mass_below, best, chosen = 0, 0, 0.0, 0
    for level in range(255):
        below += histogram[level]
        mass_below += level * histogram[level]
        above = total - below
        if below == 0 or above == 0:
            continue
        apart = mass_below / below - (mass - mass_below) / above
        variance = below * above * apart * apart
        if variance > best:
            best, chosen = variance, level
    return chosen


def threshold_grid(step: float, start: float = 0.0) -> NDArray[np.float64]:
    """Return (T,) score-map thresholds {start, start + step, ...} below 1.

    Not rounded: with q cut to bytes, 0.29 and 0.29 plus an error in the last digit can be different levels, and the
    field's evaluation has that error.

    Raises:
        ValueError: if the step is not in (0, 1], or the start not in [0, 1).
    """
    if not 0 < step <= 1:
        raise ValueError(f"The step between thresholds must lie in (0, 1], got {step}.")
    if not 0 <= start < 1:
        raise ValueError(f"The start of the thresholds must lie in [0, 1), got {start}.")
    grid = np.arange(start, 1, step)
    return grid[grid < 1]


def find_threshold(thresholds: NDArray[np.float64], tau: float, reader: str) -> int:
    """Return the index of τ, up to the rounding of a grid.

    Raises:
        ValueError: naming who reads it, if it is not among them.
    """
    (places,) = np.nonzero(np.isclose(thresholds, tau, rtol=0, atol=1e-9))
    if len(places) == 0:
        raise ValueError(
            f"{reader} reads τ = {tau:g}, which is not among the {len(thresholds)} thresholds; choose their step so "
            "that it is."
        )
    return int(places[0])


def index_below(thresholds: NDArray[np.float64], tau: float) -> int:
    """Return the index of the highest threshold that is not above τ, or of the first."""
    return max(int(np.searchsorted(thresholds, tau, side="right")) - 1, 0)


def best_index(hits: NDArray[np.number], iou: NDArray[np.number]) -> int:
    """Return the index with the most hits; of equals the one with the highest IoU, then the lowest.

    Args:
        hits: (T,) images whose box reaches the IoU threshold, or their share.
        iou: (T,) sum, or mean, of the images' best IoU.
    """
    return int(np.lexsort((np.arange(len(hits)), -iou, -hits))[0])
