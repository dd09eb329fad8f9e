"""No verdict comes out of rounding: claims on generated outcomes, and on the same outcomes rounded in other ways."""

import numpy as np
import pytest

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.claim import INCONCLUSIVE, REVERSED, SUPPORTED, Claim, answer
from wsol.comparison.paired_scores import Measured
from wsol.scoring.outcomes import (
    Outcomes,
    best_over_thresholds,
    mean_of,
    mean_of_known,
    ratio,
    share_of,
)
from wsol.scoring.score import Score

GAP, GMP = {"pooling": "gap", "map": "cam"}, {"pooling": "gmp", "map": "cam"}
SCORE = Score(lambda record: 0.0, "largest", "held_out")
PLACES = [(pooling, score) for score in ("loc", "other") for pooling in ("gap", "gmp")]
KINDS = {
    "share": lambda values: share_of(values > 0.5),
    "best threshold": lambda values: best_over_thresholds(values[:, None] - [0.0, 0.1, 0.2], [0.3, 0.5, 0.7]),
    "mean": mean_of,
    "mean of known": lambda values: mean_of_known(np.where(values > 0.1, values, np.nan)),
    "geometric mean": lambda values: Outcomes(
        np.stack([8 * values - 4, np.ones_like(values)], axis=1), lambda means: np.exp(ratio(means)), bounded=False
    ),
}
FLOAT_KINDS = ("mean", "mean of known", "geometric mean")
SEEDS = range(24)


def claim(direction="greater", margin=0.01, minus=True, magnitudes=False):
    other = {"other": SCORE} if minus else {}
    return Claim(
        text="A claim.",
        protocol="tight",
        score={"loc": SCORE},
        direction=direction,
        margin=margin,
        margin_reason="a test",
        first=GAP,
        second=GMP,
        minus=other,
        magnitudes=magnitudes,
    )


def measure(outcomes, resamples):
    """Measure {(pooling, score): outcomes of each seed} as `gather` does."""
    lines = {("gap", "cam"): {}, ("gmp", "cam"): {}}
    for (pooling, score), seeds in outcomes.items():
        values = np.array([outcome.value() for outcome in seeds])
        replicates = np.stack(resamples.replicates_of(seeds))
        numbers = tuple(range(len(seeds)))
        runs = tuple((f"{pooling}-s{seed}",) for seed in numbers)
        lines[pooling, "cam"][score] = Measured(
            numbers, runs, values, replicates, resamples.images, "ids", -np.inf, np.inf
        )
    return lines


def answered(asked, outcomes, resamples):
    (result,) = answer([asked], measure(outcomes, resamples), "tight")
    return result


def groups_of_no_contrast(kind, seeds, images, rng):
    """Return four groups that all differ, image by image, and whose difference of differences is 0 on every image."""
    first, second = rng.random((2, seeds, images)).round(3)
    if kind == "geometric mean":  # no difference of means is 0 but that of equal ones
        values = [first, second, first, second]
    elif kind in ("mean", "mean of known"):
        values = [0.2 + 0.4 * group for group in (first, second)] + [0.5 + 0.4 * group for group in (first, second)]
    else:  # both groups hit three more images in the first score
        more, fewer = (np.where(np.arange(images) < 3, end, [first, second]) for end in (1.0, 0.0))
        values = [*more, *fewer]
    return {place: [KINDS[kind](of_seed) for of_seed in group] for place, group in zip(PLACES, values, strict=True)}


def random_groups(kind, seeds, images, rng):
    """Return four groups that differ by anything from nothing to much."""
    easy = rng.random((seeds, images))
    centers = rng.uniform(0, rng.choice([0.02, 0.2, 0.5]), 4)
    weight = rng.choice([0.0, 0.1, 0.5])
    values = [np.clip((1 - weight) * easy + weight * rng.random(easy.shape) + center, 0, 1) for center in centers]
    return {place: [KINDS[kind](of_seed) for of_seed in group] for place, group in zip(PLACES, values, strict=True)}


def random_claim(rng, minus):
    direction, margin = str(rng.choice(["greater", "less", "equal"])), float(rng.choice([0.001, 0.01, 0.05]))
    return claim(direction, margin, minus=minus, magnitudes=minus and bool(rng.random() < 0.5))


class TestFourEqualGroups:
    @pytest.mark.parametrize("direction", ["greater", "less", "equal"])
    @pytest.mark.parametrize("magnitudes", [False, True])
    @pytest.mark.parametrize("seeds", [3, 5])
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_verdict_and_the_interval_of_no_event(self, kind, seeds, magnitudes, direction):
        outcomes = groups_of_no_contrast(kind, seeds, 12, np.random.default_rng(1))
        result = answered(claim(direction, magnitudes=magnitudes), outcomes, ImageResamples(12))
        upper = 1 - 0.025 ** (1 / 12)  # Clopper and Pearson's end for no event in 12 images: (1 - end)^12 = 2.5 %
        assert result.estimate.interval == pytest.approx((-upper, upper), abs=1e-6)
        assert result.verdict == INCONCLUSIVE
        assert result.p == 1  # 2 · 0.99^12 is more

    @pytest.mark.parametrize("seeds", [3, 4])
    def test_the_same_outcomes_four_times(self, seeds):
        group = [share_of(hits) for hits in np.random.default_rng(0).random((seeds, 12)) < 0.6]
        result = answered(claim(), dict.fromkeys(PLACES, group), ImageResamples(12))
        assert result.estimate.se == 0
        assert (result.verdict, result.p) == (INCONCLUSIVE, 1)


def assert_same(second, first, tolerance):
    assert second.verdict == first.verdict
    assert np.log(second.p) == pytest.approx(np.log(first.p), rel=tolerance, abs=tolerance, nan_ok=True)


def drawn(seed, kinds=tuple(KINDS)):
    """Return outcomes, a claim, the number of images, and the generator; of every fourth seed there is no contrast."""
    rng = np.random.default_rng(seed)
    images, seeds = int(rng.choice([5, 12, 40, 200])), int(rng.choice([3, 4, 6]))
    no_contrast = seed % 4 == 0
    make = groups_of_no_contrast if no_contrast else random_groups
    outcomes = make(rng.choice(kinds), seeds, images, rng)
    return outcomes, random_claim(rng, minus=no_contrast or bool(rng.random() < 0.7)), images, rng


def test_the_claims_below_have_all_verdicts():
    verdicts = set()
    for seed in SEEDS:
        outcomes, asked, images, _ = drawn(seed)
        verdicts.add(answered(asked, outcomes, ImageResamples(images, 200)).verdict)
    assert verdicts >= {SUPPORTED, REVERSED, INCONCLUSIVE}


def in_float32(values):
    return values.astype(np.float32).astype(np.float64)


def up(values):
    return np.where(values == 0, 0, np.nextafter(values, np.inf))  # a 0 is the mark of an image without a value


def up_or_down(values):
    towards = np.random.default_rng(0).choice([-np.inf, np.inf], values.shape)
    return np.where(values == 0, 0, np.nextafter(values, towards))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", [in_float32, up, up_or_down])
def test_outcomes_rounded_otherwise_have_the_same_verdict(change, seed):
    outcomes, asked, images, _ = drawn(seed, kinds=FLOAT_KINDS)
    rounded = {
        place: [Outcomes(change(outcome.values), outcome.combine) for outcome in group]
        for place, group in outcomes.items()
    }
    resamples = ImageResamples(images, 200)
    assert_same(answered(asked, rounded, resamples), answered(asked, outcomes, resamples), tolerance=1e-4)


def in_order(outcomes, order):
    return {
        place: [Outcomes(outcome.values[order], outcome.combine) for outcome in group]
        for place, group in outcomes.items()
    }


class TestInAnotherOrder:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_the_images_and_their_draws(self, seed):
        outcomes, asked, images, rng = drawn(seed)
        order = rng.permutation(images)
        resamples, permuted = ImageResamples(images, 200), ImageResamples(images, 200)
        permuted.counts = resamples.counts[:, order]
        result = answered(asked, in_order(outcomes, order), permuted)
        assert_same(result, answered(asked, outcomes, resamples), tolerance=1e-9)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_the_seeds(self, seed):
        outcomes, asked, images, _ = drawn(seed)
        resamples = ImageResamples(images, 200)
        backwards = {place: group[::-1] for place, group in outcomes.items()}
        assert_same(answered(asked, backwards, resamples), answered(asked, outcomes, resamples), tolerance=1e-9)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_the_images_alone(self, seed):
        # The draws stay, so each is of other images, and p moves by the noise of the draws: with 1,000 of them a
        # standard error is known to 2 %, which moves no clear verdict. Where nothing differs there is no noise.
        outcomes, asked, images, rng = drawn(seed)
        resamples = ImageResamples(images)
        first = answered(asked, outcomes, resamples)
        second = answered(asked, in_order(outcomes, rng.permutation(images)), resamples)
        if seed % 4 == 0:
            assert_same(second, first, tolerance=1e-9)
        elif first.p < 0.005 or first.p > 0.2:
            assert second.verdict == first.verdict
