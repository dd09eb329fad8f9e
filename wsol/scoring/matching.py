"""Match predicted boxes with ground truth: the best IoU, and the box that reached it, at every threshold."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsol.geometry import Size
from wsol.scoring.box_ranges import BoxRanges
from wsol.scoring.protocol import Protocol


class Best(NamedTuple):
    """The best match of one image at each threshold."""

    iou: NDArray[np.float32]  # (T,) the best of any predicted with any true box; 0 where nothing was predicted
    boxes: NDArray[np.float32]  # (T, 4) the predicted box that reached it; zeros where nothing was predicted
    true_index: NDArray[np.int32]  # (T,) which true box it was; 0 where nothing was predicted


def true_boxes_of(boxes: NDArray[np.float32], size: Size, protocol: Protocol) -> NDArray[np.float32]:
    """Return an image's true boxes as a protocol compares them.

    Args:
        boxes: (B, 4) edges on an image of this size.
        size: (height, width).
        protocol: the function reads its grid, IoU and choice of true boxes.
    """
    if protocol.true_boxes == "first":
        boxes = boxes[:1]
    if protocol.grid is None and protocol.iou == "half_open":
        return boxes
    (height, width), (to_height, to_width) = size, protocol.grid or size
    # Multiply before dividing: whole numbers stay whole, and are not cut to the one below.
    exact = boxes * np.array([to_width, to_height] * 2, np.float64) / np.array([width, height] * 2, np.float64)
    if protocol.iou == "inclusive":
        exact = np.floor(exact) + np.array([0, 0, 1, 1])
    return exact.astype(np.float32)


def best_of(predicted: BoxRanges, truth: NDArray[np.float32]) -> Best:
    """Compare the boxes of one image with its true boxes.

    Of predicted boxes with equal IoU, the match is the one with the smallest (y0, x0, y1, x1); of true ones, the first.

    Raises:
        ValueError: if there is no true box to compare with.
    """
    if len(truth) == 0:
        raise ValueError("An image without a ground-truth box cannot be scored.")
    return Best(*_match(predicted.boxes, predicted.first, predicted.stop, predicted.of_threshold, truth))


@njit(cache=True, nogil=True)
def _match(boxes, first, stop, of_threshold, truth):
    """Compute the fields of `Best`."""
    levels = of_threshold.max() + 1
    best, chosen, nearest = np.full(levels, -1.0), np.full(levels, -1), np.zeros(levels, np.int32)
    for m in range(len(boxes)):
        x0, y0 = np.float64(boxes[m, 0]), np.float64(boxes[m, 1])
        x1, y1 = np.float64(boxes[m, 2]), np.float64(boxes[m, 3])
        iou, true_index = 0.0, 0
        for k in range(len(truth)):
            width = min(x1, truth[k, 2]) - max(x0, truth[k, 0])
            height = min(y1, truth[k, 3]) - max(y0, truth[k, 1])
            if width > 0 and height > 0:
                both = width * height
                area = np.float64(truth[k, 2] - truth[k, 0]) * np.float64(truth[k, 3] - truth[k, 1])
                this = both / ((x1 - x0) * (y1 - y0) + area - both)
                if this > iou:
                    iou, true_index = this, k
        for level in range(first[m], min(stop[m], levels)):
            if iou < best[level]:
                continue
            if iou == best[level]:
                c = boxes[chosen[level]]
                if (c[1], c[0], c[3], c[2]) <= (boxes[m, 1], boxes[m, 0], boxes[m, 3], boxes[m, 2]):
                    continue
            best[level], chosen[level], nearest[level] = iou, m, true_index
    count = len(of_threshold)
    best_iou, chosen_boxes = np.zeros(count, np.float32), np.zeros((count, 4), np.float32)
    true_indices = np.zeros(count, np.int32)
    for t in range(count):
        level = of_threshold[t]
        if chosen[level] >= 0:
            best_iou[t], chosen_boxes[t] = best[level], boxes[chosen[level]]
            true_indices[t] = nearest[level]
    return best_iou, chosen_boxes, true_indices
