"""Intervals and p-values that cover both sources of variation: the test images and the training seeds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95  # of all intervals
_MOST_SEEDS = 1000
_ROUNDING = 2.0**-22  # relative: twice the spacing of float32, the type of a record's outcomes
_LEAST = 1e-100  # smallest p-value; smaller ones would mean the same


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, of S trained networks on one set of N test images.

    Seeds and images are crossed: every seed's network is tested on the same images. With the seed's value y_s, of a
    score that need not be a mean, the model is that of Obuchowski and Rockette, "Hypothesis testing of diagnostic
    accuracy for multiple readers and multiple tests", Communications in Statistics 1995, with seeds for readers and
    images for cases: y_s = μ + a_s + e_s, where a_s is drawn for every seed, and the errors e_s, which stem from the
    images, have variance v and are correlated between seeds by covariance c. Then var(mean y) = MS / S + c with the
    mean square MS between seeds. v and c are estimated by resampling the images, the same for all seeds, and scoring
    every resample as a whole.

    The two parts are known to different precision: MS from S values, c from N images. So each has its own quantile,
    as in Howe, "Approximate confidence limits on the mean of X + Y where X and Y are two tabled independent random
    variables", Journal of the American Statistical Association 1974: half the interval's width is
    sqrt(t² MS / S + z² c), t of Student's distribution with S - 1 degrees of freedom and z of the normal one. The first
    part is at least z² (v - c) / S: two seeds can lie closer together than their images allow, and no interval is
    narrower than that of images alone. One quantile with Satterthwaite's or Hillis' degrees of freedom in its place
    errs too often with two or three seeds, and most of all at the small levels of Holm's correction.

    Seeds are not resampled: with two to ten seeds a bootstrap gives a spread too small by sqrt((S - 1) / S), and has
    no t quantile to correct it. Images are not resampled for each seed alone: all seeds have the same images, so the
    variation of the images does not average out over seeds. `benchmarks/measure/validate_statistics.py` measures the
    error rates of all these rules.

    With one seed the interval covers images alone: the normal interval of the resamples' standard deviation.

    Attributes:
        values: (S,) value of each seed.
        replicates: (S, R) value of each seed on the same R resamples of the images.
        images: N.
        lowest: smallest possible value.
        highest: largest possible value.
        terms_magnitude: for a sum, the weighted magnitudes of its terms, added up; else 0. Terms that cancel leave
            their rounding, which is relative to the terms and not to their sum.
    """

    values: NDArray[np.floating]
    replicates: NDArray[np.floating]
    images: int
    lowest: float = -1.0
    highest: float = 1.0
    terms_magnitude: float = 0.0

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or len(self.values) == 0 or self.replicates.shape[:1] != self.values.shape:
            raise ValueError(
                f"values must be (S,) and replicates (S, R), got {self.values.shape} and {self.replicates.shape}."
            )

    @property
    def seeds(self) -> int:
        """Number of seeds, S."""
        return len(self.values)

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; NaN for one."""
        return float(np.std(self.values, ddof=1, dtype=np.float64)) if self.seeds > 1 else float("nan")

    @cached_property
    def magnitude(self) -> float:
        """Largest absolute value of the values, replicates and terms; NaN if one of them is NaN."""
        return float(np.max([self.terms_magnitude, np.abs(self.values).max(), np.abs(self.replicates).max()]))

    @property
    def rounding(self) -> float:
        """Largest difference that rounding the outcomes to float32 can cause."""
        return _ROUNDING * self.magnitude

    @cached_property
    def never_differs(self) -> bool:
        """Whether neither images nor seeds differ by more than rounding, as where all images are right."""
        return self.se <= self.rounding

    @cached_property
    def _image_covariance(self) -> tuple[float, float]:
        """Variance of one seed's value over images, and covariance of two seeds' values."""
        covariance = np.atleast_2d(np.cov(self.replicates.astype(np.float64), ddof=1))
        own = float(np.trace(covariance)) / self.seeds
        if self.seeds == 1:
            return own, own
        return own, (float(covariance.sum()) - own * self.seeds) / (self.seeds * (self.seeds - 1))

    def _parts(self, images: int | None = None) -> tuple[float, float, float]:
        """Return the mean square between seeds, its part v - c that stems from images, and c.

        Args:
            images: the number of images to extrapolate to; None: the actual number.
        """
        own, common = self._image_covariance
        share = 1.0 if images is None else self.images / images
        common = max(common, 0.0)
        unshared = own - common
        between = 0.0 if self.seeds == 1 else max(self.std**2 - unshared * (1 - share), 0.0)
        return between, unshared * share, common * share

    @property
    def se(self) -> float:
        """Standard error of the value."""
        between, unshared, common = self._parts()
        return float(np.sqrt(max(between, unshared) / self.seeds + common))

    def half_width(self, seeds: int | None = None, images: int | None = None, tail: float = (1 - LEVEL) / 2) -> float:
        """Return half the interval's width, before the interval is cut to the possible values.

        Where `never_differs`, it is the upper end of the exact (Clopper-Pearson) interval of no event in N images.

        Args:
            seeds: the number of seeds to extrapolate to; None: the actual number.
            images: the number of images to extrapolate to; None: the actual number.
            tail: probability beyond each end.
        """
        if self.never_differs:
            count = self.images if images is None else images
            return float(proportion_confint(0, count, alpha=2 * tail, method="beta")[1])
        between, unshared, common = self._parts(images)
        normal = special.ndtri(tail) ** 2
        if self.seeds == 1:
            return float(np.sqrt(normal * (unshared + common)))
        count = self.seeds if seeds is None else seeds
        student = special.stdtrit(count - 1, tail) ** 2
        return float(np.sqrt(max(student * between, normal * unshared) / count + normal * common))

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
        if self.never_differs:  # the probability of no event in N images, if events had this frequency
            return 1.0 if distance <= self.rounding else float((1 - min(distance, 1.0)) ** self.images)
        if np.isnan(distance):
            return 1.0
        if distance <= 0:
            return 1.0 - self._tail(-distance) if distance < 0 else 0.5
        if self.half_width(tail=_LEAST) <= distance:
            return _LEAST
        log_tail = optimize.brentq(lambda x: self.half_width(tail=np.exp(x)) - distance, np.log(_LEAST), np.log(0.5))
        return float(np.exp(log_tail))

    def seeds_needed(self, distance: float) -> int | None:
        """Return the number of seeds with which half the interval's width would be below `distance`.

        None if more than 1,000 seeds would be needed, or if there is one seed, whose spread is unknown.
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
