import numpy as np
import pytest

from wsol.comparison.diagnosis import OBJECT_COUNTS, OBJECT_SIZES, object_counts, object_sizes


def test_sizes_on_paper():
    boxes = [[0, 0, 10, 19], [0, 0, 10, 20], [0, 0, 10, 50], [0, 0, 10, 51], [0, 0, 10, 100]]  # of 1,000 pixels
    sizes = object_sizes(np.array(boxes, dtype=np.float32), (100, 10))
    assert sizes.tolist() == ["small", "medium", "medium", "large", "large"]
    assert set(sizes) == set(OBJECT_SIZES)


def test_height_comes_first():
    wide = np.array([[0, 0, 100, 10]], dtype=np.float32)
    assert object_sizes(wide, (10, 100)).tolist() == ["large"]
    with pytest.raises(ValueError, match="beyond an image of 100 x 10 pixels"):
        object_sizes(wide, (100, 10))


def test_the_last_pixel_of_inclusive_boxes_is_no_error():
    assert object_sizes(np.array([[0, 0, 225, 225]], dtype=np.float32), (224, 224)).tolist() == ["large"]


def test_boxes_of_a_larger_image_are_refused():
    with pytest.raises(ValueError, match="reach beyond an image of 64 x 64"):
        object_sizes(np.array([[10, 10, 90, 50]], dtype=np.float32), (64, 64))


def test_counts_on_paper():
    assert object_counts(np.array([1, 2, 3, 4, 90])).tolist() == ["1", "2", "3 or more", "3 or more", "3 or more"]
    assert OBJECT_COUNTS == ("1", "2", "3 or more")


def test_an_image_without_an_object_is_refused():
    with pytest.raises(ValueError, match="at least one object, got 0"):
        object_counts(np.array([2, 0]))


def test_no_image_at_all():
    assert object_sizes(np.zeros((0, 4)), (64, 64)).tolist() == []
    assert object_counts(np.zeros(0, dtype=np.int64)).tolist() == []
