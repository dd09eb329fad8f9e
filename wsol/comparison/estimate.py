"""Intervals and p-values that cover both sources of variation: the test images and the training seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

LEVEL = 0.95  # of all intervals
_MOST_SEEDS = 1000
_ROUNDING = 2.0**-22  # relative: twice the spacing of float32, the type of a record's outcomes
_LEAST = 1e-100  # smallest p-value; smaller ones would mean the same

Group = tuple[NDArray[np.floating], NDArray[np.floating]]  # values (S,) and replicates (S, R) of S networks


class _Spread(NamedTuple):
    """Spread over the seeds of one group of networks."""

    seeds: int
    between: float  # mean square between seeds
    unshared: float  # part of it that stems from the images, v - c


def _spread_of(values: NDArray[np.floating], replicates: NDArray[np.floating]) -> _Spread:
    count = len(values)
    covariance = np.cov(replicates.astype(np.float64), ddof=1)
    own = float(np.trace(covariance)) / count
    common = (float(covariance.sum()) - own * count) / (count * (count - 1))
    return _Spread(count, float(np.var(values, ddof=1, dtype=np.float64)), own - max(common, 0.0))


def _no_event(images: int, tail: float) -> float:
    """Return the upper end of the Clopper-Pearson interval of no event in N images: (1 - end)^N is the tail."""
    return float(-np.expm1(np.log(tail) / images))


@dataclass(frozen=True)
class Estimate:
    """A score, or a sum or difference of scores, of trained networks on one set of N test images.

    Seeds and images are crossed: every seed's network is tested on the same images. With the seed's value y_s, of a
    score that need not be a mean, the model is that of Obuchowski and Rockette, "Hypothesis testing of diagnostic
    accuracy for multiple readers and multiple tests", Communications in Statistics 1995, with seeds for readers and
    images for cases: y_s = μ + a_s + e_s, where a_s is drawn for every seed, and the errors e_s, which stem from the
    images, have variance v and are correlated between seeds by covariance c. Then var(mean y) = MS / S + c with the
    mean square MS between seeds. v and c are estimated by resampling the images, the same for all seeds, and scoring
    every resample as a whole.

    A difference between two settings has two groups of networks, `values` and one of `others`. A seed's number means
    nothing across settings, so seeds are not paired; images are, since all networks have the same resamples. Then
    var = Σ MS_g / S_g + C, where C is the images' variance of the sum of the means, less Σ (v_g - c_g) / S_g.

    The two parts are known to different precision: MS from S values, C from N images. So each has its own quantile,
    as in Howe, "Approximate confidence limits on the mean of X + Y where X and Y are two tabled independent random
    variables", Journal of the American Statistical Association 1974: half the interval's width is
    sqrt(t² Σ MS_g / S_g + z² C), z of the normal distribution and t of Student's. With one group t has S - 1 degrees of
    freedom; with several those of Welch, "The generalization of Student's problem when several different population
    variances are involved", Biometrika 1947. The first part is at least z² Σ (v_g - c_g) / S_g: two seeds can lie
    closer together than their images allow, and no interval is narrower than that of images alone. One quantile with
    Satterthwaite's or Hillis' degrees of freedom for both parts errs too often with two or three seeds, and most of all
    at the small levels of Holm's correction.

    Seeds are not resampled: with two to ten seeds a bootstrap gives a spread too small by sqrt((S - 1) / S), and has
    no t quantile to correct it. Images are not resampled for each seed alone: all seeds have the same images, so the
    variation of the images does not average out over seeds. `benchmarks/measure/validate_statistics.py` measures the
    error rates of all these rules.

    With one seed the interval covers images alone: the normal interval of the resamples' standard deviation.

    Attributes:
        values: (S,) value of each seed of the first group of networks.
        replicates: (S, R) value of each seed on the same R resamples of the images.
        images: N.
        lowest: smallest possible value.
        highest: largest possible value.
        terms_magnitude: for a sum, the weighted magnitudes of its terms, added up; else 0. Terms that cancel leave
            their rounding, which is relative to the terms and not to their sum.
        others: values and replicates of further groups of networks, whose means are added.
        counts_images: the score is a share of images. Its interval is then never narrower than that of no event, so
            that one miss in N images is not known better than none.
    """

    values: NDArray[np.floating]
    replicates: NDArray[np.floating]
    images: int
    lowest: float = -1.0
    highest: float = 1.0
    terms_magnitude: float = 0.0
    others: Sequence[Group] = ()
    counts_images: bool = False

    def __post_init__(self) -> None:
        for values, replicates in self._groups:
            if values.ndim != 1 or len(values) == 0 or replicates.shape[:1] != values.shape:
                raise ValueError(
                    f"values must be (S,) and replicates (S, R), got {values.shape} and {replicates.shape}."
                )

    @property
    def _groups(self) -> list[Group]:
        return [(self.values, self.replicates), *self.others]

    @property
    def seeds(self) -> int:
        """Number of seeds, S; of several groups with more than one seed, the smallest."""
        return min((len(values) for values, _ in self._groups if len(values) > 1), default=1)

    @property
    def value(self) -> float:
        """Mean over seeds, of several groups the sum of their means."""
        return float(sum(np.mean(values, dtype=np.float64) for values, _ in self._groups))

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; NaN for one seed, and for several groups, which have no pairs."""
        if self.others or len(self.values) < 2:
            return float("nan")
        return float(np.std(self.values, ddof=1, dtype=np.float64))

    @cached_property
    def _replicate_means(self) -> NDArray[np.float64]:
        """Value on each resample, (R,)."""
        return np.sum([replicates.mean(axis=0, dtype=np.float64) for _, replicates in self._groups], axis=0)

    @property
    def bias(self) -> float:
        """Bootstrap estimate of the bias: by how much the mean over resamples exceeds the value.

        Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 10. A score at the threshold
        that is best for the scored images themselves is too high, the more so the fewer images there are.
        """
        return float(self._replicate_means.mean()) - self.value

    @cached_property
    def magnitude(self) -> float:
        """Largest absolute value of the values, replicates and terms; NaN if one of them is NaN."""
        sizes = [np.abs(array).max() for group in self._groups for array in group]
        return float(np.max([self.terms_magnitude, *sizes]))

    @property
    def rounding(self) -> float:
        """Largest difference that rounding the outcomes to float32 can cause."""
        return _ROUNDING * self.magnitude

    @cached_property
    def never_differs(self) -> bool:
        """Whether neither images nor seeds differ by more than rounding, as where all images are right."""
        return self.se <= self.rounding

    @cached_property
    def _spreads(self) -> list[_Spread]:
        """Spread over seeds of each group that has more than one."""
        return [_spread_of(values, replicates) for values, replicates in self._groups if len(values) > 1]

    @cached_property
    def _common(self) -> float:
        """Variance over images that more seeds do not reduce."""
        total = float(np.var(self._replicate_means, ddof=1))
        return max(total - sum(spread.unshared / spread.seeds for spread in self._spreads), 0.0)

    @property
    def se(self) -> float:
        """Standard error of the value."""
        between = sum(spread.between / spread.seeds for spread in self._spreads)
        unshared = sum(spread.unshared / spread.seeds for spread in self._spreads)
        return float(np.sqrt(max(between, unshared) + self._common))

    def half_width(self, seeds: int | None = None, images: int | None = None, tail: float = (1 - LEVEL) / 2) -> float:
        """Return half the interval's width, before the interval is cut to the possible values.

        Where `never_differs`, it is the upper end of the exact (Clopper-Pearson) interval of no event in N images;
        where `counts_images`, it is at least that.

        Args:
            seeds: the number of seeds of each group to extrapolate to; None: the actual number.
            images: the number of images to extrapolate to; None: the actual number.
            tail: probability beyond each end.
        """
        count = self.images if images is None else images
        if self.never_differs:
            return _no_event(count, tail)
        half = self._model_half_width(seeds, count, tail)
        return max(half, _no_event(count, tail)) if self.counts_images else half

    def _model_half_width(self, seeds: int | None, images: int, tail: float) -> float:
        share = self.images / images
        between, unshared, freedom = 0.0, 0.0, 0.0
        for spread in self._spreads:
            count = spread.seeds if seeds is None else seeds
            part = max(spread.between - spread.unshared * (1 - share), 0.0) / count
            between, unshared = between + part, unshared + spread.unshared * share / count
            freedom += part**2 / (count - 1)
        normal = special.ndtri(tail) ** 2
        # A single square divided by itself leaves S - 1 up to rounding alone.
        student = special.stdtrit(between**2 / freedom, tail) ** 2 if freedom > 0 else 0.0
        return float(np.sqrt(max(student * between, normal * unshared) + normal * self._common * share))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval (low, high), cut to the possible values; NaN if unknown."""
        half = self.half_width()
        if np.isnan(half):
            return float("nan"), float("nan")
        return max(self.value - half, self.lowest), min(self.value + half, self.highest)

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value against the hypothesis that the quantity is at most `bound`."""
        return self._tail(self.value - bound)

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value against the hypothesis that the quantity is at least `bound`."""
        return self._tail(bound - self.value)

    def p_value(self, bound: float = 0.0) -> float:
        """Return the two-sided p-value against the hypothesis that the quantity is `bound`."""
        return min(1.0, 2 * min(self.p_above(bound), self.p_below(bound)))

    def _tail(self, distance: float) -> float:
        """Return the probability beyond each end of the interval whose half width is `distance`."""
        # The probability of no event in N images, if events had this frequency.
        no_event = float((1 - min(max(distance, 0.0), 1.0)) ** self.images)
        if self.never_differs:
            return 1.0 if distance <= self.rounding else no_event
        if np.isnan(distance):
            return 1.0
        if distance <= 0:
            return 1.0 - self._model_tail(-distance)
        return max(self._model_tail(distance), no_event) if self.counts_images else self._model_tail(distance)

    def _model_tail(self, distance: float) -> float:
        if distance <= 0:
            return 0.5
        if self._model_half_width(None, self.images, _LEAST) <= distance:
            return _LEAST
        log_tail = optimize.brentq(
            lambda x: self._model_half_width(None, self.images, np.exp(x)) - distance, np.log(_LEAST), np.log(0.5)
        )
        return float(np.exp(log_tail))

    def seeds_needed(self, distance: float) -> int | None:
        """Return the number of seeds with which half the interval's width would be below `distance`.

        Of each group of networks. None if more than 1,000 would be needed, or if there is one seed, whose spread is
        unknown.
        """
        if self.seeds == 1:
            return None
        for count in range(2, _MOST_SEEDS + 1):
            if self.half_width(seeds=count) < distance:
                return count
        return None

    def images_needed(self, distance: float) -> int | None:
        """Return the number of images with which half the interval's width would be below `distance`.

        None if no number of images suffices, so that more seeds are needed.
        """
        if self.half_width(images=10**12) >= distance:
            return None
        low, high = 1, 10**12
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.half_width(images=middle) < distance else (middle + 1, high)
        return low
