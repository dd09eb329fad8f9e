"""Bootstrap of the test images: score every setting on the same resamples of the images."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.scoring.outcomes import Outcomes

RESAMPLES = 1000  # the standard error of a standard error is then 2 % of it
_BYTES = 2**25  # memory of the weights of one matrix product
_EXACT_BELOW = 2**24  # float32 represents all integers up to here exactly, and so sums of hits up to here


class ImageResamples:
    """Resamples of N images with replacement: how often each image is in each of them.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6. Every resample is scored as a
    whole, so that a threshold which the scored images choose is chosen again on each resample. As scores are functions
    of means over images, all resamples are one matrix product.

    Two objects with the same arguments have the same resamples, so that scores of the same images are compared in
    pairs.
    """

    def __init__(self, images: int, resamples: int = RESAMPLES, seed: int = 0) -> None:
        """Store the arguments; `counts` draws the resamples when they are first read.

        Args:
            images: N, at least 1.
            resamples: R, at least 2.
            seed: seed of the draws.

        Raises:
            ValueError: if there are too few images or resamples.
        """
        if images < 1 or resamples < 2:
            raise ValueError(f"The bootstrap needs at least 1 image and 2 resamples, got {images} and {resamples}.")
        self.images, self.resamples, self.seed = images, resamples, seed

    @cached_property
    def counts(self) -> NDArray[np.uint8]:
        """Number of times that each image was drawn, (R, N); each row sums to N."""
        rng = np.random.default_rng(self.seed)
        drawn = (rng.integers(self.images, size=self.images) for _ in range(self.resamples))
        # An image is drawn 256 times with a probability below 1e-500, but for a single image it is drawn N = 1 times.
        return np.stack([np.bincount(indices, minlength=self.images).astype(np.uint8) for indices in drawn])

    def replicates(self, outcomes: Outcomes) -> NDArray[np.float64]:
        """Return the score of each resample, (R,).

        Raises:
            ValueError: if the outcomes have another number of images than the resamples.
        """
        (scores,) = self.replicates_of([outcomes])
        return scores

    def replicates_of(self, several: Sequence[Outcomes]) -> list[NDArray[np.float64]]:
        """Return the replicates of several scores, each (R,).

        Hits are summed in float32, which is exact and takes half the time; all else is summed in float64.

        Raises:
            ValueError: if the outcomes have another number of images than the resamples.
        """
        for outcomes in several:
            if len(outcomes.values) != self.images:
                raise ValueError(
                    f"The outcomes have {len(outcomes.values)} images, but the resamples have {self.images}."
                )
        means: dict[int, NDArray[np.float64]] = {}
        for dtype in (np.float32, np.float64):
            places = [place for place, outcomes in enumerate(several) if self._dtype_of(outcomes) is dtype]
            if places:
                arrays = [several[place].values for place in places]
                values: NDArray[np.floating] = np.concatenate(arrays, axis=1, dtype=dtype)
                sums = np.concatenate([weights @ values for weights in self._weights(dtype)])
                ends = np.cumsum([array.shape[1] for array in arrays])[:-1]
                columns = np.split(sums.astype(np.float64) / self.images, ends, axis=1)
                means.update(zip(places, columns, strict=True))
        return [np.asarray(several[place].combine(means[place]), np.float64) for place in range(len(several))]

    def _dtype_of(self, outcomes: Outcomes) -> type[np.float32] | type[np.float64]:
        """Return the type whose sums over a resample are exact for hits, and float64 for all else."""
        return np.float32 if outcomes.values.dtype == bool and self.images < _EXACT_BELOW else np.float64

    def _weights(self, dtype: type[np.float32] | type[np.float64]) -> Iterator[NDArray[np.floating]]:
        rows = max(_BYTES // (np.dtype(dtype).itemsize * self.images), 1)
        for start in range(0, self.resamples, rows):
            yield self.counts[start : start + rows].astype(dtype)
