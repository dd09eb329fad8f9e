"""Intervals and p-values that respect both sources of variation: the test images and the training seeds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95  # of all intervals
_MOST_SEEDS = 1000
_ROUNDING = 2.0**-22  # relative: twice the spacing of float32, in which records hold what they measure of an image
_LEAST = 1e-100  # of all p-values; what is below is no different


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, of S trained networks on one set of N test images.

    Seeds and images are crossed: every seed's network is tested on the same images. With the seed's value y_s, of a
    score that need not be a mean, the model is that of Obuchowski and Rockette, "Hypothesis testing of diagnostic
    accuracy for multiple readers and multiple tests", Communications in Statistics 1995, with seeds for readers and
    images for cases: y_s = μ + a_s + e_s, where a_s is drawn anew with every seed, and the errors e_s, which come from
    the images, have variance v and are correlated between seeds by covariance c. Then var(mean y) = MS / S + c with the
    mean square MS between seeds; v and c are estimated by resampling the images, the same for all seeds, each score
    made anew as a whole.

    The two parts are known to different precision: MS from S values, c from N images. So each has its own quantile,
    as in Howe, "Approximate confidence limits on the mean of X + Y where X and Y are two tabled independent random
    variables", Journal of the American Statistical Association 1974: half the interval's width is
    sqrt(t² MS / S + z² c), t of Student's distribution with S - 1 degrees of freedom and z of the normal one. The first
    part is at least z² (v - c) / S: two seeds can lie closer together than their images allow, and no interval is
    narrower than that of images alone. One quantile with Satterthwaite's or Hillis' degrees of freedom in its place
    errs too often with two or three seeds, and most of all at the small levels of Holm's correction.

    Why not resample seeds too: of two to ten seeds a bootstrap finds a spread too small by sqrt((S - 1) / S), and has
    no t to make up for it. Why not resample images for each seed alone: they are the same images, so their variation
    does not average out over seeds. `benchmarks/measure/validate_statistics.py` measures what each comes to.

    With one seed the interval covers images alone: the normal one of the resamples' standard deviation.

    Attributes:
        values: (S,) of each seed.
        replicates: (S, R) of each seed on the same R resamples of the images.
        images: N.
        lowest: that the quantity can be.
        highest: that it can be.
        terms_magnitude: of a sum, the magnitudes of its terms, times their weights and added up; else 0. Terms that
            cancel leave their rounding, which is relative to them and not to what is left.
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
        """S."""
        return len(self.values)

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def std(self) -> float:
        """The sample standard deviation over seeds; NaN for one."""
        return float(np.std(self.values, ddof=1, dtype=np.float64)) if self.seeds > 1 else float("nan")

    @cached_property
    def magnitude(self) -> float:
        """Largest absolute value of what was summed; NaN where a value is."""
        return float(np.max([self.terms_magnitude, np.abs(self.values).max(), np.abs(self.replicates).max()]))

    @property
    def rounding(self) -> float:
        """Largest difference that may come from rounding the outcomes to float32."""
        return _ROUNDING * self.magnitude

    @cached_property
    def never_differs(self) -> bool:
        """Whether neither images nor seeds differ by more than rounding, as with 100 % right."""
        return self.se <= self.rounding

    @cached_property
    def _image_covariance(self) -> tuple[float, float]:
        """Variance of one seed's value over images, and covariance of two seeds'."""
        covariance = np.atleast_2d(np.cov(self.replicates.astype(np.float64), ddof=1))
        own = float(np.trace(covariance)) / self.seeds
        if self.seeds == 1:
            return own, own
        return own, (float(covariance.sum()) - own * self.seeds) / (self.seeds * (self.seeds - 1))

    def _parts(self, images: int | None = None) -> tuple[float, float, float]:
        """Mean square between seeds, what of it comes from the images (v - c), and c; were there so many images."""
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
        """Half the interval's width, before it is cut to what is possible.

        Where nothing differs, see `never_differs`: the upper end of the exact (Clopper-Pearson) interval of no event in
        N images.

        Args:
            seeds: what it would be with so many seeds; None: with those that there are.
            images: the same of images.
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
        """Of 95 %, cut to what is possible."""
        half = self.half_width()
        if np.isnan(half):
            return float("nan"), float("nan")
        return max(self.value - half, self.lowest), min(self.value + half, self.highest)

    def p_above(self, bound: float) -> float:
        """One-sided p-value against the hypothesis that the quantity is at most `bound`."""
        return self._tail(self.value - bound)

    def p_below(self, bound: float) -> float:
        """One-sided p-value against the hypothesis that the quantity is at least `bound`."""
        return self._tail(bound - self.value)

    def p_value(self, bound: float = 0.0) -> float:
        """Two-sided p-value against the hypothesis that the quantity is `bound`."""
        return min(1.0, 2 * min(self.p_above(bound), self.p_below(bound)))

    def _tail(self, distance: float) -> float:
        """The probability beyond each end of the interval that reaches as far as this."""
        if self.never_differs:  # no event in N images: its probability, were events that frequent
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
        """With how many seeds the interval would reach less far than `distance`, all else being as it is.

        None: with no number up to 1,000, or with one seed so far, which tells nothing of their spread.
        """
        if self.seeds == 1:
            return None
        for count in range(2, _MOST_SEEDS + 1):
            if self.half_width(seeds=count) < distance:
                return count
        return None

    def images_needed(self, distance: float) -> int | None:
        """The same of images; None: no number would do, so that it takes seeds."""
        if self.half_width(images=10**12) >= distance:
            return None
        low, high = 1, 10**12
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.half_width(images=middle) < distance else (middle + 1, high)
        return low
