"""Choose score-map thresholds: grids, the best on val, and those that a map chooses by itself."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# What chooses τ from each map's own scores, and the name of the method in tables.
LABEL_FREE = {
    "label_free": "Otsu",
    "label_free_isodata": "IsoData",
    "label_free_li": "Li",
    "label_free_triangle": "triangle",
    "label_free_yen": "Yen",
}


def label_free_thresholds(score_map: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the thresholds that a score map's own histogram chooses, by each of the methods `LABEL_FREE`.

    The histogram has the 256 levels uint8(255 score), and τ is the chosen level over 255; foreground is above it.
    Compiled here, since scikit-image, which gives the same levels, takes as long for four of them as all boxes do.

    Source: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979; Ridler and Calvard, "Picture
    Thresholding Using an Iterative Selection Method" (IsoData), 1978; Li and Tam, "An Iterative Algorithm for Minimum
    Cross Entropy Thresholding", 1998; Zack et al., "Automatic Measurement of Sister Chromatid Exchange Frequency"
    (triangle), 1977; Yen et al., "A New Criterion for Automatic Multilevel Thresholding", 1995.

    Args:
        score_map: (H, W), in [0, 1].

    Returns:
        (L,) τ in [0, 1], in the order of `LABEL_FREE`. Those of a constant map are its own level; Otsu's is 0.

    Raises:
        ValueError: if the map is outside [0, 1] or contains NaN.
    """
    histogram = _histogram(np.ascontiguousarray(score_map, dtype=np.float64))
    if histogram[0] < 0:
        raise ValueError("A score map must lie in [0, 1] without NaN.")
    return _levels(histogram) / 255


@njit(cache=True, nogil=True)
def _histogram(scores):
    """Count the 256 levels; the first count is negative for what is no score map."""
    for y in range(scores.shape[0]):
        valid = True
        for x in range(np.uint64(scores.shape[1])):
            valid &= (scores[y, x] >= 0) & (scores[y, x] <= 1)
        if not valid:
            return np.full(256, -1)
    # Two histograms, since neighbouring pixels often fall into one bin and would wait for each other.
    even, odd = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for y in range(scores.shape[0]):
        for x in range(0, scores.shape[1] - 1, 2):
            even[int(scores[y, x] * 255)] += 1
            odd[int(scores[y, x + 1] * 255)] += 1
        if scores.shape[1] % 2 == 1:
            even[int(scores[y, scores.shape[1] - 1] * 255)] += 1
    return even + odd


@njit(cache=True, nogil=True)
def _levels(histogram):
    (used,) = np.nonzero(histogram)
    low, high = used[0], used[-1]
    if low == high:
        return np.array([0.0, low, low, low, low])
    counts = histogram[low : high + 1]
    below, mass = np.cumsum(counts), np.cumsum(np.arange(len(counts)) * counts)
    others = np.array([_isodata(below, mass), _li(below, mass), _triangle(counts), _yen(counts)])
    return np.append(_otsu(histogram), low + others)


@njit(cache=True, nogil=True)
def _otsu(histogram):
    """Return the lowest level with the highest variance between the two groups."""
    total, mass = histogram.sum(), (np.arange(256) * histogram).sum()
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
    return float(chosen)


# The others return a level above the lowest. `below` counts the pixels up to a level, `mass` sums their levels.


@njit(cache=True, nogil=True)
def _isodata(below, mass):
    """Return the lowest level that is midway between the means of the two groups."""
    for level in range(len(below) - 1):
        upper = (mass[-1] - mass[level]) / (below[-1] - below[level])
        if 0 <= (mass[level] / below[level] + upper) / 2 - level < 1:
            return float(level)
    return 0.0


@njit(cache=True, nogil=True)
def _li(below, mass):
    """Return the fixed point of minimum cross entropy that lies nearest to the mean, to half a level."""
    before, threshold = -1.0, mass[-1] / below[-1]
    while abs(threshold - before) > 0.5:
        before, level = threshold, int(threshold)
        if mass[level] == 0:
            break
        lower = mass[level] / below[level]
        upper = (mass[-1] - mass[level]) / (below[-1] - below[level])
        threshold = (lower - upper) / (np.log(lower) - np.log(upper))
    return threshold


@njit(cache=True, nogil=True)
def _triangle(counts):
    """Return the level farthest below the line from the histogram's peak to the end of its longer tail."""
    last, peak = len(counts) - 1, np.argmax(counts)
    flipped = peak < last - peak
    tail = counts[::-1][: last - peak + 1] if flipped else counts[: peak + 1]
    width, height = len(tail) - 1, tail[-1]
    level = np.argmax(height * np.arange(width) - width * tail[:-1])
    return float(last - level if flipped else level)


@njit(cache=True, nogil=True)
def _yen(counts):
    """Return the lowest level with the highest correlation criterion."""
    share = counts / counts.sum()
    below, squares = np.cumsum(share), np.cumsum(share**2)
    above = np.cumsum(share[::-1] ** 2)[::-1]
    return float(np.argmax((below[:-1] * (1 - below[:-1])) ** 2 / (squares[:-1] * above[1:])))


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


def index_below(thresholds: NDArray[np.float64], taus: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each τ the index of the highest threshold that is not above it, or of the first."""
    return np.maximum(np.searchsorted(thresholds, taus, side="right") - 1, 0)


def best_index(hits: NDArray[np.number], iou: NDArray[np.number]) -> int:
    """Return the index with the most hits; of equals the one with the highest IoU, then the lowest.

    Args:
        hits: (T,) images whose box reaches the IoU threshold, or their share.
        iou: (T,) sum, or mean, of the images' best IoU.
    """
    return int(np.lexsort((np.arange(len(hits)), -iou, -hits))[0])
