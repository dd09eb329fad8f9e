"""Measure whether a map points at the object: where its peak lies, and its share inside the true boxes."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


def peak_and_energy(score_map: NDArray[np.float64], true_boxes: NDArray[np.float32]) -> tuple[float, float]:
    """Compute the two measures that need no threshold, in one pass over the map.

    Sources: the pointing game of Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016; the
    energy-based pointing game of Wang et al., "Score-CAM", CVPR Workshops 2020.

    Args:
        score_map: (H, W) float64, in [0, 1].
        true_boxes: (B, 4) edges on the same grid; a pixel is inside where its centre is.

    Returns:
        Distance in pixels from the map's highest pixel (of equals the first in raster order) to the nearest true box,
        0 inside; and the share of the map's sum that lies inside any true box, 0 for a map of zeros.
    """
    return _peak_and_energy(score_map, true_boxes)


@njit(cache=True, nogil=True, fastmath={"reassoc"})  # sums may be reordered, so that they are taken in registers
def _peak_and_energy(scores, boxes):
    height, width = scores.shape
    inside = np.zeros(width)
    total, within, highest = 0.0, 0.0, -1.0
    peak_y, peak_x = 0, 0
    for y in range(height):
        inside[:] = 0
        any_inside = False
        for box in boxes:
            if box[1] <= y + 0.5 < box[3]:
                any_inside = True
                inside[max(int(np.ceil(box[0] - 0.5)), 0) : max(int(np.ceil(box[2] - 0.5)), 0)] = 1
        of_row, of_inside, row_highest = 0.0, 0.0, 0.0
        row = scores[y]
        for x in range(np.uint64(width)):
            of_row += row[x]
            row_highest = max(row_highest, row[x])
        if any_inside:
            for x in range(np.uint64(width)):
                of_inside += row[x] * inside[x]
        total, within = total + of_row, within + of_inside
        if row_highest > highest:
            highest = row_highest
            peak_y, peak_x = y, int(np.argmax(row))
    distance = np.inf
    for box in boxes:
        across = max(box[0] - (peak_x + 0.5), (peak_x + 0.5) - box[2], 0.0)
        down = max(box[1] - (peak_y + 0.5), (peak_y + 0.5) - box[3], 0.0)
        distance = min(distance, np.sqrt(across * across + down * down))
    return distance, (within / total if total > 0 else 0.0)
