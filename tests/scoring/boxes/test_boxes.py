import numpy as np
import pytest

from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import REFERENCE, TIGHT

TWO = np.zeros((6, 8))
TWO[1:3, 1:3] = 0.5  # 4 pixels, high
TWO[4, 2:8] = 0.3  # 6 pixels, low


def boxes_of(rule, score_map, thresholds, protocol=TIGHT):
    return [boxes.tolist() for boxes in rule(score_map, thresholds, protocol)]


def drawn(*rows):
    """A map of hashes (1) and dots (0)."""
    return np.array([[float(character == "#") for character in row] for row in rows])


def test_two_components_on_paper():
    assert boxes_of(every, TWO, [0.1, 0.4]) == [[[1, 1, 3, 3], [2, 4, 8, 5]], [[1, 1, 3, 3]]]
    assert boxes_of(largest, TWO, [0.1, 0.4]) == [[[2, 4, 8, 5]], [[1, 1, 3, 3]]]


@pytest.mark.parametrize("rule", [every, largest])
class TestEdges:
    def test_constant_map_of_zeros_has_no_box(self, rule):
        assert rule(np.zeros((4, 4)), [0.0]).at(0).shape == (0, 4)

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

    @pytest.mark.parametrize("thresholds", [[0.4, 0.1], [0.1, 0.1], [], [[0.1]], [-0.1], [1.0], [np.nan]])
    def test_thresholds_must_ascend_from_0_to_below_1(self, rule, thresholds):
        with pytest.raises(ValueError, match="ascending"):
            rule(TWO, thresholds)

    @pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1, np.inf])
    @pytest.mark.parametrize("protocol", [TIGHT, REFERENCE])
    def test_scores_outside_0_to_1_are_refused(self, rule, bad, protocol):
        score_map = np.array([[0.0, 1.0], [0.5, bad]])
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            rule(score_map, [0.5], protocol)

    @pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 2, 2), (1, 40_000)])
    def test_what_is_no_map_is_refused(self, rule, shape):
        with pytest.raises(ValueError, match="must be"):
            rule(np.zeros(shape), [0.5])

    def test_agrees_with_the_slow_definition(self, rule):
        generator = np.random.default_rng(0)
        thresholds = np.arange(0, 1, 0.1)
        for _ in range(40):
            height, width = generator.integers(1, 9, size=2)
            score_map = generator.integers(0, 11, size=(height, width)) / 10
            expected = [slow_boxes(score_map > t, rule is largest) for t in thresholds]
            assert boxes_of(rule, score_map, thresholds) == expected

    def test_any_number_type_and_memory_layout_will_do(self, rule):
        expected = boxes_of(rule, TWO, [0.1, 0.4])
        for one in (TWO.astype(np.float32), np.asfortranarray(TWO), np.repeat(TWO, 2, axis=1)[:, ::2]):
            assert boxes_of(rule, one, [0.1, 0.4]) == expected


def test_equal_components_give_the_first_in_raster_order():
    score_map = np.zeros((3, 5))
    score_map[0, 4] = score_map[2, 0] = 1
    assert boxes_of(largest, score_map, [0.5]) == [[[4, 0, 5, 1]]]


class TestReference:
    """What the field's evaluation does where others would not, on paper. Boxes are as wide as it counts them."""

    def test_boxes_reach_one_pixel_further_but_for_the_border(self):
        score_map = drawn("##..", "##..", "..#.")
        assert boxes_of(every, score_map, [0.5], REFERENCE) == [[[0, 0, 4, 3]]]  # one component, by its corner
        assert boxes_of(every, drawn("##...", "##...", "....#"), [0.5], REFERENCE) == [[[0, 0, 3, 3], [4, 2, 5, 3]]]

    def test_nothing_is_the_first_pixel(self):
        for rule in (largest, every):
            assert boxes_of(rule, np.zeros((3, 4)), [0.0, 0.5], REFERENCE) == [[[0, 0, 1, 1]]] * 2

    def test_scores_are_cut_to_bytes_and_so_are_thresholds(self):
        score_map = np.array([[1.0, 0.5, 0.499, 0.0]])  # q = 255, 127, 127, 0; int(0.5 * 255) = 127
        assert boxes_of(largest, score_map, [0.49, 0.5], REFERENCE) == [[[0, 0, 4, 1]], [[0, 0, 2, 1]]]
        assert boxes_of(largest, score_map, [0.49, 0.5], TIGHT) == [[[0, 0, 3, 1]], [[0, 0, 1, 1]]]

    def test_thresholds_are_shares_of_the_highest_byte(self):
        score_map = np.array([[0.4, 0.3, 0.0]])  # q = 102, 76; int(0.5 * 102) = 51, int(0.8 * 102) = 81
        assert boxes_of(largest, score_map, [0.5, 0.8], REFERENCE) == [[[0, 0, 3, 1]], [[0, 0, 2, 1]]]

    def test_a_hole_is_a_region_whose_box_is_one_pixel_wider(self):
        score_map = drawn("........", ".#####..", ".##..#..", ".#####..", "........")
        outer, hole = [1, 1, 7, 5], [2, 1, 7, 5]  # the hole is columns 3 and 4 of row 2
        assert boxes_of(every, score_map, [0.5], REFERENCE) == [[outer, hole]]

    def test_a_diagonal_gap_does_not_open_a_hole(self):
        score_map = drawn(".#.", "#.#", ".#.")
        assert boxes_of(every, score_map, [0.5], REFERENCE) == [[[0, 0, 3, 3], [0, 0, 3, 3]]]

    def test_the_border_is_no_hole(self):
        assert len(boxes_of(every, drawn("####", "#..#", "#..#"), [0.5], REFERENCE)[0]) == 1

    def test_an_island_in_a_hole_is_a_region_again(self):
        score_map = drawn("#####", "#...#", "#.#.#", "#...#", "#####")
        assert len(boxes_of(every, score_map, [0.5], REFERENCE)[0]) == 3

    def test_the_largest_is_so_by_the_polygon_through_pixel_centres(self):
        line_and_square = drawn("#######", ".......", "##.....", "##.....")  # 7 pixels of area 0; 4 pixels of area 1
        assert boxes_of(largest, line_and_square, [0.5], REFERENCE) == [[[0, 2, 3, 4]]]
        assert boxes_of(largest, line_and_square, [0.5], TIGHT) == [[[0, 0, 7, 1]]]

    def test_a_corner_counts_half(self):
        corner_and_line = drawn("#..####", "##.....")  # 3 pixels of area 1/2; 4 of area 0, apart
        assert boxes_of(largest, corner_and_line, [0.5], REFERENCE) == [[[0, 0, 3, 2]]]

    def test_holes_count_as_filled(self):
        ring_and_square = drawn("#####.###", "#...#.###", "#...#.###", "#...#....", "#####....")  # areas 16 and 4
        assert boxes_of(largest, ring_and_square, [0.5], REFERENCE) == [[[0, 0, 6, 5]]]

    def test_of_equals_the_one_that_begins_last(self):
        assert boxes_of(largest, drawn("#.#", "...", "#..", "..."), [0.5], REFERENCE) == [[[0, 2, 2, 4]]]
        assert boxes_of(largest, drawn("#.#"), [0.5], REFERENCE) == [[[2, 0, 3, 1]]]


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
    return sorted((box for _, box in found), key=lambda box: (box[1], box[0], box[3], box[2]))
