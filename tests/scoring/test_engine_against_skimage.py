"""The engine finds the components that scikit-image finds, by labelling every cut and by its max-tree."""

import numpy as np
import pytest
from skimage.measure import label, regionprops
from skimage.morphology import max_tree

from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import TIGHT

TAUS = np.arange(10) / 10


def random_map(seed):
    generator = np.random.default_rng(seed)
    levels = [1, 3, 9, 1000][seed % 4]
    return generator.integers(0, levels + 1, generator.integers(1, 14, 2)) / levels


def edges(region):
    y0, x0, y1, x1 = region.bbox
    return x0, y0, x1, y1


def as_set(boxes):
    return {tuple(box) for box in boxes.astype(int).tolist()}


def boxes_of_max_tree(score_map):
    """(value, value of the parent, box) of every component of every cut, from the max-tree."""
    parent, order = max_tree(score_map, connectivity=2)
    parent, values = parent.ravel(), score_map.ravel()
    y, x = (axis.ravel() for axis in np.indices(score_map.shape))
    boxes = np.stack([x, y, x + 1, y + 1], axis=1)
    root = order[0]
    for pixel in order[:0:-1]:  # leaves first
        above = parent[pixel]
        boxes[above, :2] = np.minimum(boxes[above, :2], boxes[pixel, :2])
        boxes[above, 2:] = np.maximum(boxes[above, 2:], boxes[pixel, 2:])
    for pixel in order:
        if pixel == root or values[parent[pixel]] < values[pixel]:
            below = -1 if pixel == root else values[parent[pixel]]
            yield values[pixel], below, tuple(boxes[pixel].tolist())


@pytest.mark.parametrize("seed", range(40))
def test_components_of_every_cut(seed):
    score_map = random_map(seed)
    # In fewer than three columns max_tree takes some neighbours for others (scikit-image 0.26).
    nodes = list(boxes_of_max_tree(score_map)) if min(score_map.shape) > 2 else None
    rows = zip(TAUS, every(score_map, TAUS, TIGHT), largest(score_map, TAUS, TIGHT), strict=True)
    for tau, boxes, (*largest_box,) in rows:
        regions = regionprops(label(score_map > tau, connectivity=2))
        assert as_set(boxes) == {edges(region) for region in regions}
        if nodes is not None:
            assert as_set(boxes) == {box for value, below, box in nodes if below <= tau < value}
        # Labels ascend in raster order, and so does the first of the largest regions.
        expected = [edges(max(regions, key=lambda region: region.area))] if regions else []
        assert [tuple(box.astype(int).tolist()) for box in largest_box] == expected
