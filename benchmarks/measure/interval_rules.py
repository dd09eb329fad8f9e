"""Rules for 95 % intervals of a difference over paired seeds and images.

`howe` is the rule of `wsol.comparison.estimate` for seeds of the same networks.

Each rule takes B repeats at once: values (B, S) of each seed, replicates (R, B, S) on the same resamples of the images,
and a random generator. It returns the ends of its intervals, (2, B), or half the width of symmetric intervals, (B,).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Rule = Callable[[Floats, Floats, np.random.Generator], Floats]

_TAIL = 0.025
_Z = float(stats.norm.isf(_TAIL))
_DRAWS = 1000


def images_only(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Use the normal interval of the bootstrap of the images, of the mean over seeds."""
    return _Z * replicates.mean(axis=2).std(axis=0, ddof=1)


def seeds_alone(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Use Student's t of the seeds' values."""
    return _t(values) * stats.sem(values, axis=1)


def nested_bootstrap(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Draw seeds with replacement, and images for each of them independently; return percentiles."""
    count, _, seeds = replicates.shape
    return _percentiles(replicates[rng.integers(count, size=(_DRAWS, seeds)), :, _drawn_seeds(seeds, rng)])


def crossed_bootstrap(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Draw seeds with replacement, and images once for all of them; return percentiles.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007.
    """
    count, _, seeds = replicates.shape
    return _percentiles(replicates[rng.integers(count, size=(_DRAWS, 1)), :, _drawn_seeds(seeds, rng)])


def few_freedom(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Multiply the model's standard error by Student's t of S - 1 degrees of freedom."""
    between, unshared, common = _parts(values, replicates)
    return _t(values) * np.sqrt(np.maximum(between, unshared) / values.shape[1] + common)


def hillis(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Multiply the model's standard error by Student's t of Hillis' degrees of freedom."""
    seeds = values.shape[1]
    between, unshared, common = _parts(values, replicates)
    between = np.maximum(between, unshared)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (between + seeds * common) ** 2 / (between**2 / (seeds - 1))
    quantile = stats.t.isf(_TAIL, np.where(between > 0, freedom, np.inf))
    return quantile * np.sqrt(between / seeds + common)


def howe(values: Floats, replicates: Floats, rng: np.random.Generator) -> Floats:
    """Multiply each part by its own quantile: Student's for the mean square between seeds, the normal one for images.

    Source: Howe, "Approximate confidence limits on the mean of X + Y where X and Y are two tabled independent random
    variables", Journal of the American Statistical Association 1974.
    """
    between, unshared, common = _parts(values, replicates)
    of_seeds = np.maximum(_t(values) ** 2 * between, _Z**2 * unshared)
    return np.sqrt(of_seeds / values.shape[1] + _Z**2 * common)


RULES: dict[str, Rule] = {
    "images only": images_only,
    "seeds alone": seeds_alone,
    "nested bootstrap": nested_bootstrap,
    "crossed bootstrap": crossed_bootstrap,
    "model, t of S − 1": few_freedom,
    "model, Hillis": hillis,
    "model, Howe": howe,
}


class _Parts(NamedTuple):
    between: Floats  # (B,) mean square between seeds
    unshared: Floats  # (B,) part of it that stems from the images
    common: Floats  # (B,) covariance of two seeds


def _parts(values: Floats, replicates: Floats) -> _Parts:
    seeds = values.shape[1]
    own = replicates.var(axis=0, ddof=1).mean(axis=1)
    common = (seeds * replicates.mean(axis=2).var(axis=0, ddof=1) - own) / (seeds - 1)
    common = np.maximum(common, 0)
    return _Parts(values.var(axis=1, ddof=1), own - common, common)


def _t(values: Floats) -> float:
    return float(stats.t.isf(_TAIL, values.shape[1] - 1))


def _drawn_seeds(seeds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(seeds, size=(_DRAWS, seeds))


def _percentiles(drawn: Floats) -> Floats:
    """Return the ends over draws of the means over seeds: (draws, S, B) -> (2, B)."""
    return np.quantile(drawn.mean(axis=1), (_TAIL, 1 - _TAIL), axis=0)
