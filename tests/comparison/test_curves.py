from dataclasses import replace

import numpy as np
import pytest

from seed_records import iou_record, random_record
from wsol.comparison.diagnosis import IOU_THRESHOLDS, accuracy_by_iou, accuracy_by_threshold
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.max_box_acc import max_box_acc

FIRST = [[0.5, 0.8, 0.0], [0.4, 0.6, 0.2], [0.3, 0.1, 0.9], [0.6, 0.2, 0.1]]
SECOND = [[0.5, 0.5, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]


def test_accuracy_by_threshold_on_paper():
    curves = accuracy_by_threshold([iou_record(FIRST), iou_record(SECOND, point=2)])
    assert curves.tolist() == [[2 / 4, 2 / 4, 1 / 4], [1 / 4, 2 / 4, 3 / 4]]


def test_another_iou_threshold():
    assert accuracy_by_threshold([iou_record(FIRST)], 0.3).tolist() == [[4 / 4, 2 / 4, 1 / 4]]


def test_its_maximum_and_its_operating_point_are_the_scores():
    record = iou_record(np.random.default_rng(0).random((200, 30)), point=11)
    (curve,) = accuracy_by_threshold([record])
    assert curve.max() == max_box_acc(record)
    assert curve[11] == gt_known_loc(record)


def test_other_thresholds_are_refused():
    first = iou_record(FIRST, thresholds=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="Record 1 has other score-map thresholds"):
        accuracy_by_threshold([first, iou_record(FIRST, thresholds=(0.1, 0.2, 0.4))])
    with pytest.raises(ValueError, match="Record 1 has other score-map thresholds"):
        accuracy_by_threshold([first, iou_record(np.array(FIRST)[:, :2], thresholds=(0.1, 0.2))])


def test_accuracy_by_iou_on_paper():
    records = [iou_record(FIRST, point=1), iou_record(SECOND, point=0)]
    curves = accuracy_by_iou(records, [0.1, 0.2, 0.5, 0.55, 0.8, 0.9])
    assert curves.tolist() == [[1, 3 / 4, 2 / 4, 2 / 4, 1 / 4, 0], [1 / 4, 1 / 4, 1 / 4, 0, 0, 0]]


@pytest.mark.parametrize("as_array", [list, np.array])
def test_an_iou_of_exactly_delta_is_a_hit_whatever_type_delta_has(as_array):
    # 0.7 in float32 is less than in float64; the scores count it.
    record = iou_record([[0.7], [0.1], [0.3]])
    assert accuracy_by_iou([record], as_array([0.1, 0.3, 0.7])).tolist() == [[1, pytest.approx(2 / 3), 1 / 3]]


def test_accuracy_by_iou_falls_and_passes_the_score():
    record = random_record(3)
    (curve,) = accuracy_by_iou([record])
    assert (np.diff(curve) <= 0).all()
    assert curve[IOU_THRESHOLDS.index(0.5)] == gt_known_loc(record)


def test_the_iou_thresholds():
    assert len(IOU_THRESHOLDS) == 19
    assert IOU_THRESHOLDS[0] == 0.05
    assert IOU_THRESHOLDS[5] == 0.3  # not 0.30000000000000004
    assert IOU_THRESHOLDS[-1] == 0.95


@pytest.mark.parametrize("curves", [accuracy_by_threshold, accuracy_by_iou])
def test_other_images_are_refused(curves):
    first = iou_record(FIRST)
    with pytest.raises(ValueError, match="Record 1 has other images"):
        curves([first, replace(first, image_ids=first.image_ids[::-1])])
    with pytest.raises(ValueError, match="at least one record"):
        curves([])
