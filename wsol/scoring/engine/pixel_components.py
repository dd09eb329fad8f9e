"""Find the components of `component_tree` pixel by pixel, slower, in memory that does not grow with roughness.

The oracle that `component_tree` is tested against, and what takes its place on maps too rough for it.
"""

import numpy as np
from numba import njit

from wsol.scoring.engine.component_tree import NO, YES


@njit(cache=True, nogil=True)
def component_boxes(values, levels, islands):
    """Return the boxes of `component_tree.component_boxes`, without `done`; the boxes come in another order."""
    boxes, first, stop, _ = _grow(values, levels, islands, NO, NO)
    return boxes, first, stop


@njit(cache=True, nogil=True)
def largest_boxes(values, levels, polygon):
    """Return the boxes of `component_tree.largest_boxes`, without `done`."""
    boxes, first, stop, size = _grow(values, levels, NO, YES, polygon)
    return boxes[:size][::-1], first[:size][::-1], stop[:size][::-1]


@njit(cache=True, nogil=True)
def _grow(values, levels, islands, largest, polygon):
    """Lower the level step by step: pixels join, components merge (union-find), and each level's boxes are written.

    A component's root is its first pixel in raster order. Pixels are numbered in a grid with a rim, which spares
    every neighbour a test for the border; with `islands` the rim is one component from the start, whose root is 0.
    """
    height, width = values.shape
    row = width + 2
    order, joins = _by_value(values, levels)
    parent = np.full((height + 2) * row, -1, np.int32)  # -1: not above the level
    if islands:
        parent[:row], parent[-row:], parent[::row], parent[row - 1 :: row] = 0, 0, 0, 0
    box, area = np.zeros((len(parent), 4), np.int32), np.zeros(len(parent), np.int32)  # of each root
    written = np.full(len(parent), -1, np.int32)  # where each root's box was written last
    roots, live = np.empty(values.size, np.int32), 0
    boxes, first, stop = np.empty((levels, 4), np.int32), np.empty(levels, np.int32), np.empty(levels, np.int32)
    size = 0
    near = np.array([-row, -1, 1, row, -row - 1, -row + 1, row - 1, row + 1])
    for level in range(levels - 1, -1, -1):
        for pixel in order[joins[level + 1] : joins[level]]:
            y, x = pixel // row - 1, pixel % row - 1
            parent[pixel], area[pixel] = pixel, 1
            if polygon:
                area[pixel] = 0
                for down in (-row, row):
                    for right in (-1, 1):
                        others = (parent[pixel + down] >= 0) + (parent[pixel + right] >= 0)
                        area[pixel] += others + (parent[pixel + down + right] >= 0) >= 2
            box[pixel, 0], box[pixel, 1], box[pixel, 2], box[pixel, 3] = x, y, x + 1, y + 1
            for step in near[: 4 if islands else 8]:
                if parent[pixel + step] >= 0:
                    _unite(parent, box, area, pixel, pixel + step)
            if parent[pixel] == pixel:
                roots[live] = pixel
                live += 1
        kept, best = 0, -1
        for root in roots[:live]:
            if parent[root] == root:
                roots[kept] = root
                kept += 1
                if best < 0 or area[root] > area[best] or (area[root] == area[best] and (root > best) == polygon):
                    best = root
        live = kept
        for root in roots[: min(live, 1) if largest else live]:
            if largest:
                root = best
            at = size - 1 if largest else written[root]
            same = at >= 0
            for edge in range(4):
                same = same and boxes[at, edge] == box[root, edge]
            if same:
                first[at] = level
                continue
            if size == len(first):
                boxes = np.concatenate((boxes, np.empty_like(boxes)))
                first, stop = np.concatenate((first, np.empty_like(first))), np.concatenate((stop, np.empty_like(stop)))
            boxes[size], first[size], stop[size] = box[root], level, level + 1
            written[root] = size
            size += 1
    return boxes[:size], first[:size], stop[:size], size


@njit(cache=True, nogil=True)
def _by_value(values, levels):
    """Sort pixels from high to low (counting sort), and count those above level l, for l = 0 ... levels."""
    height, width = values.shape
    joins = np.zeros(levels + 1, np.int64)
    for y in range(height):
        for x in range(width):
            if values[y, x] > 0:
                joins[values[y, x] - 1] += 1
    for level in range(levels - 1, -1, -1):
        joins[level] += joins[level + 1]
    order, place = np.empty(joins[0], np.int32), joins.copy()
    for y in range(height):
        for x in range(width):
            if values[y, x] > 0:
                order[place[values[y, x]]] = (y + 1) * (width + 2) + x + 1
                place[values[y, x]] += 1
    return order, joins


# A copy of its own: Numba's cache does not see when a function in another file was changed.
@njit(cache=True, nogil=True)
def _find(parent, pixel):
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]  # path halving
        pixel = parent[pixel]
    return pixel


@njit(cache=True, nogil=True)
def _unite(parent, box, area, first, second):
    """Merge the components of two pixels."""
    first, second = _find(parent, first), _find(parent, second)
    if first == second:
        return
    keep, lose = min(first, second), max(first, second)
    parent[lose] = keep
    area[keep] += area[lose]
    box[keep, 0], box[keep, 1] = min(box[keep, 0], box[lose, 0]), min(box[keep, 1], box[lose, 1])
    box[keep, 2], box[keep, 3] = max(box[keep, 2], box[lose, 2]), max(box[keep, 3], box[lose, 3])
