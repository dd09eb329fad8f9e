from fractions import Fraction

import numpy as np
import pytest

from seed_records import random_record, record_of
from wsol.comparison.diagnosis import ERROR_TYPES, error_types
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.top_k_loc import top_k_loc

TRUE = (10, 10, 20, 20)  # 100 pixels


def type_of(box, rank=0, iou_threshold=0.5, true=TRUE):
    (result,) = error_types(record_of([box], [true], rank), iou_threshold)
    return result


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (TRUE, "right"),
        ((10, 10, 15, 20), "right"),  # IoU of exactly one half
        ((10, 10, 14, 20), "too small"),  # c 0.4, p 1
        ((15, 10, 25, 14), "too small"),  # c 0.2, p of exactly one half
        ((15, 10, 25, 20), "too small"),  # as large as the object, c = p = one half
        ((10, 0, 40, 20), "too large"),  # c 1, p 1/6
        ((15, 0, 35, 20), "too large"),  # c of exactly one half, p 1/8
        ((15, 15, 25, 25), "wrong place"),  # c = p = 1/4
        ((16, 10, 26, 20), "wrong place"),  # c = p = 0.4
        ((0, 0, 10, 10), "wrong place"),  # they touch in a corner
        ((30, 30, 40, 40), "wrong place"),
        ((0, 0, 0, 0), "no box"),
        ((12, 12, 12, 18), "no box"),  # no width
        ((10, 10, 11, 11), "too small"),  # one pixel
        ((0, 0, 64, 64), "too large"),  # the whole frame
    ],
)
def test_on_paper(box, expected):
    assert type_of(box) == expected


def test_a_class_is_wrong_only_where_the_box_is_a_hit():
    assert type_of(TRUE, rank=3) == "wrong class"
    assert type_of((10, 10, 14, 20), rank=3) == "too small"
    assert type_of((0, 0, 0, 0), rank=3) == "no box"


def test_where_nothing_was_classified_no_class_is_wrong():
    assert type_of(TRUE, rank=-1) == "right"


def test_another_iou_threshold():
    assert type_of((10, 10, 16, 20)) == "right"  # IoU 0.6
    assert type_of((10, 10, 16, 20), iou_threshold=0.7) == "too small"
    assert type_of((10, 10, 14, 20), iou_threshold=0.3) == "right"


def test_a_threshold_counts_as_in_the_scores():
    # An IoU of 3/10 is a float32 just above 0.3, and a hit at δ = 0.3 by every score.
    assert type_of((10, 10, 13, 20), iou_threshold=0.3) == "right"


def test_the_operating_point_is_read():
    record = record_of([TRUE], [TRUE], thresholds=(0.1, 0.2, 0.3), point=1)
    assert error_types(record).tolist() == ["right"]


def test_boxes_of_another_threshold_are_refused():
    record = record_of([TRUE], [TRUE], thresholds=(0.1, 0.2), point=1)
    with pytest.raises(ValueError, match="at the threshold chosen on val alone"):
        error_types(record.at(0.1))
    with pytest.raises(ValueError, match="at the threshold chosen on val alone"):
        error_types(record.label_free_view())


def slow_type(box, true, rank):
    """The definition, in exact fractions."""
    width = min(box[2], true[2]) - max(box[0], true[0])
    height = min(box[3], true[3]) - max(box[1], true[1])
    both = max(width, 0) * max(height, 0)
    area = (box[2] - box[0]) * (box[3] - box[1])
    true_area = (true[2] - true[0]) * (true[3] - true[1])
    if Fraction(both, area + true_area - both) >= Fraction(1, 2):
        return "right" if rank == 0 else "wrong class"
    if area == 0:
        return "no box"
    c, p = Fraction(both, true_area), Fraction(both, area)
    if max(c, p) < Fraction(1, 2):
        return "wrong place"
    return "too small" if p >= c else "too large"


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_definition(seed):
    record = random_record(seed, images=1500)
    whole = zip(record.boxes.astype(int).tolist(), record.true_boxes.astype(int).tolist(), strict=True)
    expected = [slow_type(box, true, rank) for (box, true), rank in zip(whole, record.class_rank, strict=True)]
    result = error_types(record)
    assert result.tolist() == expected
    assert set(result) == set(ERROR_TYPES)  # every type occurs


def test_the_first_two_types_are_the_scores():
    record = random_record(7, images=1000)
    result = error_types(record)
    assert np.isin(result, ["right", "wrong class"]).mean() == gt_known_loc(record) > 0
    assert (result == "right").mean() == top_k_loc(record, 1) > 0


def test_no_image_at_all():
    empty = np.zeros((0, 4))
    assert error_types(record_of(empty, empty)).tolist() == []
