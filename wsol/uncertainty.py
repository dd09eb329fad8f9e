"""Intervals and p-values that respect both sources of variation: the test images and the training seeds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95  # of all intervals
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, of S trained networks on one set of N test images.

    Seeds and images are crossed: every seed's network is tested on the same images. With the seed's value y_s, of a
    score that need not be a mean, the model is that of Obuchowski and Rockette, "Hypothesis testing of diagnostic
    accuracy for multiple readers and multiple tests", Communications in Statistics 1995, with seeds for readers and
    images for cases: y_s = μ + a_s + e_s, where a_s is drawn anew with every seed, and the errors e_s, which come from
    the images, are correlated between seeds by c. Then var(mean y) = MS / S + c with the mean square MS between seeds;
    c is estimated by resampling the images, the same for all seeds, each score made anew as a whole. The degrees of
    freedom of Student's t are those of Hillis, "A comparison of denominator degrees of freedom methods for multiple
    observer ROC analysis", Statistics in Medicine 2007: (MS + S c)² / (MS² / (S - 1)). Two bounds: c is at least 0, and
    MS at least v - c, v being the images' variance of one seed's value, since a variance of a_s is not negative.

    Why not resample seeds too: of two to ten seeds a bootstrap finds a spread too small by sqrt((S - 1) / S), and has
    no t to make up for it. Why not resample images for each seed alone: they are the same images, so their variation
    does not average out over seeds. `benchmarks/validate_statistics.py` measures what each comes to.

    With one seed the interval covers images alone: the normal one of the resamples' standard deviation.

    Attributes:
        values: (S,) of each seed.
        replicates: (S, R) of each seed on the same R resamples of the images.
        images: N.
        lowest: that the quantity can be.
        highest: that it can be.
    """

    values: NDArray[np.floating]
    replicates: NDArray[np.floating]
    images: int
    lowest: float = -1.0
    highest: float = 1.0

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
    def _image_covariance(self) -> tuple[float, float]:
        """Variance of one seed's value over images, and covariance of two seeds'."""
        covariance = np.atleast_2d(np.cov(self.replicates.astype(np.float64), ddof=1))
        own = float(np.trace(covariance)) / self.seeds
        if self.seeds == 1:
            return own, own
        return own, (float(covariance.sum()) - own * self.seeds) / (self.seeds * (self.seeds - 1))

    def spread(self, seeds: int | None = None, images: int | None = None) -> tuple[float, float]:
        """Standard error and degrees of freedom.

        Args:
            seeds: what they would be with so many seeds; None: with those that there are.
            images: the same of images.
        """
        count = self.seeds if seeds is None else seeds
        share = 1.0 if images is None else self.images / images
        own, common = self._image_covariance
        if self.seeds == 1:
            return float(np.sqrt(own * share)), np.inf
        common = max(common, 0.0)
        # MS is what seeds differ by, and the images' part that seeds do not share. Two or three seeds can lie closer
        # together than their images allow; the interval is never narrower than that of images alone.
        of_seeds = max(self.std**2 - (own - common), 0.0)
        between = of_seeds + (own - common) * share
        common *= share
        variance = between / count + common
        freedom = np.inf if between == 0 or count == 1 else (count * variance) ** 2 / (between**2 / (count - 1))
        return float(np.sqrt(variance)), float(freedom)

    @property
    def se(self) -> float:
        """Standard error of the value."""
        return self.spread()[0]

    @property
    def freedom(self) -> float:
        """Degrees of freedom; infinite where the normal distribution is meant."""
        return self.spread()[1]

    def half_width(self, seeds: int | None = None, images: int | None = None) -> float:
        """Half the interval's width, before it is cut to what is possible."""
        se, freedom = self.spread(seeds, images)
        return float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * se

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %.

        Where neither images nor seeds differ at all, as with 100 % right: the exact (Clopper-Pearson) one of no event
        in N images.
        """
        half = self.half_width()
        if np.isnan(half):
            return float("nan"), float("nan")
        if half == 0:
            half = float(proportion_confint(0, self.images, alpha=1 - LEVEL, method="beta")[1])
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
        se, freedom = self.spread()
        if se == 0:  # no event in N images: its probability, were events that frequent
            return float((1 - min(distance, 1.0)) ** self.images) if distance > 0 else 1.0
        return float(stats.t.sf(distance / se, freedom))

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
