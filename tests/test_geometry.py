import numpy as np
import pytest

from wsol.geometry import as_boxes, box_area, box_iou, from_inclusive, from_xywh, resize_boxes


def test_iou_on_paper():
    first = [[0, 0, 2, 2], [5, 5, 6, 6]]
    second = [[1, 1, 3, 3], [0, 0, 2, 2], [1, 0, 1, 9]]
    np.testing.assert_allclose(box_iou(first, second), [[1 / 7, 1, 0], [0, 0, 0]], rtol=1e-6)


def test_iou_with_no_box_is_empty():
    assert box_iou([], [[0, 0, 1, 1]]).shape == (0, 1)


def test_iou_of_empty_boxes_is_zero():
    assert box_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]).tolist() == [[0.0]]


def test_iou_counts_pixels():
    generator = np.random.default_rng(0)
    for _ in range(50):
        corners = np.sort(generator.integers(0, 12, size=(2, 2, 2)), axis=1)
        boxes = [[c[0, 0], c[0, 1], c[1, 0] + 1, c[1, 1] + 1] for c in corners]
        masks = np.zeros((2, 13, 13), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        assert box_iou(boxes[:1], boxes[1:])[0, 0] == pytest.approx(expected)


def test_conventions_meet_in_edges():
    assert from_inclusive([[0, 19, 63, 47]]).tolist() == [[0, 19, 64, 48]]
    assert from_xywh([[60, 27, 325, 304]]).tolist() == [[60, 27, 385, 331]]


def test_resizing_is_exact_and_comes_back():
    assert resize_boxes([[10, 20, 30, 40]], (100, 200), (50, 400)).tolist() == [[20, 10, 60, 20]]
    boxes = np.array([[3, 7, 90, 61], [0, 0, 333, 500]], dtype=np.float32)
    there = resize_boxes(boxes, (500, 333), (224, 224))
    np.testing.assert_allclose(resize_boxes(there, (224, 224), (500, 333)), boxes, atol=1e-4)


def test_crossed_edges_have_no_area():
    assert box_area([[5, 5, 3, 9]]).tolist() == [0]


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        as_boxes([[1, 2, 3]])
