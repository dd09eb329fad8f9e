"""The regions above each level that a protocol draws boxes around."""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from wsol.box_ranges import BoxRanges
from wsol.engine import component_tree, pixel_components
from wsol.engine.levels import MOST, only_asked_for, to_levels
from wsol.protocol import Protocol

# Turns of a row from falling to rising, a row, from which on a map counts as rough.
_ROUGH = 4


def every_region(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol) -> BoxRanges:
    """The boxes of all regions; arguments and errors as of `wsol.boxes.every.every`."""
    return _regions(score_map, thresholds, protocol, False)


def largest_region(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol) -> BoxRanges:
    """The box of the largest region; arguments and errors as of `wsol.boxes.largest.largest`."""
    return _regions(score_map, thresholds, protocol, True)


def _regions(
    score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol, only_largest: bool
) -> BoxRanges:
    taus = np.ascontiguousarray(thresholds, dtype=np.float64)
    if taus.ndim != 1 or not 0 < len(taus) <= MOST:
        raise ValueError(f"Score thresholds must be an ascending list of up to {MOST}, got {thresholds!r}.")
    if score_map.ndim != 2 or score_map.size == 0 or max(score_map.shape) > MOST:
        raise ValueError(f"A score map must be (H, W), up to {MOST} pixels each way, got shape {score_map.shape}.")
    scores = np.ascontiguousarray(score_map, dtype=np.float64)
    contours, inclusive = protocol.regions == "contours", protocol.iou == "inclusive"
    problem, *found = _found(scores, taus, protocol.quantization == "uint8", contours, inclusive, only_largest)
    if problem == 1:
        raise ValueError(f"Score thresholds must be ascending in [0, 1), got {thresholds!r}.")
    if problem == 2:
        raise ValueError("A score map must lie in [0, 1] without NaN.")
    return BoxRanges(*found)


@njit(cache=True, nogil=True)
def _found(scores, taus, quantized, contours, inclusive, only_largest):
    """Levels, regions, and the boxes that are compared.

    Returns:
        0; 1 for bad thresholds, 2 for bad scores; and the fields of `BoxRanges`.
    """
    none = np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64)
    ascending = taus[0] >= 0 and taus[-1] < 1
    for t in range(1, len(taus)):
        ascending &= taus[t] > taus[t - 1]
    if not ascending:
        return 1, *none
    values, levels, of_threshold = to_levels(scores, taus, quantized)
    if levels < 0:
        return 2, *none
    if quantized and 2 * len(taus) < levels and component_tree.turns(values) > _ROUGH * values.shape[0]:
        values, levels, of_threshold = only_asked_for(values, levels, of_threshold)
    if only_largest:
        boxes, first, stop = _largest(values, levels, contours)
    else:
        boxes, first, stop = _components(values, levels, component_tree.NO)
        if contours:
            # A hole is an island of the inverted map, 4-connected since its surrounding is 8-connected; its boundary
            # runs through the pixels around it.
            holes, above, below = _components((levels - values).astype(np.int16), levels, component_tree.YES)
            holes[:, :2] -= 1
            holes[:, 2:] += 1
            boxes = np.concatenate((boxes, holes))
            first = np.concatenate((first, (levels - below).astype(np.int32)))
            stop = np.concatenate((stop, (levels - above).astype(np.int32)))
    compared = boxes.astype(np.float32)
    if inclusive:
        height, width = values.shape
        for box in compared:
            box[2], box[3] = min(box[2] + 1, width), min(box[3] + 1, height)
        if len(compared) == 0:
            compared = np.array([[0, 0, 1, 1]], np.float32)
            first, stop = np.zeros(1, np.int32), np.full(1, levels, np.int32)
    return 0, compared, first, stop, of_threshold


@njit(cache=True, nogil=True)
def _components(values, levels, islands):
    done, boxes, first, stop = component_tree.component_boxes(values, levels, islands)
    if done:
        return boxes, first, stop
    return pixel_components.component_boxes(values, levels, islands)


@njit(cache=True, nogil=True)
def _largest(values, levels, polygon):
    done, boxes, first, stop = component_tree.largest_boxes(values, levels, polygon)
    if done:
        return boxes, first, stop
    if polygon:
        values = component_tree.fill_holes(values, levels)
    return pixel_components.largest_boxes(values, levels, polygon)
