import numpy as np
import pytest

from wsol.baselines import baseline_boxes, center_gaussian
from wsol.boxes.every import every
from wsol.boxes.largest import largest
from wsol.geometry import box_iou
from wsol.matching import match_boxes


def test_two_images_on_paper():
    maps = np.zeros((2, 6, 6))
    maps[0, 0:2, 0:2], maps[0, 4:6, 3:6] = 0.9, 0.5
    iou, boxes = match_boxes(
        every, maps, [np.float32([[0, 0, 2, 2], [0, 0, 6, 6]]), np.float32([[0, 0, 1, 1]])], [0.2, 0.7]
    )
    assert iou.tolist() == [[1, 1], [0, 0]]
    assert boxes[0].tolist() == [[0, 0, 2, 2], [0, 0, 2, 2]]
    assert boxes[1].tolist() == [[0, 0, 0, 0]] * 2
    iou, boxes = match_boxes(largest, maps[:1], [np.float32([[0, 0, 2, 2]])], [0.2, 0.7])
    assert iou.tolist() == [[0, 1]]
    assert boxes[0].tolist() == [[3, 4, 6, 6], [0, 0, 2, 2]]


@pytest.mark.parametrize("rule", [every, largest])
def test_agrees_with_one_comparison_at_a_time(rule):
    generator = np.random.default_rng(1)
    maps = generator.random((5, 9, 11))
    truth = [np.float32([[1, 1, 6, 7], [4, 2, 9, 9]])] * 5
    thresholds = np.arange(0, 1, 0.05)
    iou, boxes = match_boxes(rule, maps, truth, thresholds)
    for n in range(5):
        for t, predicted in enumerate(rule(maps[n], thresholds)):
            each = box_iou(predicted, truth[n]).max(axis=1, initial=0)
            assert iou[n, t] == each.max(initial=0)
            if len(each):
                np.testing.assert_array_equal(boxes[n, t], predicted[each.argmax()])


def test_an_image_without_a_true_box_is_refused():
    with pytest.raises(ValueError, match="without a ground-truth box"):
        match_boxes(largest, np.ones((1, 3, 3)), [np.zeros((0, 4), np.float32)], [0.5])


def test_the_gaussian_gives_centred_squares_of_every_size():
    assert center_gaussian((10, 20)).max() == pytest.approx(1)
    boxes = np.concatenate(baseline_boxes((64, 64), largest, np.arange(0, 1, 0.01))["center_gaussian"])
    np.testing.assert_array_equal(boxes[:, 0] + boxes[:, 2], 64)
    np.testing.assert_array_equal(boxes[:, :2], boxes[:, 1::-1])
    assert len(np.unique(boxes[:, 2])) > 20


def test_the_whole_frame_is_the_whole_frame():
    frame = baseline_boxes((30, 40), every, np.array([0.0, 0.5]))["whole_frame"]
    assert [boxes.tolist() for boxes in frame] == [[[0, 0, 40, 30]]] * 2
