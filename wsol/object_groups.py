"""Groups of images that a score is broken down by: how large the object is, how many there are."""

import numpy as np
from numpy.typing import NDArray

from wsol.geometry import Size

SMALL, MEDIUM, LARGE = "small", "medium", "large"
OBJECT_SIZES = (SMALL, MEDIUM, LARGE)
SMALL_BELOW, LARGE_ABOVE = 0.2, 0.5  # shares of the image's area

OBJECT_COUNTS = ("1", "2", "3 or more")


def object_sizes(true_boxes: NDArray[np.floating], size: Size) -> NDArray[np.str_]:
    """How large each object is, by the share of the image that its box takes.

    Below 0.2 it is small, above 0.5 large, in between, both ends included, medium. The bounds are fixed, so that the
    groups are the same for every method and data set. Above one half, the whole frame itself is a hit at δ = 0.5.

    Args:
        true_boxes: (N, 4) edges. A record's `true_boxes` are those that were compared: with several objects in an
            image they depend on the prediction. Where settings are compared, give all of them the same boxes.
        size: (height, width) of the image, or grid, that the boxes are on.

    Returns:
        (N,) of `OBJECT_SIZES`.

    Raises:
        ValueError: if a box reaches beyond the image, by more than the pixel that inclusive boxes may.
    """
    height, width = size
    boxes = np.asarray(true_boxes, dtype=np.float64)
    if len(boxes) and (boxes.min() < -1 or boxes[:, 2].max() > width + 1 or boxes[:, 3].max() > height + 1):
        raise ValueError(f"Boxes reach beyond an image of {height} x {width} pixels; they are of another size.")
    share = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (height * width)
    return np.select([share < SMALL_BELOW, share > LARGE_ABOVE], [SMALL, LARGE], default=MEDIUM)


def object_counts(counts: NDArray[np.integer]) -> NDArray[np.str_]:
    """How many objects each image has, as labels.

    Args:
        counts: (N,) true boxes of each image, at least 1.

    Returns:
        (N,) of `OBJECT_COUNTS`.

    Raises:
        ValueError: if an image has none.
    """
    if len(counts) and np.min(counts) < 1:
        raise ValueError(f"Every image has at least one object, got {int(np.min(counts))}.")
    return np.array(OBJECT_COUNTS)[np.minimum(counts, len(OBJECT_COUNTS)) - 1]
