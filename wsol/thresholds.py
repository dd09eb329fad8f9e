"""The score-map thresholds: making the grid, finding a τ on it, choosing the best one."""

import numpy as np
from numpy.typing import NDArray


def threshold_grid(step: float, start: float = 0.0) -> NDArray[np.float64]:
    """(T,) score-map thresholds {start, start + step, ...} below 1.

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
    """The index of τ, up to the rounding of a grid.

    Raises:
        ValueError: naming who reads it, if it is not among them.
    """
    (found,) = np.nonzero(np.isclose(thresholds, tau, rtol=0, atol=1e-9))
    if len(found) == 0:
        raise ValueError(
            f"{reader} reads τ = {tau:g}, which is not among the {len(thresholds)} thresholds; choose their step so "
            "that it is."
        )
    return int(found[0])


def index_below(thresholds: NDArray[np.float64], tau: float) -> int:
    """The index of the highest threshold that is not above τ, or of the first."""
    return max(int(np.searchsorted(thresholds, tau, side="right")) - 1, 0)


def best_index(hits: NDArray[np.number], iou: NDArray[np.number]) -> int:
    """The index with the most hits; of equals the one with the highest IoU, then the lowest.

    Args:
        hits: (T,) images whose box reaches the IoU threshold, or their share.
        iou: (T,) sum, or mean, of the images' best IoU.
    """
    return int(np.lexsort((np.arange(len(hits)), -iou, -hits))[0])
