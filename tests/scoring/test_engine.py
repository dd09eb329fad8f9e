"""The fast engine, the pixel-by-pixel one and OpenCV agree bit for bit on any map."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import reference
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.engine import component_tree, pixel_components
from wsol.scoring.engine.levels import only_asked_for, to_levels
from wsol.scoring.matching import best_of
from wsol.scoring.protocol import REFERENCE

SIDE = st.integers(1, 12)


@st.composite
def maps(draw):
    """Few levels and many, so that plateaus, ties, holes in holes, diagonals and lines come about; odd shapes."""
    shape = draw(st.tuples(SIDE, SIDE))
    levels = draw(st.sampled_from([1, 2, 3, 5, 40, 255]))
    return draw(hnp.arrays(np.int16, shape, elements=st.integers(0, levels))) / levels


def nested(size):
    """Rings around rings, two pixels apart."""
    y, x = np.mgrid[:size, :size]
    return ((np.maximum(abs(y - size // 2), abs(x - size // 2)) % 2) == 0).astype(float)


def comb(size):
    """Lines of one pixel that meet at the border."""
    lines = np.zeros((size, size))
    lines[::2], lines[:, 0] = 1, 0.5
    return lines


ADVERSARIAL = {
    "holes in holes": nested(15),
    "comb": comb(12),
    "checkerboard": np.indices((9, 10)).sum(axis=0) % 2 * 1.0,
    "one pixel": np.eye(1, 7)[[0]],
    "two diagonals": np.maximum(np.eye(9), np.eye(9)[::-1]),
    "plateaus": np.kron(np.arange(12).reshape(3, 4) / 11, np.ones((3, 3))),
    "ramp": np.linspace(0, 1, 60).reshape(4, 15),
    "row": np.array([[0, 0.5, 0.2, 1, 0.2, 0.5, 0]]),
    "column": np.array([[0, 0.5, 0.2, 1, 0.2, 0.5, 0]]).T,
    "all one": np.ones((5, 6)),
    "noise": np.random.default_rng(0).random((40, 30)),
}


def as_set(boxes):
    return {tuple(box) for box in np.asarray(boxes, dtype=int).tolist()}


def check_against_opencv(score_map, thresholds):
    for rule, only_largest in ((largest, True), (every, False)):
        found = rule(score_map, thresholds, REFERENCE)
        for index, expected in enumerate(reference.boxes(score_map, thresholds, only_largest)):
            ours = found.at(index) - [0, 0, 1, 1]
            assert as_set(ours) == as_set(expected), f"{rule.__name__} at {thresholds[index]}"


@given(maps(), st.sampled_from([0.3, 0.1, 0.01]))
@settings(max_examples=150, deadline=None)
@example(nested(11), 0.1)
def test_boxes_are_those_of_opencv(score_map, step):
    check_against_opencv(score_map, np.arange(0, 1, step))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_boxes_are_those_of_opencv_on(name):
    check_against_opencv(ADVERSARIAL[name], np.arange(0, 1, 0.02))


def check_against_pixels(score_map):
    values, levels, _ = to_levels(score_map, np.arange(0, 1, 0.05), False)
    for islands in (component_tree.NO, component_tree.YES):
        done, *fast = component_tree.component_boxes(values, levels, islands)
        slow = pixel_components.component_boxes(values, levels, islands)
        assert done
        for level in range(levels):
            assert at_level(fast, level) == at_level(slow, level)
    for polygon in (component_tree.NO, component_tree.YES):
        done, *fast = component_tree.largest_boxes(values, levels, polygon)
        filled = component_tree.fill_holes(values, levels) if polygon else values
        slow = pixel_components.largest_boxes(filled, levels, polygon)
        assert done
        for level in range(levels):
            assert at_level(fast, level) == at_level(slow, level)


def at_level(found, level):
    boxes, first, stop = found
    return sorted(boxes[(first <= level) & (level < stop)].tolist())


@given(maps())
@settings(max_examples=150, deadline=None)
def test_the_tree_is_the_union_find(score_map):
    check_against_pixels(score_map)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_tree_is_the_union_find_on(name):
    check_against_pixels(ADVERSARIAL[name])


def test_both_agree_at_full_size():
    generator = np.random.default_rng(3)
    for cells, size in ((7, (224, 224)), (14, (97, 201)), (28, (224, 224))):
        coarse = generator.random((cells, cells))
        check_against_opencv(reference.score_map(coarse, size), np.arange(0, 1, 0.05))
        check_against_pixels(reference.score_map(coarse, size))


def test_a_map_too_rough_for_the_tree_is_scored_pixel_by_pixel():
    noise = np.random.default_rng(4).random((224, 224))
    score_map = (noise - noise.min()) / (noise.max() - noise.min())
    values, levels, _ = to_levels(score_map, np.array([0.5]), True)
    assert not component_tree.component_boxes(values, levels, component_tree.NO)[0]
    assert not component_tree.largest_boxes(values, levels, component_tree.YES)[0]
    check_against_opencv(score_map, np.linspace(0, 1, 300, endpoint=False)[::30])
    check_against_opencv(score_map, np.linspace(0, 1, 300, endpoint=False)[150:])


@given(maps())
@settings(max_examples=60, deadline=None)
def test_levels_that_nobody_asks_for_do_not_matter(score_map):
    thresholds = np.arange(0, 1, 0.07)
    values, levels, of_threshold = to_levels(score_map, thresholds, True)
    fewer, count, renumbered = only_asked_for(values, levels, of_threshold)
    assert count <= len(thresholds)
    for level, new_level in zip(of_threshold, renumbered, strict=True):
        np.testing.assert_array_equal(values > level, fewer > new_level)


@given(maps())
@settings(max_examples=60, deadline=None)
def test_the_best_iou_is_that_of_the_plain_version(score_map):
    thresholds = np.arange(0, 1, 0.05)
    height, width = score_map.shape
    truth = np.array([[0, 0, width // 2, height // 2], [width // 3, height // 3, width - 1, height - 1]])
    for rule, only_largest in ((largest, True), (every, False)):
        ours = best_of(rule(score_map, thresholds, REFERENCE), (truth + np.array([0, 0, 1, 1])).astype(np.float32)).iou
        expected = reference.best_iou(score_map, thresholds, only_largest, truth)
        np.testing.assert_array_equal(ours, expected.astype(np.float32))
