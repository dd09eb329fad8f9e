"""Is a box too small or too large: its area, what it covers of the object, what it takes from the background."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Extent(NamedTuple):
    """Of predicted boxes beside the true boxes that they match best; 0 throughout where no box was predicted."""

    area_ratio: NDArray[np.float64]  # area of the predicted box over that of the true one
    coverage: NDArray[np.float64]  # share of the true box inside the predicted one, in [0, 1]
    leakage: NDArray[np.float64]  # share of the predicted box outside the true one, in [0, 1]


def extent_of(predicted: NDArray[np.float32], true: NDArray[np.float32]) -> Extent:
    """Compare boxes one to one.

    Args:
        predicted: (..., 4) edges.
        true: (..., 4) edges, none of them empty.
    """
    one, other = np.moveaxis(predicted.astype(np.float64), -1, 0), np.moveaxis(true.astype(np.float64), -1, 0)
    width = np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])
    height = np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])
    both = np.maximum(width, 0) * np.maximum(height, 0)
    area = (one[2] - one[0]) * (one[3] - one[1])
    true_area = (other[2] - other[0]) * (other[3] - other[1])
    outside = np.divide(area - both, area, out=np.zeros_like(area), where=area > 0)
    return Extent(area / true_area, both / true_area, outside)
