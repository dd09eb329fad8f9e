"""How much of each cell of a coarse grid lies inside boxes."""

import numpy as np
from numpy.typing import NDArray

from wsol.geometry import Size, as_boxes


def box_coverage(boxes: NDArray[np.floating], size: Size, grid: Size) -> NDArray[np.float32]:
    """The share of each cell's area that lies inside at least one box; what two boxes share counts once.

    Args:
        boxes: (B, 4) edges on an image of this size; what reaches out of it is left out.
        size: (H, W) of the image.
        grid: (h, w) of the cells, which divide the image evenly.

    Returns:
        (h, w) float32 in [0, 1]; zeros without a box.
    """
    (height, width), (rows, columns) = size, grid
    x0, y0, x1, y1 = as_boxes(boxes).astype(np.float64).T
    # All edges, of cells and of boxes, cut the image into pieces that lie inside a box wholly or not at all.
    x = np.unique(np.concatenate([np.linspace(0, width, columns + 1), np.clip([*x0, *x1], 0, width)]))
    y = np.unique(np.concatenate([np.linspace(0, height, rows + 1), np.clip([*y0, *y1], 0, height)]))
    x_middle, y_middle = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    across = (x0[:, None] < x_middle) & (x_middle < x1[:, None])  # (B, pieces)
    down = (y0[:, None] < y_middle) & (y_middle < y1[:, None])
    inside = (down[:, :, None] & across[:, None, :]).any(axis=0)
    area = np.zeros((rows, columns))
    row, column = (y_middle * rows / height).astype(int), (x_middle * columns / width).astype(int)
    np.add.at(area, (row[:, None], column[None, :]), inside * np.diff(y)[:, None] * np.diff(x))
    return np.minimum(area * (rows * columns / (height * width)), 1).astype(np.float32)
