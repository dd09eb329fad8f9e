"""Connected components of a score map above every threshold, in one pass over its pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

# (score_map, thresholds) -> one (B, 4) array of boxes per threshold
BoxRule = Callable[[NDArray[np.floating], ArrayLike], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class Components:
    """The components above each of T thresholds; thresholds with the same mask share theirs.

    Those above threshold t are the rows `start[t]:stop[t]`, in raster order of their first pixels.
    """

    boxes: NDArray[np.float32]  # (M, 4) tight boxes as edges
    areas: NDArray[np.int64]  # (M,) pixels
    start: NDArray[np.int64]  # (T,)
    stop: NDArray[np.int64]  # (T,)
    largest: NDArray[np.int64]  # (T,) row of the component with the most pixels, the first of equals; -1: none


def components_per_threshold(score_map: NDArray[np.floating], thresholds: ArrayLike) -> Components:
    """8-connected components of `score_map > threshold`, for every threshold.

    Args:
        score_map: (H, W), in [0, 1].
        thresholds: (T,) ascending.

    Raises:
        ValueError: if the map is not (H, W) or holds NaN, or the thresholds do not ascend.
    """
    levels = np.asarray(thresholds, dtype=np.float64)
    if levels.ndim != 1 or np.any(np.diff(levels) <= 0):
        raise ValueError(f"Score thresholds must be an ascending list, got {thresholds!r}.")
    if score_map.ndim != 2 or np.isnan(score_map).any():
        raise ValueError(f"A score map must be (H, W) without NaN, got shape {score_map.shape}.")
    # How many thresholds lie strictly below each pixel: the pixel is foreground for exactly the first so many.
    depth = np.searchsorted(levels, score_map, side="left").astype(np.int32)
    return Components(*_grow(depth, len(levels)))


@njit(cache=True, nogil=True)
def _grow(depth, levels):
    """Lower the threshold step by step: pixels join, components merge (union-find), those that there are go out.

    A component's root is its first pixel in raster order, so sorted roots are components in raster order. Pixels are
    numbered in a grid with a rim of background, which spares every neighbour a test for the border.
    """
    height, width = depth.shape
    row = width + 2
    order, joins = _by_depth(depth, levels)
    parent = np.full((height + 2) * row, -1, np.int32)  # -1: background so far
    box, area = np.empty((len(parent), 4), np.int32), np.empty(len(parent), np.int32)  # of each root
    roots, live = np.empty(depth.size, np.int32), 0
    boxes, areas, size = np.empty((4 * levels, 4), np.float32), np.empty(4 * levels, np.int64), 0
    start, stop, largest = np.zeros(levels, np.int64), np.zeros(levels, np.int64), np.full(levels, -1, np.int64)
    for t in range(levels - 1, -1, -1):
        if joins[t] == joins[t + 1]:
            if t < levels - 1:  # the same mask as at the threshold above
                start[t], stop[t], largest[t] = start[t + 1], stop[t + 1], largest[t + 1]
            continue
        for pixel in order[joins[t + 1] : joins[t]]:
            y, x = pixel // row - 1, pixel % row - 1
            parent[pixel], area[pixel] = pixel, 1
            box[pixel, 0], box[pixel, 1], box[pixel, 2], box[pixel, 3] = x, y, x + 1, y + 1
            north, south, west, east = pixel - row, pixel + row, pixel - 1, pixel + 1
            root = pixel
            for near in (north, west, east, south):
                if parent[near] >= 0:
                    root = _unite(parent, box, area, root, near)
            # A diagonal neighbour next to a foreground one is in its component already.
            if parent[north] < 0:
                if parent[west] < 0 and parent[north - 1] >= 0:
                    root = _unite(parent, box, area, root, north - 1)
                if parent[east] < 0 and parent[north + 1] >= 0:
                    root = _unite(parent, box, area, root, north + 1)
            if parent[south] < 0:
                if parent[west] < 0 and parent[south - 1] >= 0:
                    root = _unite(parent, box, area, root, south - 1)
                if parent[east] < 0 and parent[south + 1] >= 0:
                    root = _unite(parent, box, area, root, south + 1)
            if root == pixel:
                roots[live] = pixel
                live += 1
        kept = 0
        for root in roots[:live]:
            if parent[root] == root:
                roots[kept] = root
                kept += 1
        live = kept
        roots[:live].sort()
        while size + live > len(areas):
            boxes, areas = np.concatenate((boxes, np.empty_like(boxes))), np.concatenate((areas, np.empty_like(areas)))
        start[t], stop[t], most = size, size + live, 0
        for root in roots[:live]:
            for edge in range(4):
                boxes[size, edge] = box[root, edge]
            areas[size] = area[root]
            if area[root] > most:
                most, largest[t] = area[root], size
            size += 1
    return boxes[:size], areas[:size], start, stop, largest


@njit(cache=True, nogil=True)
def _by_depth(depth, levels):
    """Pixels from deep to shallow (counting sort), and how many of them are deeper than t, for t = 0 ... levels."""
    height, width = depth.shape
    joins = np.zeros(levels + 1, np.int64)
    for y in range(height):
        for x in range(width):
            if depth[y, x] > 0:
                joins[depth[y, x] - 1] += 1
    for t in range(levels - 1, -1, -1):
        joins[t] += joins[t + 1]
    order, place = np.empty(joins[0], np.int32), joins.copy()
    for y in range(height):
        for x in range(width):
            if depth[y, x] > 0:
                order[place[depth[y, x]]] = (y + 1) * (width + 2) + x + 1
                place[depth[y, x]] += 1
    return order, joins


@njit(cache=True, nogil=True)
def _unite(parent, box, area, root, pixel):
    """Merge the component of a root with that of a pixel; returns the root of both."""
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]  # path halving
        pixel = parent[pixel]
    if root == pixel:
        return root
    keep, lose = min(root, pixel), max(root, pixel)
    parent[lose] = keep
    area[keep] += area[lose]
    box[keep, 0], box[keep, 1] = min(box[keep, 0], box[lose, 0]), min(box[keep, 1], box[lose, 1])
    box[keep, 2], box[keep, 3] = max(box[keep, 2], box[lose, 2]), max(box[keep, 3], box[lose, 3])
    return keep
