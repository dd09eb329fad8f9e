"""Compare two methods on the same images: the difference, its 95 % interval and its p-value."""

import numpy as np

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.estimate import Estimate
from wsol.scoring.outcomes import share_of

generator = np.random.default_rng(0)
first = generator.random((3, 200)) < 0.70  # 3 seeds, 200 images: is the box right?
second = generator.random((3, 200)) < 0.60

resamples = ImageResamples(images=200)
replicates = [
    resamples.replicates(share_of(a)) - resamples.replicates(share_of(b)) for a, b in zip(first, second, strict=True)
]
difference = Estimate(first.mean(axis=1) - second.mean(axis=1), np.stack(replicates), images=200)
low, high = difference.interval
print(f"{difference.value:+.3f} [{low:+.3f}, {high:+.3f}], p {difference.p_value():.3g}")
