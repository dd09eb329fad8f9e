import numpy as np
import pytest

from wsol.boxes.every import every
from wsol.boxes.largest import largest

TWO = np.zeros((6, 8))
TWO[1:3, 1:3] = 0.5  # 4 pixels, high
TWO[4, 2:8] = 0.3  # 6 pixels, low


def boxes_of(rule, score_map, thresholds):
    return [array.tolist() for array in rule(score_map, thresholds)]


def test_two_components_on_paper():
    assert boxes_of(every, TWO, [0.1, 0.4]) == [[[1, 1, 3, 3], [2, 4, 8, 5]], [[1, 1, 3, 3]]]
    assert boxes_of(largest, TWO, [0.1, 0.4]) == [[[2, 4, 8, 5]], [[1, 1, 3, 3]]]


@pytest.mark.parametrize("rule", [every, largest])
class TestEdges:
    def test_constant_map_of_zeros_has_no_box(self, rule):
        (boxes,) = rule(np.zeros((4, 4)), [0.0])
        assert boxes.shape == (0, 4)

    def test_a_pixel_at_the_threshold_is_background(self, rule):
        assert boxes_of(rule, TWO, [0.3, 0.5]) == [[[1, 1, 3, 3]], []]

    def test_one_pixel(self, rule):
        score_map = np.zeros((4, 5))
        score_map[3, 4] = 1
        assert boxes_of(rule, score_map, [0.0]) == [[[4, 3, 5, 4]]]

    def test_diagonal_neighbours_are_one_component(self, rule):
        assert boxes_of(rule, np.eye(3), [0.5]) == [[[0, 0, 3, 3]]]

    def test_the_border_belongs_to_the_map(self, rule):
        assert boxes_of(rule, np.ones((3, 7)), [0.5]) == [[[0, 0, 7, 3]]]

    def test_thresholds_must_ascend(self, rule):
        with pytest.raises(ValueError, match="ascending"):
            rule(TWO, [0.4, 0.1])

    def test_nan_is_refused(self, rule):
        with pytest.raises(ValueError, match="NaN"):
            rule(np.full((2, 2), np.nan), [0.5])

    def test_agrees_with_the_slow_definition(self, rule):
        generator = np.random.default_rng(0)
        thresholds = np.arange(0, 1, 0.1)
        for _ in range(40):
            height, width = generator.integers(1, 9, size=2)
            score_map = generator.integers(0, 11, size=(height, width)) / 10
            expected = [slow_boxes(score_map > t, rule is largest) for t in thresholds]
            assert boxes_of(rule, score_map, thresholds) == expected


def test_equal_components_give_the_first_in_raster_order():
    score_map = np.zeros((3, 5))
    score_map[0, 4] = score_map[2, 0] = 1
    assert boxes_of(largest, score_map, [0.5]) == [[[4, 0, 5, 1]]]


def slow_boxes(mask, only_largest):
    """Flood fill, pixel by pixel."""
    found, seen = [], np.zeros_like(mask)
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        stack, pixels = [start], []
        seen[start] = True
        while stack:
            y, x = stack.pop()
            pixels.append((y, x))
            for y2 in range(max(0, y - 1), min(mask.shape[0], y + 2)):
                for x2 in range(max(0, x - 1), min(mask.shape[1], x + 2)):
                    if mask[y2, x2] and not seen[y2, x2]:
                        seen[y2, x2] = True
                        stack.append((y2, x2))
        ys, xs = np.array(pixels).T
        found.append((len(pixels), [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]))
    if only_largest and found:
        found = [max(found, key=lambda item: item[0])]
    return [box for _, box in found]
