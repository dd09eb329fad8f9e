"""Measure whether a box is too small or too large: area, coverage of the object, share of background."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Extent(NamedTuple):
    """Predicted boxes beside the true boxes that they match best; 0 throughout where no box was predicted."""

    area_ratio: NDArray[np.float64]  # area of the predicted box over that of the true one
    coverage: NDArray[np.float64]  # share of the true box inside the predicted one, in [0, 1]
    leakage: NDArray[np.float64]  # share of the predicted box outside the true one, in [0, 1]


def extent_of(predicted: NDArray[np.float32], true: NDArray[np.float32]) -> Extent:
    """Compare boxes one to one.

    Args:
        predicted: (..., 4) edges.
        true: (..., 4) edges, none of them empty.
    """
    box, truth = np.moveaxis(predicted.astype(np.float64), -1, 0), np.moveaxis(true.astype(np.float64), -1, 0)
    width = np.minimum(box[2], truth[2]) - np.maximum(box[0], truth[0])
    height = np.minimum(box[3], truth[3]) - np.maximum(box[1], truth[1])
    both = np.maximum(width, 0) * np.maximum(height, 0)
    area = (box[2] - box[0]) * (box[3] - box[1])
    true_area = (truth[2] - truth[0]) * (truth[3] - truth[1])
    outside = np.divide(area - both, area, out=np.zeros_like(area), where=area > 0)
    return Extent(area / true_area, both / true_area, outside)
