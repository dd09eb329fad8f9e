import numpy as np
import pytest

from wsol.data.formats.box_format import check_numbers, look_normalized, to_edges


def say(box_format):
    return f"say {box_format}"


def check(numbers, box_format="edges"):
    array = np.array(numbers, np.float64)
    check_numbers(array, [f"line {place}" for place in range(1, len(array) + 1)], box_format, say)


@pytest.mark.parametrize(
    ("numbers", "box_format"),
    [
        ([[4, 6, 20, 15]], "edges"),
        ([[4, 6, 19, 14]], "inclusive"),
        ([[4, 6, 16, 9]], "xywh"),
        ([[0.1, 0.2, 0.5, 0.5]], "normalized"),
    ],
)
def test_one_box_in_every_convention(numbers, box_format):
    np.testing.assert_allclose(to_edges(numbers, box_format, size=(30, 40)), [[4, 6, 20, 15]], rtol=1e-6)
    assert to_edges([], box_format, size=(30, 40)).shape == (0, 4)
    check(numbers, box_format)


def test_normalized_boxes_need_a_size():
    with pytest.raises(ValueError, match="need the size"):
        to_edges([[0, 0, 1, 1]], "normalized")


def test_many_crossed_boxes_look_like_xywh():
    with pytest.raises(
        ValueError, match=r"line 2: x1 < x0 or y1 < y0 in 2 of 3 boxes, first in \(9, 1, 5, 5\);.*say xywh"
    ):
        check([[1, 1, 5, 5], [9, 1, 5, 5], [1, 9, 5, 5]])


def test_one_crossed_box_is_a_wrong_line():
    with pytest.raises(
        ValueError, match=r"line 2: the box \(9, 1, 5, 5\) \(x0, y0, x1, y1\) is empty, as 1 of 30 boxes"
    ):
        check([[1, 1, 5, 5], [9, 1, 5, 5], *[[1, 1, 5, 5]] * 28])


def test_a_box_of_one_pixel_is_empty_as_edges_and_not_as_inclusive():
    check([[3, 3, 3, 3]], "inclusive")
    with pytest.raises(ValueError, match=r"is empty, .* if pixel \(x1, y1\) is inside, say inclusive"):
        check([[3, 3, 3, 3]])


def test_a_box_without_width_is_named():
    with pytest.raises(ValueError, match=r"line 1: the box \(3, 3, 0, 2\) \(x0, y0, width, height\) is empty"):
        check([[3, 3, 0, 2]], "xywh")


def test_pixels_that_are_said_to_be_normalized_are_named():
    with pytest.raises(ValueError, match=r"line 2: the box \(0, 0, 20, 1\) is read as normalized .* say edges"):
        check([[0, 0, 1, 1], [0, 0, 20, 1]], "normalized")
    check([[-0.1, 0, 1.2, 1]], "normalized")  # reaches out of its image, which is no sign of pixels


def test_only_if_all_coordinates_are_fractions_boxes_look_normalized():
    assert look_normalized([[0, 0, 1, 0.5]])
    assert not look_normalized([[0, 0, 1, 0.5], [0, 0, 2, 2.0]])
    assert not look_normalized(np.zeros((0, 4)))
