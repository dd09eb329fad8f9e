import functools

import numpy as np
import pytest

from wsol.scoring.outcomes import (
    Outcomes,
    best_over_thresholds,
    mean_of,
    mean_of_known,
    only,
    per_image,
    ratio,
    share_of,
)

# Three images at four thresholds. Hits at 0.5: 1 1 0 0 / 0 1 1 0 / 0 1 0 0; at 0.3: 1 1 1 0 / 1 1 1 0 / 0 1 1 1;
# at 0.7: 0 1 0 0 / 0 0 1 0 / 0 0 0 0.
BEST_IOU = np.array([[0.5, 0.8, 0.3, 0.0], [0.4, 0.6, 0.7, 0.1], [0.2, 0.6, 0.4, 0.3]])


def test_the_share_of_images_that_count():
    outcomes = share_of(np.array([True, False, True, True]))
    assert outcomes.value() == 0.75
    np.testing.assert_array_equal(outcomes.hits, [True, False, True, True])


def test_a_mean_has_no_hits():
    outcomes = mean_of(np.array([0.5, 1.0, 0.0]))
    assert outcomes.value() == 0.5
    assert outcomes.hits is None


def test_a_mean_is_unknown_where_one_value_is():
    assert np.isnan(mean_of(np.array([0.5, np.nan])).value())


def test_a_mean_of_those_that_are_known():
    outcomes = mean_of_known(np.array([1.0, np.nan, 0.5, np.nan]))
    assert outcomes.value() == 0.75
    assert outcomes.hits is None


def test_a_mean_of_nothing_known_is_unknown_without_a_warning():
    assert np.isnan(mean_of_known(np.array([np.nan, np.nan])).value())


def test_a_zero_that_is_known_counts():
    assert mean_of_known(np.array([0.0, 1.0, np.nan])).value() == 0.5


def test_the_best_threshold_of_one_iou():
    outcomes = best_over_thresholds(BEST_IOU, [0.5])
    assert outcomes.value() == 1.0  # at the second threshold; 1/3 at the first and third, 0 at the last
    assert outcomes.iou_thresholds == (0.5,)
    assert outcomes.hits is None  # the images choose the threshold: it is no share at one operating point


def test_an_iou_that_equals_the_threshold_is_a_hit():
    assert best_over_thresholds(np.array([[0.5], [0.49]]), [0.5]).value() == 0.5


def test_each_iou_has_its_own_best_threshold():
    outcomes = best_over_thresholds(BEST_IOU, [0.3, 0.5, 0.7])
    # 0.3: all three at the second and third; 0.5: all three at the second; 0.7: one at the second, one at the third
    assert outcomes.value() == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert outcomes.values.shape == (3, 12)


def test_at_a_threshold_that_was_chosen_elsewhere():
    outcomes = best_over_thresholds(BEST_IOU, [0.5]).at([2])
    assert outcomes.value() == pytest.approx(1 / 3)
    np.testing.assert_array_equal(outcomes.hits, [False, True, False])  # now it is one operating point
    assert outcomes.iou_thresholds == ()


def test_at_a_threshold_for_each_iou():
    outcomes = best_over_thresholds(BEST_IOU, [0.3, 0.5, 0.7]).at([3, 0, 1])
    assert outcomes.value() == pytest.approx((1 / 3 + 1 / 3 + 1 / 3) / 3)
    np.testing.assert_array_equal(outcomes.values, [[False, True, True], [False, False, False], [True, False, False]])
    assert outcomes.hits is None  # the mean of three shares


@pytest.mark.parametrize("points", [[], [1], [1, 1, 1]])
def test_a_threshold_for_each_iou_no_fewer_and_no_more(points):
    outcomes = best_over_thresholds(BEST_IOU, [0.3, 0.5])
    with pytest.raises(ValueError, match=rf"chooses 2 thresholds, got {len(points)}"):
        outcomes.at(points)


@pytest.mark.parametrize("points", [[], [0]])
def test_a_score_that_chooses_no_threshold_is_read_at_none(points):
    outcomes = share_of(np.array([True]))
    with pytest.raises(ValueError, match=r"chooses 0 thresholds"):
        outcomes.at(points)


def test_combine_takes_the_means_of_many_samples_at_once():
    means = np.random.default_rng(0).random((5, 2, 12))
    best = best_over_thresholds(BEST_IOU, [0.3, 0.5, 0.7]).combine(means)
    assert best.shape == (5, 2)
    expected = [max(means[4, 1, start : start + 4]) for start in (0, 4, 8)]
    assert best[4, 1] == pytest.approx(np.mean(expected))
    np.testing.assert_array_equal(only(means[..., :1]), means[..., 0])
    np.testing.assert_array_equal(ratio(np.array([[0.2, 0.4], [0.0, 0.0]])), [0.5, np.nan])


def test_a_mean_is_taken_in_double_precision():
    assert mean_of(np.full(10**6, 0.1, np.float32)).value() == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_a_function_of_outcomes_becomes_a_score():
    @per_image
    def above(record, level=0.5) -> Outcomes:
        """Share above the level."""
        return share_of(np.asarray(record) > level)

    assert above([0.2, 0.6, 0.9]) == pytest.approx(2 / 3)
    assert functools.partial(above, level=0.7)([0.2, 0.6, 0.9]) == pytest.approx(1 / 3)
    np.testing.assert_array_equal(above.outcomes([0.2, 0.6, 0.9]).hits, [False, True, True])
    assert above.__name__ == "above"
    assert above.__doc__ == "Share above the level."
