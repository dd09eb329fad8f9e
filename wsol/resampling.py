"""What scores would have been on other images: the bootstrap, with the same resamples for all that is compared."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.outcomes import Outcomes

RESAMPLES = 1000  # the standard error of a standard error is then 2 % of it
_BYTES = 2**25  # of float32 weights at a time


class ImageResamples:
    """Resamples of N images with replacement: how often each image is in each of them.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6. A score is made anew from every
    resample as a whole, so that a threshold which the scored images choose is chosen anew too. As scores are functions
    of means over images, all resamples are one matrix product.

    Two objects of the same arguments hold the same resamples, so that scores of the same images are compared in pairs.
    """

    def __init__(self, images: int, resamples: int = RESAMPLES, seed: int = 0) -> None:
        """Draws nothing yet.

        Args:
            images: N, at least 1.
            resamples: R, at least 2.
            seed: of the draws.
        """
        if images < 1 or resamples < 2:
            raise ValueError(f"It takes at least 1 image and 2 resamples, got {images} and {resamples}.")
        self.images, self.resamples, self.seed = images, resamples, seed

    @cached_property
    def counts(self) -> NDArray[np.uint8]:
        """(R, N) how often each image was drawn; each row sums to N."""
        rng = np.random.default_rng(self.seed)
        drawn = (rng.integers(self.images, size=self.images) for _ in range(self.resamples))
        # An image is drawn 256 times with a probability below 1e-500, but for a single image it is drawn N = 1 times.
        return np.stack([np.bincount(one, minlength=self.images).astype(np.uint8) for one in drawn])

    def replicates(self, outcomes: Outcomes) -> NDArray[np.float32]:
        """(R,) the score of each resample.

        Raises:
            ValueError: if the outcomes are of another number of images.
        """
        (found,) = self.replicates_of([outcomes])
        return found

    def replicates_of(self, several: Sequence[Outcomes]) -> list[NDArray[np.float32]]:
        """The same of several scores, for which the resamples are gone through once."""
        for outcomes in several:
            if len(outcomes.values) != self.images:
                raise ValueError(f"The outcomes are of {len(outcomes.values)} images, the resamples of {self.images}.")
        if not several:
            return []
        values = np.concatenate([outcomes.values for outcomes in several], axis=1, dtype=np.float32)
        means = np.concatenate([weights @ values for weights in self._weights()]) / np.float32(self.images)
        ends = np.cumsum([outcomes.values.shape[1] for outcomes in several])[:-1]
        columns = np.split(means, ends, axis=1)
        return [one.combine(mean).astype(np.float32) for one, mean in zip(several, columns, strict=True)]

    def _weights(self) -> Iterator[NDArray[np.float32]]:
        rows = max(_BYTES // (4 * self.images), 1)
        for start in range(0, self.resamples, rows):
            yield self.counts[start : start + rows].astype(np.float32)
