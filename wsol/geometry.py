"""The box convention, and all arithmetic on boxes.

A box is `(x0, y0, x1, y1)` in pixels, as *edges*: pixel column i covers [i, i + 1), so a box holds the columns
x0 ... x1 - 1 and its width is x1 - x0. Edges make resizing, cropping and mirroring exact linear maps; with inclusive
ends each of them is off by up to a pixel times the scale. A size is `(height, width)`. Arrays of boxes are (B, 4).

Files on disk use other conventions; `from_inclusive` and `from_xywh` are where those end.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Size = tuple[int, int]


def as_boxes(boxes: ArrayLike) -> NDArray[np.float32]:
    """Return a (B, 4) float32 array of boxes; an empty list becomes (0, 4).

    Raises:
        ValueError: if the last axis does not hold four numbers.
    """
    array = np.asarray(boxes, dtype=np.float32)
    if array.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"Boxes must have shape (B, 4), got {array.shape}.")
    return array


def from_inclusive(boxes: ArrayLike) -> NDArray[np.float32]:
    """Convert boxes whose last pixel (x1, y1) lies inside them to edges."""
    return as_boxes(boxes) + np.array([0, 0, 1, 1], dtype=np.float32)


def from_xywh(boxes: ArrayLike) -> NDArray[np.float32]:
    """Convert boxes given as (x0, y0, width, height) to edges."""
    x, y, width, height = as_boxes(boxes).T
    return np.stack([x, y, x + width, y + height], axis=1)


def box_area(boxes: ArrayLike) -> NDArray[np.float32]:
    """Return (B,) areas in square pixels; a box whose edges have crossed has area 0."""
    x0, y0, x1, y1 = as_boxes(boxes).T
    return np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)


def clip_boxes(boxes: ArrayLike, size: ArrayLike) -> NDArray[np.float32]:
    """Clip boxes to their images.

    Args:
        boxes: (B, 4) edges.
        size: (height, width) of the image, or (B, 2) for the image of each box.

    Returns:
        (B, 4) float32 edges; a box with nothing inside its image has width or height 0.
    """
    return np.clip(as_boxes(boxes), 0, _far_edges(size))


def overhangs(boxes: ArrayLike, size: ArrayLike) -> NDArray[np.float32]:
    """Measure how far boxes reach out of their images.

    Args:
        boxes: (B, 4) edges.
        size: (height, width) of the image, or (B, 2) for the image of each box.

    Returns:
        (B,) float32 pixels; 0 for a box inside.
    """
    array = as_boxes(boxes)
    return np.maximum(np.maximum(-array, array - _far_edges(size)), 0).max(axis=1)


def _far_edges(size: ArrayLike) -> NDArray[np.float32]:
    """Return (width, height, width, height), the largest edges in an image of each size."""
    return np.asarray(size, np.float32)[..., [1, 0, 1, 0]]


def box_iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Compute the intersection over union of every box of one list with every box of another.

    Args:
        first: (A, 4) boxes.
        second: (B, 4) boxes.

    Returns:
        (A, B) float32 in [0, 1]; 0 where both boxes are empty.
    """
    a, b = as_boxes(first).astype(np.float64), as_boxes(second).astype(np.float64)
    corner_0 = np.maximum(a[:, None, :2], b[None, :, :2])
    corner_1 = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.maximum(corner_1 - corner_0, 0).prod(axis=2)
    area_a = np.maximum(a[:, 2:] - a[:, :2], 0).prod(axis=1)
    area_b = np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=1)
    union = area_a[:, None] + area_b[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0).astype(np.float32)


def resize_boxes(boxes: ArrayLike, from_size: Size, to_size: Size) -> NDArray[np.float32]:
    """Scale boxes with their image from one size (height, width) to another."""
    (from_h, from_w), (to_h, to_w) = from_size, to_size
    scale = np.array([to_w / from_w, to_h / from_h] * 2)
    return (as_boxes(boxes) * scale).astype(np.float32)
