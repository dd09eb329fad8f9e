from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from config.claims import read_claim, read_claims
from wsol.comparison.claim import (
    EQUIVALENT,
    INCONCLUSIVE,
    NOT_TESTABLE,
    REVERSED,
    SUPPORTED,
    Claim,
    answer,
    needed,
)
from wsol.comparison.paired_scores import Measured
from wsol.scoring.score import Score

CONF = Path(__file__).parents[2] / "conf"
GAP, GMP = {"pooling": "gap", "map": "cam"}, {"pooling": "gmp", "map": "cam"}
SCORE = Score(lambda record: 0.0, "largest", "held_out")
LOC, OTHER = {"loc": SCORE}, {"other": SCORE}
NOISE = np.array([-1.0, 1.0]) / np.sqrt(2)  # of two resamples; their sample standard deviation is 1
IMAGES = 100
NAN = float("nan")

PROTOCOL = "or the protocol does not admit it"


def thrice(value):
    return dict.fromkeys(range(3), value)


def known(values, swing=0.0, images=IMAGES, images_digest="ids", name="gap", **bounds):
    """{seed: value}, all of which the images move together by this standard error; so they move other settings'."""
    numbers = np.array(list(values.values()))
    runs = tuple((f"{name}-s{seed}",) for seed in values)
    return Measured(tuple(values), runs, numbers, numbers[:, None] + swing * NOISE, images, images_digest, **bounds)


def pair(differences, se=0.0, images=IMAGES, score="loc"):
    """Two settings with these differences, {seed: gap - gmp}; each alone is far less certain than the difference."""
    first = {seed: 0.5 + difference for seed, difference in differences.items()}
    return {
        ("gap", "cam"): {score: known(first, 0.1 + se, images)},
        ("gmp", "cam"): {score: known(dict.fromkeys(differences, 0.5), 0.1, images, name="gmp")},
    }


def joined(*several):
    """The scores of each setting, of all of these."""
    lines = {line for measured in several for line in measured}
    return {
        line: {score: value for measured in several for score, value in measured.get(line, {}).items()}
        for line in lines
    }


def claim(direction="greater", margin=0.03, **options):
    given = {"text": "A claim.", "protocol": "tight", "score": LOC, "first": GAP, "second": GMP, **options}
    given = {"margin_reason": "a test", **given}
    return Claim(direction=direction, margin=margin, **given)


def answered(claimed, measured):
    (outcome,) = answer([claimed], measured, "tight")
    return outcome


def two_sided(z):
    return 2 * stats.norm.sf(z)


class TestDirections:
    @pytest.mark.parametrize(
        ("direction", "difference", "verdict", "z"),
        [
            ("greater", 0.06, SUPPORTED, 3),
            ("greater", 0.04, INCONCLUSIVE, 1),
            ("greater", 0.025, INCONCLUSIVE, 0.5),  # surely more than 0, which is not what was claimed
            ("greater", 0.0, EQUIVALENT, 3),
            ("greater", -0.04, INCONCLUSIVE, 1),
            ("greater", -0.06, REVERSED, 3),
            ("less", -0.06, SUPPORTED, 3),
            ("less", -0.04, INCONCLUSIVE, 1),
            ("less", -0.025, INCONCLUSIVE, 0.5),
            ("less", 0.0, EQUIVALENT, 3),
            ("less", 0.06, REVERSED, 3),
            ("equal", 0.0, SUPPORTED, 3),
            ("equal", 0.005, SUPPORTED, 2.5),
            ("equal", -0.005, SUPPORTED, 2.5),
            ("equal", 0.015, INCONCLUSIVE, 1.5),
            ("equal", 0.04, INCONCLUSIVE, 1),
            ("equal", 0.06, REVERSED, 3),
            ("equal", -0.06, REVERSED, 3),
        ],
    )
    def test_on_paper(self, direction, difference, verdict, z):
        outcome = answered(claim(direction), pair(thrice(difference), se=0.01))
        assert outcome.verdict == verdict
        assert outcome.p == pytest.approx(two_sided(z), rel=1e-6)
        assert outcome.p_holm == outcome.p
        assert outcome.distance() == pytest.approx(0.01 * z)
        assert outcome.estimate.value == pytest.approx(difference)
        assert outcome.why == ""

    @pytest.mark.parametrize("direction", ["greater", "less", "equal"])
    def test_the_verdict_is_where_the_interval_lies(self, direction):
        rng = np.random.default_rng(0)
        margin, verdicts = 0.03, set()
        above, below, band = (margin, np.inf), (-np.inf, -margin), (-margin, margin)
        regions = {
            "greater": {SUPPORTED: [above], REVERSED: [below], EQUIVALENT: [band]},
            "less": {SUPPORTED: [below], REVERSED: [above], EQUIVALENT: [band]},
            "equal": {SUPPORTED: [band], REVERSED: [above, below]},
        }[direction]
        for _ in range(100):
            center = rng.uniform(-0.1, 0.1)
            differences = {seed: center + rng.normal(0, 0.01) for seed in range(4)}
            outcome = answered(claim(direction, margin), pair(differences, se=rng.uniform(0.001, 0.02)))
            low, high = outcome.estimate.interval
            inside = [verdict for verdict, ends in regions.items() if any(a < low and high < b for a, b in ends)]
            assert [outcome.verdict] == (inside or [INCONCLUSIVE])
            verdicts.add(outcome.verdict)
        assert verdicts == {*regions, INCONCLUSIVE}

    def test_seeds_count_as_much_as_images(self):
        # 0.03, 0.05 and 0.07: z would be 2.6 with the spread known, p = 0.009; of three seeds Student's t says 0.12.
        outcome = answered(claim(margin=0.02), pair({0: 0.03, 1: 0.05, 2: 0.07}))
        assert outcome.p == pytest.approx(2 * stats.t.sf(0.03 / (0.02 / np.sqrt(3)), 2))
        assert outcome.verdict == INCONCLUSIVE

    def test_without_a_margin(self):
        assert answered(claim(margin=0.0), pair(thrice(0.03), se=0.01)).verdict == SUPPORTED

    def test_different_networks_need_no_shared_seed(self):
        measured = pair(thrice(0.06), se=0.01)
        measured["gmp", "cam"] = {"loc": known(dict.fromkeys((3, 4, 5, 6), 0.5), 0.1, name="gmp")}
        outcome = answered(claim(), measured)
        assert outcome.verdict == SUPPORTED
        assert outcome.measured.trainings == (3, 4)
        assert outcome.measured.all_runs == (*(f"gap-s{n}" for n in range(3)), *(f"gmp-s{n}" for n in range(3, 7)))

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_fewer_than_three_seeds_decide_nothing(self, seeds):
        outcome = answered(claim(), pair(dict.fromkeys(range(seeds), 0.4)))
        assert outcome.verdict == INCONCLUSIVE
        assert outcome.too_few
        assert outcome.is_one_training == (seeds == 1)
        assert np.isnan([outcome.p, outcome.p_holm]).all()


class TestEquality:
    def test_no_difference_found_is_no_equality(self):
        outcome = answered(claim("equal", 0.02), pair(thrice(0.0), se=0.05))
        assert outcome.estimate.p_value() == 1
        assert outcome.verdict == INCONCLUSIVE

    def test_a_difference_too_small_to_matter_is_equality(self):
        outcome = answered(claim("equal", 0.02), pair(thrice(0.005), se=0.001))
        assert outcome.estimate.p_value() < 0.001
        assert outcome.verdict == SUPPORTED

    @pytest.mark.parametrize("seeds", [3, 5])
    @pytest.mark.parametrize(("images", "verdict"), [(182, INCONCLUSIVE), (183, SUPPORTED)])
    def test_exactly_equal_settings(self, seeds, images, verdict):
        # No event in N images: events as frequent as 2 % would have been missed with probability 0.98 to the power of
        # N, which is below 0.025 from 183 images on.
        outcome = answered(claim("equal", 0.02), pair(dict.fromkeys(range(seeds), 0.0), images=images))
        assert outcome.verdict == verdict
        assert outcome.p == pytest.approx(2 * 0.98**images)

    @pytest.mark.parametrize("direction", ["greater", "less"])
    def test_exactly_equal_settings_do_not_differ(self, direction):
        measured = pair(thrice(0.0), images=1000)
        assert answered(claim(direction, 0.02), measured).verdict == EQUIVALENT
        assert answered(claim(direction, 0.0), measured).verdict == INCONCLUSIVE  # nothing is ruled out by that much


class TestSeveralClaims:
    Z = stats.norm.isf(0.015)  # two-sided p of 0.03

    def asked(self, others):
        """One claim with p = 0.03, beside others about scores of their own."""
        several = [claim(), *(claim(score={f"other{place}": SCORE}) for place in range(others))]
        measured = joined(
            pair(thrice(0.03 + 0.01 * self.Z), se=0.01),
            *(pair(thrice(0.035), se=0.01, score=f"other{place}") for place in range(others)),
        )
        return several, measured

    def test_alone(self):
        (outcome,) = answer(*self.asked(0), "tight")
        assert outcome.p_holm == outcome.p == pytest.approx(0.03)
        assert outcome.verdict == SUPPORTED

    def test_of_ten(self):
        outcome = answer(*self.asked(9), "tight")
        assert len(outcome) == 10
        assert outcome[0].p == pytest.approx(0.03)
        assert outcome[0].p_holm == pytest.approx(0.3)
        assert {claimed.verdict for claimed in outcome} == {INCONCLUSIVE}

    def test_those_that_are_not_testable_count(self):
        several, measured = self.asked(9)
        kept = {line: {"loc": scores["loc"]} for line, scores in measured.items()}
        outcome = answer(several, kept, "tight")
        assert [claimed.verdict for claimed in outcome] == [INCONCLUSIVE, *[NOT_TESTABLE] * 9]
        assert outcome[0].p_holm == pytest.approx(0.3)
        assert outcome[0].family == 10

    def test_the_primary_claim_is_tested_alone(self):
        (first, *others), measured = self.asked(9)
        outcome = answer([claim(primary=True), *others], measured, "tight")
        assert outcome[0].verdict == SUPPORTED
        assert outcome[0].p_holm == outcome[0].p == pytest.approx(0.03)
        assert (outcome[0].family, outcome[1].family) == (0, 9)
        again = answer([first, claim(primary=True, score=OTHER), *others], measured, "tight")
        assert again[0].p_holm == pytest.approx(0.3)  # of ten others, whatever the primary claim says

    def test_two_primary_claims(self):
        with pytest.raises(ValueError, match=r"one primary claim, got 2: A claim\. A claim\."):
            answer([claim(primary=True)] * 2, pair(thrice(0.1)), "tight")

    def test_they_stay_in_the_order_in_which_they_were_asked(self):
        several, measured = self.asked(3)
        assert [claimed.claim for claimed in answer(several[::-1], measured, "tight")] == several[::-1]

    def test_none(self):
        assert answer([], pair(thrice(0.0)), "tight") == []


class TestNotTestable:
    def why(self, claimed, measured):
        outcome = answered(claimed, measured)
        assert outcome.verdict == NOT_TESTABLE
        assert outcome.measured is None
        assert outcome.estimate is None
        assert np.isnan([outcome.p, outcome.p_holm]).all()
        assert needed(outcome) == ""
        return outcome.why

    @pytest.mark.parametrize("pooling", ["gap", "gmp"])
    def test_no_run_of_a_pooling(self, pooling):
        measured = {line: scores for line, scores in pair(thrice(0.1)).items() if line[0] != pooling}
        why = self.why(claim(), measured)
        assert f"none has pooling={pooling} " in why
        assert " map cam " in why

    def test_no_such_map(self):
        why = self.why(claim(second={"pooling": "gap", "map": "grad_cam"}), pair(thrice(0.1)))
        assert "none has pooling=gap " in why
        assert " map grad_cam " in why

    @pytest.mark.parametrize("options", [{"score": OTHER}, {"minus": OTHER}])
    def test_no_such_score(self, options):
        why = self.why(claim(**options), pair(thrice(0.1)))
        assert why == "the records of pooling=gap, map cam lack what other reads, " + PROTOCOL

    def test_a_score_of_one_group_alone(self):
        measured = pair(thrice(0.1))
        measured["gmp", "cam"] = {}
        assert self.why(claim(), measured) == "the records of pooling=gmp, map cam lack what loc reads, " + PROTOCOL

    @pytest.mark.parametrize("differences", [{0: NAN}, {0: 0.1, 1: NAN}])
    def test_a_score_without_a_value(self, differences):
        assert "the score has no value" in self.why(claim(), pair(differences))

    def test_the_second_score_without_a_value(self):
        measured = joined(pair(thrice(0.1)), pair(thrice(NAN), score="other"))
        assert "the score has no value" in self.why(claim(minus=OTHER), measured)

    def test_one_group_without_a_value(self):
        measured = {("gap", "cam"): {"loc": known(thrice(NAN))}}
        assert "the score has no value" in self.why(claim(second=None), measured)

    def test_rows_of_another_protocol(self):
        (outcome,) = answer([claim(protocol="zhou2016")], pair(thrice(0.1)), "tight")
        assert outcome.verdict == NOT_TESTABLE
        assert outcome.why == "the claim is about protocol zhou2016, and these rows are of protocol tight"

    def test_other_images(self):
        measured = pair(thrice(0.1))
        measured["gmp", "cam"] = {"loc": known(thrice(0.4), images_digest="others", name="gmp")}
        assert "different images" in self.why(claim(), measured)


def baselines(value, swing=0.0):
    """Measure both baselines alike."""
    return {
        ("none", name): {"loc": known({None: value}, swing, name="none")} for name in ("center_gaussian", "whole_frame")
    }


class TestNothingToCompare:
    @pytest.mark.parametrize("place", ["gap", "gmp"])
    @pytest.mark.parametrize(("share", "testable"), [(0.5, True), (0.51, False)])
    def test_boxes_that_cover_the_frame(self, place, share, testable):
        measured = pair(thrice(0.06), se=0.01)
        for pooling in ("gap", "gmp"):
            frames = share if pooling == place else 0.1
            measured[pooling, "cam"]["frame_share of loc"] = known(thrice(frames), name=pooling)
        outcome = answered(claim(), measured)
        assert outcome.verdict == (SUPPORTED if testable else NOT_TESTABLE)
        if not testable:
            assert outcome.why.startswith(f"51 % of the boxes of {place} cam cover over 95 % of the frame")
            assert "finer grid" in needed(outcome)
            assert outcome.estimate.value == pytest.approx(0.06)  # the number is shown all the same
            assert np.isnan(outcome.p)

    @pytest.mark.parametrize(("baseline", "verdict"), [(0.53, SUPPORTED), (0.545, NOT_TESTABLE), (0.9, NOT_TESTABLE)])
    def test_groups_that_beat_no_baseline(self, baseline, verdict):
        # GAP 56 % and GMP 50 %; the difference from a baseline has a standard error of 1 point, so 2 points are shown.
        measured = {**pair(thrice(0.06), se=0.01), **baselines(baseline, 0.1)}
        outcome = answered(claim(located_by=LOC), measured)
        assert outcome.verdict == verdict
        if verdict == NOT_TESTABLE:
            assert "neither group is shown to beat the baselines" in outcome.why
            assert f"center_gaussian {100 * baseline:.1f} %" in outcome.why
            assert "a network that localizes better than its baselines" in needed(outcome)

    def test_one_baseline_that_is_not_beaten_is_enough(self):
        measured = {**pair(thrice(0.06), se=0.01), **baselines(0.1, 0.1)}
        measured["none", "whole_frame"] = {"loc": known({None: 0.7}, 0.1, name="none")}
        assert answered(claim(located_by=LOC), measured).verdict == NOT_TESTABLE

    def test_a_claim_that_reads_no_boxes_needs_no_localization(self):
        measured = {**pair(thrice(0.06), se=0.01), **baselines(0.9, 0.1)}
        assert answered(claim(), measured).verdict == SUPPORTED


class TestReference:
    @pytest.mark.parametrize(
        ("direction", "value", "verdict", "z"),
        [
            ("greater", 1.5, SUPPORTED, 4.5),
            ("greater", 1.1, INCONCLUSIVE, 0.5),
            ("greater", 0.5, REVERSED, 4.5),
            ("less", 0.5, SUPPORTED, 4.5),
            ("less", 1.5, REVERSED, 4.5),
            ("equal", 1.5, REVERSED, 4.5),
            ("equal", 1.0, INCONCLUSIVE, 0.5),
        ],
    )
    def test_one_group_against_it_on_paper(self, direction, value, verdict, z):
        measured = {("gap", "cam"): {"loc": known(thrice(value), 0.1, highest=np.inf)}}
        outcome = answered(claim(direction, 0.05, second=None, reference=1.0), measured)
        assert outcome.verdict == verdict
        assert outcome.p == pytest.approx(two_sided(z))
        assert outcome.distance() == pytest.approx(0.1 * z)
        assert outcome.estimate.value == value  # the score as it is

    def test_zero_where_none_is_given(self):
        measured = {("gap", "cam"): {"loc": known(thrice(0.5), 0.1)}}
        assert answered(claim(second=None), measured).p == pytest.approx(two_sided(4.7))

    def test_a_baseline_has_no_seeds(self):
        measured = {
            ("gap", "cam"): {"loc": known({0: 0.5, 1: 0.7, 2: 0.6}, 0.1)},
            ("none", "center"): {"loc": known({None: 0.4}, 0.1, name="none")},
        }
        outcome = answered(claim(second={"pooling": "none", "map": "center"}), measured)
        assert outcome.estimate.value == pytest.approx(0.2)
        assert outcome.estimate.se == pytest.approx(0.1 / np.sqrt(3))  # of the seeds; the images move both alike
        assert outcome.measured.trainings == (3,)


class TestMinus:
    def test_the_difference_of_differences_on_paper(self):
        measured = {
            ("gap", "cam"): {"loc": known(thrice(0.7), 0.04), "other": known(thrice(0.5), 0.02)},
            ("gmp", "cam"): {
                "loc": known(thrice(0.5), 0.01, name="gmp"),
                "other": known(thrice(0.45), 0.01, name="gmp"),
            },
        }
        outcome = answered(claim(minus=OTHER), measured)
        assert outcome.estimate.value == pytest.approx(0.15)  # 0.2 less 0.05
        assert outcome.estimate.se == pytest.approx(0.02)  # 0.03 less 0.01
        assert outcome.p == pytest.approx(two_sided(6))
        assert outcome.verdict == SUPPORTED

    def test_over_the_seeds_that_both_scores_of_a_network_have(self):
        measured = joined(pair({0: 0.9, 1: 0.2, 2: 0.3}), pair({1: 0.1, 2: -0.1, 3: 0.9}, score="other"))
        outcome = answered(claim(minus=OTHER), measured)
        assert outcome.measured.seeds == (1, 2)
        np.testing.assert_allclose(outcome.measured.values, [0.1, 0.4])
        np.testing.assert_allclose(outcome.measured.others[0].values, 0)

    @pytest.mark.parametrize(
        ("first", "second", "size", "signed"),
        [
            (0.2, 0.05, 0.15, 0.15),
            (0.2, -0.05, 0.15, 0.25),
            (-0.2, 0.05, 0.15, -0.25),
            (-0.2, -0.05, 0.15, -0.15),
            (0.05, -0.2, -0.15, 0.25),
            (0.0, -0.05, -0.05, 0.05),
            (-0.2, 0.0, 0.2, -0.2),
        ],
    )
    def test_magnitudes_on_paper(self, first, second, size, signed):
        measured = joined(pair({0: first, 1: first}), pair({0: second, 1: second}, score="other"))
        assert answered(claim(minus=OTHER, magnitudes=True), measured).estimate.value == pytest.approx(size)
        assert answered(claim(minus=OTHER), measured).estimate.value == pytest.approx(signed)

    def test_magnitudes_take_the_sign_of_the_mean_not_of_each_seed(self):
        measured = joined(pair({0: -0.3, 1: 0.1}), pair({0: 0.0, 1: 0.0}, score="other"))
        outcome = answered(claim(minus=OTHER, magnitudes=True), measured)
        assert outcome.estimate.value == pytest.approx(0.1)  # the mean of 0.3 and -0.1

    @pytest.mark.parametrize("rounded", [0.0, 1e-17, -1e-17, 1e-8, -1e-8])
    def test_magnitudes_take_no_sign_from_rounding(self, rounded):
        measured = joined(pair(thrice(rounded), se=0.02), pair(thrice(0.05), se=0.01, score="other"))
        result = answered(claim(minus=OTHER, magnitudes=True), measured)
        assert result.estimate.value == pytest.approx(-0.05)
        assert result.estimate.se == pytest.approx(0.01)

    def test_magnitudes_move_with_the_images(self):
        # The first difference is negative, so its size falls as it rises: -0.02 and 0.01 make -0.03.
        measured = joined(pair(thrice(-0.2), se=0.02), pair(thrice(0.05), se=0.01, score="other"))
        assert answered(claim(minus=OTHER, magnitudes=True), measured).estimate.se == pytest.approx(0.03)


class TestBeside:
    def test_the_scores_of_both_groups(self):
        measured = joined(pair(thrice(0.1)), pair(thrice(0.2), score="other"))
        outcome = answered(claim(beside=OTHER), measured)
        assert list(outcome.beside) == ["loc", "other"]
        assert [claimed.estimate.value for claimed in outcome.beside["other"]] == pytest.approx([0.7, 0.5])

    def test_not_where_one_group_lacks_it(self):
        measured = pair(thrice(0.1))
        measured["gap", "cam"]["other"] = known(thrice(0.5))
        outcome = answered(claim(beside=OTHER), measured)
        assert list(outcome.beside) == ["loc"]
        assert outcome.verdict != NOT_TESTABLE

    def test_one_group(self):
        outcome = answered(claim(second=None), pair(thrice(0.1)))
        assert [claimed.estimate.value for claimed in outcome.beside["loc"]] == pytest.approx([0.6])


class TestNeeded:
    def needed(self, measured, margin=0.01):
        outcome = answered(claim(margin=margin), measured)
        assert outcome.verdict == INCONCLUSIVE
        return needed(outcome)

    def test_seeds(self):
        # Of 0.02, 0.03 and 0.04 the standard deviation is 0.01. To reach less far than 0.02: with 3 seeds t is 4.30 and
        # the half-width 0.0248; with 4 seeds it is 3.18 and 0.0159. More images change nothing.
        told = self.needed(pair({0: 0.02, 1: 0.03, 2: 0.04}))
        assert told == "4 seeds in place of 3, if the estimate stays as it is"

    def test_images(self):
        # 1.96 times 0.02 is 0.0392, to become less than 0.03: 100 images times 1.3066². More seeds change nothing.
        told = self.needed(pair(thrice(0.04), se=0.02))
        assert told == "171 images in place of 100, if the estimate stays as it is"

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_too_few_seeds(self, seeds):
        told = self.needed(pair(dict.fromkeys(range(seeds), 0.04), se=0.02))
        assert told == "at least 3 seeds of each setting, so that their spread is known"

    def test_thousands_are_set_apart(self):
        # As above with a standard error of 0.2: 100 images times 13.06643².
        assert "17,074 images in place of 100," in self.needed(pair(thrice(0.04), se=0.2))

    def test_decided_alone(self):
        several, measured = TestSeveralClaims().asked(9)
        told = needed(answer(several, measured, "tight")[0])
        assert told == "decided alone, but not when corrected for the claims asked with it: a few more seeds"

    def test_too_near(self):
        told = self.needed(pair(thrice(0.01), se=0.02))
        assert told == "the estimate lies too near the smallest difference that matters for 1,000 seeds to decide"

    @pytest.mark.parametrize("difference", [0.1, -0.1])
    def test_nothing_where_it_is_decided(self, difference):
        assert needed(answered(claim(), pair(thrice(difference), se=0.01))) == ""

    @pytest.mark.parametrize("seeds", [3, 4])
    def test_images_where_settings_are_exactly_equal(self, seeds):
        outcome = answered(claim("equal", 0.02), pair(dict.fromkeys(range(seeds), 0.0)))
        assert outcome.verdict == INCONCLUSIVE
        assert "183 images in place of 100" in needed(outcome)


class TestClaim:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"direction": "more"}, r"direction must be greater, less or equal, got 'more': A claim\."),
            ({"margin": -0.01}, r"margin must be positive, or 0 for greater and less, got -0\.01: A claim\."),
            ({"direction": "equal", "margin": 0.0}, r"margin must be positive.* got 0\.0"),
            ({"margin_reason": " "}, r"`margin_reason` must name a reason or a source of the margin 0\.03: A claim\."),
            ({"located_by": {**LOC, **OTHER}}, r"at most one in `minus` and `located_by`"),
            ({"score": {}}, r"about one score"),
            ({"score": {**LOC, **OTHER}}, r"about one score"),
            ({"minus": {"a": SCORE, "b": SCORE}}, r"at most one in `minus`"),
            ({"magnitudes": True}, r"`magnitudes` compares two differences"),
            ({"magnitudes": True, "minus": OTHER, "second": None}, r"`minus` and `second`"),
            ({"minus": OTHER, "second": None}, r"give `second`"),
            ({"reference": 1.0}, r"`reference` is for one group"),
            ({"first": {"pooling": "gap"}}, r"named by its pooling and its map, got {'pooling': 'gap'}: A claim\."),
            ({"second": {**GMP, "seed": "0"}}, r"named by its pooling and its map"),
        ],
    )
    def test_what_is_no_claim_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            claim(**options)

    @pytest.mark.parametrize(
        ("options", "quantity"),
        [
            ({}, "loc, gap cam less gmp cam"),
            ({"second": None}, "loc of gap cam"),
            ({"second": None, "reference": 1.0}, "loc of gap cam - 1"),
            ({"minus": OTHER}, "difference in loc less that in other, gap cam less gmp cam"),
            (
                {"minus": OTHER, "magnitudes": True},
                "size of the difference in loc less that in other, gap cam less gmp cam",
            ),
        ],
    )
    def test_its_quantity_in_words(self, options, quantity):
        assert claim(**options).quantity == quantity

    @pytest.mark.parametrize(
        ("direction", "region"),
        [("greater", "more than 2.5 points"), ("less", "less than −2.5 points"), ("equal", "within ±2.5 points")],
    )
    def test_its_region_in_words(self, direction, region):
        assert claim(direction, 0.025).region == region

    def test_all_that_it_reads(self):
        assert list(claim(minus=OTHER, beside={"third": SCORE}).scores) == [
            *("loc", "other", "third"),
            *("frame_share of loc", "frame_share of other"),
        ]


TEXT = """
_target_: wsol.comparison.claim.Claim
text: A claim.
first: {pooling: gap, map: cam}
second: {pooling: gmp, map: cam}
score: [gt_known_loc]
direction: greater
margin: 0.01
margin_reason: a test
protocol: tight
"""


class TestFiles:
    def test_every_file_is_a_claim(self):
        names = sorted(path.stem for path in (CONF / "claim").glob("*.yaml"))
        outcome = read_claims()
        assert len(outcome) == len(names) > 0
        options = {group: {path.stem for path in (CONF / group).glob("*.yaml")} for group in ("pooling", "maps")}
        for claimed in outcome:
            assert isinstance(claimed, Claim)
            assert all(isinstance(score, Score) for score in claimed.scores.values())
            for group in (claimed.first, claimed.second or claimed.first):
                assert group["pooling"] in options["pooling"]
                assert group["map"] in options["maps"]
            assert claimed.protocol in {path.stem for path in (CONF / "protocol").glob("*.yaml")}
        assert len({claimed.text for claimed in outcome}) == len(outcome)
        assert [claimed.text for claimed in outcome if claimed.primary] == ["GAP localizes better than GMP."]

    def test_in_the_order_that_is_asked_for(self):
        names = ["gmp_boxes_too_small", "equal_classification"]
        assert [claimed.text for claimed in read_claims(names)] == [
            "The boxes of GMP are too small.",
            "GAP and GMP classify equally well.",
        ]

    def test_none_are_none(self):
        assert read_claims([]) == []

    def test_an_unknown_claim(self):
        with pytest.raises(ValueError, match=r"no claim nope, never; claims: .*equal_classification.*gap_boxes_too"):
            read_claims(["equal_classification", "nope", "never"])

    def test_a_claim_on_paper(self):
        claimed = read_claim(f"{TEXT}minus: [gt_known_loc_20]\nbeside: [top1_loc]\n", "mine")
        assert (claimed.text, claimed.direction, claimed.margin) == ("A claim.", "greater", 0.01)
        assert (claimed.first, claimed.second) == (GAP, GMP)
        assert [list(part) for part in (claimed.score, claimed.minus, claimed.beside)] == [
            ["gt_known_loc"],
            ["gt_known_loc_20"],
            ["top1_loc"],
        ]
        assert claimed.minus["gt_known_loc_20"].threshold == 0.2

    @pytest.mark.parametrize("key", ["minus", "beside"])
    def test_an_unknown_score(self, key):
        with pytest.raises(ValueError, match=r"'mine' cannot be read: .*no score 'nope'.*gt_known_loc, .*max_box_acc,"):
            read_claim(f"{TEXT}{key}: [nope]\n", "mine")

    def test_a_file_that_lists_scores_is_none(self):
        with pytest.raises(ValueError, match=r"no score 'diagnosis'"):
            read_claim(f"{TEXT}beside: [diagnosis]\n", "mine")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (TEXT.replace("greater", "more"), r"must be greater, less or equal, got 'more'"),
            (TEXT.replace("0.01", "-1"), r"margin must be positive"),
            (TEXT.replace("0.01", "a little"), r"'mine' cannot be read"),
            (TEXT.replace("margin: 0.01", ""), r"margin"),
            (TEXT.replace("margin", "margins"), r"margins"),
            (TEXT.replace("Claim", "Guess"), r"Guess"),
            (TEXT.replace(", map: cam", ""), r"its pooling and its map"),
            (TEXT.replace("score: [gt_known_loc]", ""), r"about one score"),
            ("", r"'mine' cannot be read"),
            ("[1, 2]", r"'mine' cannot be read"),
            ("text: [", r"'mine' cannot be read"),
        ],
    )
    def test_what_is_no_claim_names_the_claim(self, text, message):
        with pytest.raises(ValueError, match=message) as raised:
            read_claim(text, "mine")
        assert "the claim 'mine' cannot be read: " in str(raised.value)
