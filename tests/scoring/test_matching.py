import numpy as np
import pytest

import reference
from wsol import threads
from wsol.data.ground_truth import GroundTruth, same_size
from wsol.geometry import box_iou
from wsol.scoring.baselines import CenterGaussians, center_gaussian, whole_frame
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.matching import best_of, true_boxes_of
from wsol.scoring.protocol import GRAD_CAM2017, REFERENCE, TIGHT


def test_one_image_on_paper():
    score_map = np.zeros((6, 6))
    score_map[0:2, 0:2], score_map[4:6, 3:6] = 0.9, 0.5
    truth = np.float32([[0, 0, 6, 6], [0, 0, 2, 2]])
    best = best_of(every(score_map, [0.2, 0.7]), truth)
    assert best.iou.tolist() == [1, 1]
    assert best.boxes.tolist() == [[0, 0, 2, 2], [0, 0, 2, 2]]
    assert best.true_index.tolist() == [1, 1]
    best = best_of(largest(score_map, [0.2, 0.7, 0.95]), truth[1:])
    assert best.iou.tolist() == [0, 1, 0]
    assert best.boxes.tolist() == [[3, 4, 6, 6], [0, 0, 2, 2], [0, 0, 0, 0]]


@pytest.mark.parametrize("rule", [every, largest])
def test_agrees_with_one_comparison_at_a_time(rule):
    generator = np.random.default_rng(1)
    truth = np.float32([[1, 1, 6, 7], [4, 2, 9, 9]])
    thresholds = np.arange(0, 1, 0.05)
    for score_map in generator.random((5, 9, 11)):
        ranges = rule(score_map, thresholds)
        best = best_of(ranges, truth)
        for t in range(len(thresholds)):
            predicted = ranges.at(t)
            each = box_iou(predicted, truth)
            assert best.iou[t] == each.max(initial=0)
            if len(predicted):
                np.testing.assert_array_equal(best.boxes[t], predicted[each.max(axis=1).argmax()])
                assert each[each.max(axis=1).argmax(), best.true_index[t]] == each.max()


def test_an_image_without_a_true_box_is_refused():
    with pytest.raises(ValueError, match="without a ground-truth box"):
        best_of(largest(np.ones((3, 3)), [0.5]), np.zeros((0, 4), np.float32))


class TestTrueBoxes:
    BOXES = np.float32([[60, 27, 385, 331], [0, 0, 500, 335]])  # of an image 500 wide and 335 high

    def test_are_cut_to_whole_pixels_of_the_reference_grid(self):
        # int(60 * 224 / 500) = 26, int(27 * 224 / 335) = 18, int(385 * ...) = 172, int(331 * ...) = 221; ends inside
        found = true_boxes_of(self.BOXES, (335, 500), REFERENCE)
        assert found.tolist() == [[26, 18, 173, 222], [0, 0, 225, 225]]

    def test_are_those_of_the_plain_version(self):
        generator = np.random.default_rng(0)
        for height, width in generator.integers(20, 1500, (50, 2)):
            x0, y0 = generator.integers(0, width - 10), generator.integers(0, height - 10)
            box = [x0, y0, generator.integers(x0 + 1, width + 1), generator.integers(y0 + 1, height + 1)]
            found = true_boxes_of(np.float32([box]), (height, width), REFERENCE) - [0, 0, 1, 1]
            assert found.tolist() == reference.true_boxes([box], (height, width)).tolist()

    def test_whole_numbers_stay_whole(self):
        sizes = np.arange(1, 1200)
        edges = np.stack([sizes, sizes, sizes, sizes], axis=1).astype(np.float32)
        for width in (125, 375, 500, 1000):  # x * 224 / width is whole for many x
            found = true_boxes_of(edges, (width, width), REFERENCE)[:, 0]
            assert found.tolist() == [int(float(x) * 224.0 / float(width)) for x in sizes]

    def test_stay_as_they_are_where_nothing_is_rounded(self):
        assert true_boxes_of(self.BOXES, (335, 500), TIGHT).tolist() == self.BOXES.tolist()
        assert true_boxes_of(self.BOXES, (335, 500), GRAD_CAM2017).tolist() == self.BOXES.tolist()


class TestBaselines:
    def test_the_gaussian_gives_squares_of_every_size_around_one_pixel(self):
        assert center_gaussian((10, 20)).max() == pytest.approx(1)
        ranges = largest(center_gaussian((64, 64)), np.arange(0, 1, 0.01))
        boxes = np.concatenate([ranges.at(t) for t in range(100)])
        inner = boxes[boxes[:, 0] > 0]
        np.testing.assert_array_equal(inner[:, 0] + inner[:, 2], 65)
        np.testing.assert_array_equal(boxes[:, :2], boxes[:, 1::-1])
        assert len(np.unique(boxes[:, 2])) > 20

    def test_the_whole_frame_is_the_whole_frame(self):
        ranges = whole_frame(np.zeros((30, 40)), [0.0, 0.5], TIGHT)
        assert [ranges.at(t).tolist() for t in (0, 1)] == [[[0, 0, 40, 30]]] * 2

    def test_gaussians_have_the_size_of_the_grid_or_else_of_the_image(self):
        truth = GroundTruth(np.array(["a"]), np.zeros(1, int), [np.float32([[0, 0, 5, 5]])], same_size(1, (10, 20)))
        assert CenterGaussians(truth, TIGHT).read(0).shape == (10, 20)
        assert CenterGaussians(truth, REFERENCE).read(0).shape == (224, 224)


def test_threads_work_a_few_items_ahead_and_no_more(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    begun = []
    results = threads.in_threads(lambda item: begun.append(item) or item * item, range(100))
    assert next(results) == 0
    assert len(begun) <= 1 + 2 * 2
    assert list(results) == [item * item for item in range(1, 100)]
    assert sorted(begun) == list(range(100))


def test_an_error_in_a_thread_stops_the_rest(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    begun = []

    def fails(item):
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        list(threads.in_threads(fails, range(100)))
    assert len(begun) < 20
