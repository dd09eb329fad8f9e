"""Compare two methods on the same images: the difference, its 95 % interval and its p-value."""

import numpy as np

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.estimate import Estimate
from wsol.scoring.outcomes import share_of

generator = np.random.default_rng(0)
first = generator.random((3, 200)) < 0.70  # 3 seeds, 200 images: is the box right?
second = generator.random((3, 200)) < 0.60

resamples = ImageResamples(images=200)
of_first, of_second = (np.stack([resamples.replicates(share_of(seed)) for seed in hits]) for hits in (first, second))
# The images are the same for both methods; the seeds are of different networks, and so are not paired.
difference = Estimate(
    first.mean(axis=1), of_first, images=200, others=[(-second.mean(axis=1), -of_second)], counts_images=True
)
low, high = difference.interval
print(f"{difference.value:+.3f} [{low:+.3f}, {high:+.3f}], p {difference.p_value():.3g}")
