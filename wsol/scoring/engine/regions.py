"""Find the regions above each level that a protocol draws boxes around."""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from wsol.scoring.box_ranges import BoxRanges
from wsol.scoring.engine import component_tree, pixel_components
from wsol.scoring.engine.levels import BAD_SCORES, BAD_THRESHOLDS, MOST, only_asked_for, to_levels
from wsol.scoring.protocol import REFERENCE, TIGHT, Protocol

# Turns of a row from falling to rising, a row, from which on a map counts as rough.
_ROUGH = 4

_Found = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]  # boxes, first, stop


def every_region(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol) -> BoxRanges:
    """Return the boxes of all regions; see `wsol.scoring.boxes.every.every`."""
    return _regions(score_map, thresholds, protocol, False)


def largest_region(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol) -> BoxRanges:
    """Return the box of the largest region; see `wsol.scoring.boxes.largest.largest`."""
    return _regions(score_map, thresholds, protocol, True)


# Python joins the parts. Were the whole compiled as one, Numba would optimize every part again at each level of calls,
# which takes half a minute more at the first start.
def _regions(
    score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol, only_largest: bool
) -> BoxRanges:
    taus = np.ascontiguousarray(thresholds, dtype=np.float64)
    if taus.ndim != 1 or not 0 < len(taus) <= MOST:
        raise ValueError(f"Score thresholds must be an ascending list of up to {MOST}, got {thresholds!r}.")
    if score_map.ndim != 2 or score_map.size == 0 or max(score_map.shape) > MOST:
        raise ValueError(f"A score map must be (H, W), up to {MOST} pixels each way, got shape {score_map.shape}.")
    scores = np.ascontiguousarray(score_map, dtype=np.float64)
    quantized, contours = protocol.quantization == "uint8", protocol.regions == "contours"
    values, levels, of_threshold = to_levels(scores, taus, quantized)
    if levels == BAD_THRESHOLDS:
        raise ValueError(f"Score thresholds must be ascending in [0, 1), got {thresholds!r}.")
    if levels == BAD_SCORES:
        raise ValueError("A score map must lie in [0, 1] without NaN.")
    if quantized and 2 * len(taus) < levels and component_tree.turns(values) > _ROUGH * len(values):
        values, levels, of_threshold = only_asked_for(values, levels, of_threshold)
    if only_largest:
        found = _largest(values, levels, contours)
    else:
        found = _components(values, levels, False)
        if contours:
            # A hole is an island of the inverted map, 4-connected since its surrounding is 8-connected.
            found = _with_holes(found, _components(levels - values, levels, True), levels)
    boxes, first, stop = _compared(*found, levels, values.shape, protocol.iou == "inclusive")
    return BoxRanges(boxes, first, stop, of_threshold)


def compile_all() -> None:
    """Call every compiled function once, those for rare maps too."""
    for protocol in (REFERENCE, TIGHT):
        for only_largest in (True, False):
            _regions(np.eye(4), [0.5], protocol, only_largest)
    values, levels, _ = only_asked_for(*to_levels(np.eye(4), np.array([0.5]), True))
    pixel_components.component_boxes(values, levels, False)
    pixel_components.largest_boxes(component_tree.fill_holes(values, levels), levels, True)


def _components(values: NDArray[np.int16], levels: int, islands: bool) -> _Found:
    done, *found = component_tree.component_boxes(values, levels, islands)
    return tuple(found) if done else pixel_components.component_boxes(values, levels, islands)


def _largest(values: NDArray[np.int16], levels: int, polygon: bool) -> _Found:
    done, *found = component_tree.largest_boxes(values, levels, polygon)
    if done:
        return tuple(found)
    filled = component_tree.fill_holes(values, levels) if polygon else values
    return pixel_components.largest_boxes(filled, levels, polygon)


@njit(cache=True, nogil=True)
def _with_holes(components, islands, levels):
    """Add the boundaries of holes, which run through the pixels around them; their levels are counted from above."""
    boxes, first, stop = components
    holes, above, below = islands
    count, total = len(boxes), len(boxes) + len(holes)
    all_boxes, all_first, all_stop = (
        np.empty((total, 4), np.int32),
        np.empty(total, np.int32),
        np.empty(total, np.int32),
    )
    for m in range(count):
        all_boxes[m], all_first[m], all_stop[m] = boxes[m], first[m], stop[m]
    for m in range(len(holes)):
        x0, y0, x1, y1 = holes[m]
        all_boxes[count + m] = x0 - 1, y0 - 1, x1 + 1, y1 + 1
        all_first[count + m], all_stop[count + m] = levels - below[m], levels - above[m]
    return all_boxes, all_first, all_stop


@njit(cache=True, nogil=True)
def _compared(boxes, first, stop, levels, size, inclusive):
    """Return the first three fields of `BoxRanges`: boxes as the protocol compares them."""
    compared = boxes.astype(np.float32)
    if inclusive:
        height, width = size
        for box in compared:
            box[2], box[3] = min(box[2] + 1, width), min(box[3] + 1, height)
        if len(compared) == 0:
            compared = np.array([[0, 0, 1, 1]], np.float32)
            first, stop = np.zeros(1, np.int32), np.full(1, levels, np.int32)
    return compared, first, stop
