from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from wsol.comparison.paired_scores import (
    Measured,
    OneSeed,
    gather,
    mcnemar_tests,
    measure_one,
    resamples_of,
    weighted_sum,
)
from wsol.comparison.saved_maps import ScoredMap, ScoredOutcomes
from wsol.runs.folder import RunFolder
from wsol.scoring.outcomes import best_over_thresholds, mean_of, mean_of_known, share_of


def setting(seeds, values, images=100, images_digest="same", name="run", **options):
    """Its replicates are the values and something that differs from seed to seed."""
    values = np.array(values, dtype=np.float64)
    replicates = values[:, None] + np.arange(3) * np.arange(1, 1 + len(values))[:, None] / 64
    runs = tuple((f"{name}-{seed}",) for seed in seeds)
    return Measured(tuple(seeds), runs, values, replicates, images, images_digest, **options)


def with_hits(*hits, seeds=None):
    array = np.array(hits, dtype=bool)
    seeds = tuple(range(len(array))) if seeds is None else seeds
    return setting(seeds, array.mean(axis=1), array.shape[1], hits=array)


class TestWeightedSum:
    def test_seeds_are_paired_by_number_wherever_they_stand(self):
        first, second = setting([0, 1, 2], [0.5, 0.6, 0.7]), setting([2, 0], [0.1, 0.2])
        difference = first.minus(second)
        assert difference.seeds == (0, 2)
        np.testing.assert_allclose(difference.values, [0.5 - 0.2, 0.7 - 0.1])
        np.testing.assert_allclose(
            difference.replicates,
            [first.replicates[0] - second.replicates[1], first.replicates[2] - second.replicates[0]],
        )
        assert difference.runs == (("run-0",), ("run-2",))
        assert difference.all_runs == ("run-0", "run-2")
        assert difference.hits is None
        assert (difference.images, difference.images_digest) == (100, "same")

    def test_different_networks_have_unpaired_seeds(self):
        first, second = setting([0, 1, 2], [0.5, 0.6, 0.7]), setting([1, 2], [0.1, 0.2], name="other")
        difference = first.minus(second)
        assert difference.trainings == (3, 2)
        np.testing.assert_array_equal(difference.values, first.values)
        (other,) = difference.others
        np.testing.assert_array_equal(other.values, -second.values)
        assert difference.estimate.value == pytest.approx(0.6 - 0.15)
        assert difference.all_runs == ("run-0", "run-1", "run-2", "other-1", "other-2")

    def test_two_scores_of_each_of_two_networks(self):
        first, more = setting([0, 1], [0.5, 0.7]), setting([1, 0], [0.2, 0.1])
        second, less = (setting([0, 1], values, name="other") for values in ([0.4, 0.5], [0.1, 0.3]))
        total = first.minus(second).minus(more.minus(less))
        np.testing.assert_allclose(total.values, [0.5 - 0.1, 0.7 - 0.2])  # seed by seed in each network
        np.testing.assert_allclose(total.others[0].values, [-0.4 + 0.1, -0.5 + 0.3])

    def test_what_was_not_trained_has_no_seeds(self):
        trained, baseline = setting([3, 5], [0.5, 0.6]), setting([None], [0.2], name="baseline")
        for difference, sign in ((trained.minus(baseline), 1), (baseline.minus(trained), -1)):
            assert difference.seeds == (3, 5)
            assert difference.trainings == (2,)
            assert difference.estimate.value == pytest.approx(sign * 0.35)
        assert trained.minus(baseline).all_runs == ("run-3", "run-5", "baseline-None")

    def test_two_that_were_not_trained(self):
        difference = setting([None], [0.5]).minus(setting([None], [0.2]))
        assert difference.seeds == (None,)
        np.testing.assert_allclose(difference.values, [0.3])

    def test_weights(self):
        terms = [(0.5, setting([0, 1], [0.4, 0.6])), (2.0, setting([1, 0], [0.1, 0.2])), (-1.0, setting([1], [0.3]))]
        total = weighted_sum(terms)
        assert total.seeds == (1,)
        np.testing.assert_allclose(total.values, [0.5 * 0.6 + 2 * 0.1 - 0.3])

    def test_bounds_are_those_of_the_sum(self):
        bounded, other = setting([0], [0.5]), setting([0], [2.0], lowest=-1.0, highest=3.0)
        difference = weighted_sum([(1, bounded), (-2, other)])
        assert (difference.lowest, difference.highest) == (0 - 6, 1 + 2)
        assert (bounded.minus(bounded).lowest, bounded.minus(bounded).highest) == (-1, 1)
        unbounded = setting([0], [0.5], lowest=-np.inf, highest=np.inf).minus(bounded)
        assert (unbounded.lowest, unbounded.highest) == (-np.inf, np.inf)

    def test_a_setting_less_itself_is_nothing(self):
        score = setting([0, 1], [0.5, 0.6])
        np.testing.assert_array_equal(score.minus(score).values, 0)
        np.testing.assert_array_equal(score.minus(score).replicates, 0)

    def test_the_magnitude_is_that_of_the_terms_whatever_is_left_of_them(self):
        single = setting([0], [0.5])  # up to 0.5 + 2 / 64
        assert single.estimate.magnitude == 0.53125
        assert single.minus(single).estimate.magnitude == 2 * 0.53125
        difference = single.minus(single)
        assert weighted_sum([(1, difference), (-3, difference)]).estimate.magnitude == 8 * 0.53125

    def test_other_images_are_refused(self):
        first, second = setting([0], [0.5]), setting([0], [0.5], images_digest="other")
        with pytest.raises(ValueError, match=r"different images"):
            first.minus(second)

    def test_a_seed_that_two_of_three_have_is_none_in_common(self):
        terms = [(1, setting([0, 1], [0.5, 0.6])), (1, setting([1, 2], [0.5, 0.6])), (1, setting([2, 0], [0.5, 0.6]))]
        with pytest.raises(ValueError, match=r"no seed in common"):
            weighted_sum(terms)

    def test_the_estimate_is_of_the_same_numbers(self):
        score = setting([0, 1], [0.5, 0.75])
        assert score.estimate.value == 0.625
        assert score.estimate.images == 100
        assert (score.estimate.lowest, score.estimate.highest) == (0, 1)
        np.testing.assert_array_equal(score.estimate.replicates, score.replicates)


def hits_with(both, first_only, second_only, neither):
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    second = [True] * both + [False] * first_only + [True] * second_only + [False] * neither
    return first, second


@pytest.mark.parametrize(("seeds", "expected"), [([0], True), ([3], True), ([0, 1], False), ([None], False)])
def test_one_training_is_one_seed_of_what_was_trained(seeds, expected):
    assert setting(seeds, [0.5] * len(seeds)).is_one_training is expected


class TestMcNemar:
    def test_few_by_the_exact_test(self):
        first, second = hits_with(40, 9, 2, 49)
        (result,) = mcnemar_tests(with_hits(first), with_hits(second))
        assert result[:3] == (0, 9, 2)
        # Of 11 fair coins, 0, 1, 2 or 9, 10, 11 heads: 2 (1 + 11 + 55) / 2048.
        assert result.p == pytest.approx(134 / 2048)
        assert result.p == pytest.approx(stats.binomtest(2, 11).pvalue)

    def test_many_by_chi_square(self):
        first, second = hits_with(100, 30, 12, 58)
        (result,) = mcnemar_tests(with_hits(first), with_hits(second))
        # (|30 - 12| - 1)² / (30 + 12), with one degree of freedom
        assert result.p == pytest.approx(stats.chi2.sf(289 / 42, 1))

    @pytest.mark.parametrize(("first_only", "exact"), [(16, True), (17, False)])
    def test_the_exact_test_ends_at_24_images(self, first_only, exact):
        first, second = hits_with(10, first_only, 8, 10)
        (result,) = mcnemar_tests(with_hits(first), with_hits(second))
        total = first_only + 8
        chi_square = stats.chi2.sf((abs(first_only - 8) - 1) ** 2 / total, 1)
        assert result.p == pytest.approx(stats.binomtest(8, total).pvalue if exact else chi_square)

    def test_the_order_does_not_change_the_p_value(self):
        first, second = hits_with(100, 30, 12, 58)
        (score,), (other,) = (
            mcnemar_tests(with_hits(first), with_hits(second)),
            mcnemar_tests(with_hits(second), with_hits(first)),
        )
        assert score.p == other.p
        assert (score.first_only, score.second_only) == (other.second_only, other.first_only)

    def test_the_same_hits_are_no_evidence(self):
        score = with_hits([True, False, True])
        assert mcnemar_tests(score, score) == [(0, 0, 0, 1.0)]

    def test_a_test_for_each_seed_that_both_have(self):
        first = with_hits([1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], seeds=(0, 1, 2))
        second = with_hits([0, 0, 0, 0], [1, 0, 0, 0], seeds=(1, 0))
        result = mcnemar_tests(first, second)
        assert sorted(test[:3] for test in result) == [(0, 1, 0), (1, 4, 0)]

    def test_a_baseline_is_tested_against_every_seed(self):
        trained, baseline = with_hits([1, 1, 0], [0, 0, 0], seeds=(4, 7)), with_hits([1, 0, 0], seeds=(None,))
        assert [test[:3] for test in mcnemar_tests(trained, baseline)] == [(4, 1, 0), (7, 0, 1)]
        assert [test[:3] for test in mcnemar_tests(baseline, trained)] == [(4, 0, 1), (7, 1, 0)]

    def test_two_baselines(self):
        first, second = with_hits([1, 1, 0], seeds=(None,)), with_hits([1, 0, 0], seeds=(None,))
        assert [test[:3] for test in mcnemar_tests(first, second)] == [(None, 1, 0)]

    def test_nothing_to_test_without_hits_or_on_other_images(self):
        score, other = with_hits([1, 0, 1]), setting([0], [0.5], 3)
        assert mcnemar_tests(score, other) == []
        assert mcnemar_tests(other, score) == []
        elsewhere = setting([0], [0.5], 3, "other", hits=np.array([[True, False, True]]))
        assert mcnemar_tests(score, elsewhere) == []


def scored(seed, run=None):
    return ScoredMap(RunFolder(Path("runs") / (run or f"gap-s{seed}")), "cam", "gap", seed, {})


def one_seed(value, images=4, images_digest="same", hits=None, bounded=True):
    return OneSeed(value, np.full(5, value), images, images_digest, hits, bounded)


class TestGather:
    def test_in_the_order_of_the_seeds(self):
        hits = {seed: np.array([seed > 0, True]) for seed in (2, 0)}
        given = [(scored(2), one_seed(0.5, hits=hits[2])), (scored(0), one_seed(0.25, hits=hits[0]))]
        result = gather(given, baseline=False)
        assert result.seeds == (0, 2)
        assert result.runs == (("gap-s0",), ("gap-s2",))
        np.testing.assert_array_equal(result.values, [0.25, 0.5])
        np.testing.assert_array_equal(result.replicates[:, 0], [0.25, 0.5])
        np.testing.assert_array_equal(result.hits, [[False, True], [True, True]])
        assert (result.lowest, result.highest) == (0, 1)

    def test_a_baseline_has_no_seed(self):
        result = gather([(scored(0), one_seed(0.5))], baseline=True)
        assert result.seeds == (None,)
        assert result.hits is None

    def test_what_is_no_share_has_no_bounds(self):
        result = gather([(scored(0), one_seed(2.5, bounded=False))], baseline=False)
        assert (result.lowest, result.highest) == (-np.inf, np.inf)

    def test_a_seed_that_comes_twice_is_refused(self):
        given = [(scored(1, "one"), one_seed(0.5)), (scored(1, "other"), one_seed(0.6))]
        with pytest.raises(ValueError, match=r"Seed 1 occurs twice: one, other"):
            gather(given, baseline=False)

    def test_the_seed_that_comes_twice_is_named(self):
        given = [(scored(seed), one_seed(0.5)) for seed in (0, 1, 1)]
        with pytest.raises(ValueError, match=r"Seed 1 occurs twice"):
            gather(given, baseline=False)

    def test_different_images_are_refused(self):
        given = [(scored(0), one_seed(0.5)), (scored(1), one_seed(0.6, images_digest="other"))]
        with pytest.raises(ValueError, match=r"gap-s0 .* different images"):
            gather(given, baseline=False)


class FakeMap:
    """What a scored map says, without files."""

    def __init__(self, of_scores, of_measures=()):
        self.of_scores, self.of_measures = of_scores, of_measures

    def outcomes(self, scores):
        yield from (ScoredOutcomes(*of_score) for of_score in self.of_scores)

    def faithfulness(self):
        yield from self.of_measures


class TestMeasureOne:
    def test_every_score_with_its_replicates(self):
        ids = np.array(["a", "b", "c", "d"])
        hits = np.array([True, False, True, True])
        iou = np.array([[0.9, 0.1], [0.6, 0.1], [0.1, 0.6], [0.6, 0.6]])
        given = FakeMap(
            [("gt_known_loc", share_of(hits), ids), ("max_box_acc", best_over_thresholds(iou, [0.5]), ids)],
            [("insertion", mean_of_known(np.array([0.5, np.nan, 0.7, 0.6])))],
        )
        result = measure_one(given, {})
        assert list(result) == ["gt_known_loc", "max_box_acc", "insertion"]
        assert (result["gt_known_loc"].value, result["max_box_acc"].value) == (0.75, 0.75)
        assert result["insertion"].value == pytest.approx(0.6)
        assert len({score.images_digest for score in result.values()}) == 1
        np.testing.assert_array_equal(result["gt_known_loc"].hits, hits)
        assert result["max_box_acc"].hits is None
        for score in result.values():
            assert score.images == 4
            assert score.replicates.shape == (resamples_of(4).resamples,)

    def test_the_digest_tells_images_apart_and_their_order(self):
        digests = [
            measure_one(FakeMap([("a", share_of(np.array([True, False])), np.array(ids))]), {})["a"].images_digest
            for ids in (["a", "b"], ["b", "a"], ["a", "c"], ["a", "b"])
        ]
        assert digests[0] == digests[3]
        assert len(set(digests)) == 3

    @pytest.mark.parametrize(
        ("values", "bounded"), [([0.0, 1.0], True), ([0.0, 1.5], False), ([-0.1, 0.5], False), ([0.5, np.nan], False)]
    )
    def test_only_what_lies_between_0_and_1_is_bounded(self, values, bounded):
        outcomes = mean_of(np.array(values))
        result = measure_one(FakeMap([("a", outcomes, np.array(["a", "b"]))]), {})
        assert result["a"].bounded is bounded

    def test_resamples_are_drawn_once(self):
        assert resamples_of(7) is resamples_of(7)
        assert resamples_of(7).images == 7
