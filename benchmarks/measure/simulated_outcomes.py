"""Simulate tests of settings with known true scores, where images and seeds are both random, and crossed."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from wsol.scoring.outcomes import Combine, Outcomes, best_over_thresholds, share_of

Arm = tuple[int, float]  # number of its random effects, and its true score

# Variances of an image's easiness: for all networks, for the networks of one setting, for one network alone. They
# correlate hits about as much as those of the two heads in this project's own runs: over images, the variance of one
# seed's difference is some 3.5 times the covariance of two seeds' differences.
_OF_IMAGE, _OF_IMAGE_AND_SETTING, _OF_NETWORK = 0.36, 0.28, 0.36


@dataclass(frozen=True)
class Simulated:
    """B repeats of A arms with S networks each, tested on N images that are new in each repeat.

    Attributes:
        outcomes: outcomes of all networks at once; its `combine` returns (..., B, A, S).
        seed_effects: (E, B, A, S) random effects of the networks, as `World.network_scores` takes them.
        means: (A,) centres of the arms' effects.
    """

    outcomes: Outcomes
    seed_effects: NDArray[np.float64]
    means: NDArray[np.float64]

    def values(self) -> NDArray[np.float64]:
        """Return the score of each network, (B, A, S)."""
        return np.asarray(self.outcomes.combine(self.outcomes.values.mean(axis=0, dtype=np.float64)))


@dataclass(frozen=True)
class World(ABC):
    """A score with its variation over seeds and images.

    Attributes:
        name: name of the score.
        columns: number of means over images that the score is computed from.
        seed_sd: approximate standard deviation of a setting's score over seeds.
        paired: share of the seeds' variance that settings have in common, seed by seed.
    """

    name: ClassVar[str]
    columns: ClassVar[int]
    seed_sd: float
    paired: float = 0.0

    @abstractmethod
    def draw(self, rng: np.random.Generator, arms: Sequence[Arm], repeats: int, seeds: int, images: int) -> Simulated:
        """Draw networks and their outcomes.

        Args:
            rng: generator of all random numbers.
            arms: arms with the same first number differ in their true score alone, so that one draw serves both a test
                without an effect and one with it.
            repeats: B.
            seeds: S.
            images: N.
        """

    @abstractmethod
    def network_scores(self, simulated: Simulated) -> NDArray[np.float64]:
        """Return the score of each trained network on infinitely many images, (B, A, S)."""


@dataclass(frozen=True)
class HitsAtOnePoint(World):
    """A share of hits at one operating point.

    An image is hit where a normal latent value is above 0: the setting's mean, plus the seed's effect, plus a unit
    normal that is the sum of the image's parts. So a network's share is Φ(mean + effect), and its mean over seeds,
    whose effects have the standard deviation σ, is Φ(mean / sqrt(1 + σ²)).
    """

    name = "share"
    columns = 1

    def draw(self, rng: np.random.Generator, arms: Sequence[Arm], repeats: int, seeds: int, images: int) -> Simulated:
        """See `World`."""
        settings = [setting for setting, _ in arms]
        sigma = self.seed_sd / 0.37  # the normal density at its 65 % quantile
        effects = sigma * _seed_effects(rng, self.paired, settings, repeats, seeds)
        means = ndtri([score for _, score in arms]) * np.sqrt(1 + sigma**2)
        hits = _image_parts(rng, settings, repeats, seeds, images) > -(means[:, None] + effects).astype(np.float32)
        networks = (repeats, len(arms), seeds)
        return Simulated(_side_by_side(share_of(hits.reshape(-1)), images, networks), effects[None], means)

    def network_scores(self, simulated: Simulated) -> NDArray[np.float64]:
        """See `World`."""
        return ndtr(simulated.means[:, None] + simulated.seed_effects[0])


_TAUS = np.arange(20) / 20
_IOU = 0.5  # smallest IoU that counts as a hit
_SLOPE = 1.5  # IoU lost for each unit of τ from the peak
_LOCATION, _LOCATION_SD, _HEIGHT_SD = 0.35, 0.1, 0.25  # of one network, over images


@dataclass(frozen=True)
class BestThreshold(World):
    """A share of hits at the τ that is best for the scored images themselves, as in MaxBoxAcc.

    The IoU of an image at τ is a peak, height - 1.5 |τ - location|, whose height and location are normal: the setting's
    mean, plus the seed's effect, plus the image's parts. A height may pass 1, which no hit depends on. `seed_sd` stems
    from the height; the location varies as much in units of τ as the height in units of IoU.
    """

    name = "best τ"
    columns = len(_TAUS)

    def draw(self, rng: np.random.Generator, arms: Sequence[Arm], repeats: int, seeds: int, images: int) -> Simulated:
        """See `World`."""
        settings = [setting for setting, _ in arms]
        drawn = [_seed_effects(rng, self.paired, settings, repeats, seeds) for _ in ("height", "location")]
        sigma = _sigma_of(self.seed_sd)
        effects = sigma * np.stack(drawn)
        means = np.array([_mean_height(sigma, score) for _, score in arms])
        height, location = (_image_parts(rng, settings, repeats, seeds, images) for _ in ("height", "location"))
        height = _HEIGHT_SD * height + (means[:, None] + effects[0]).astype(np.float32)
        location = _LOCATION_SD * location + (_LOCATION + effects[1]).astype(np.float32)
        best_iou = np.abs(_TAUS.astype(np.float32) - location.reshape(-1, 1))
        best_iou *= -_SLOPE
        best_iou += height.reshape(-1, 1)
        networks = (repeats, len(arms), seeds)
        return Simulated(_side_by_side(best_over_thresholds(best_iou, [_IOU]), images, networks), effects, means)

    def network_scores(self, simulated: Simulated) -> NDArray[np.float64]:
        """See `World`."""
        height, location = simulated.seed_effects
        return _best_share(simulated.means[:, None] + height, _LOCATION + location)


@functools.cache
def _sigma_of(seed_sd: float) -> float:
    """Return the standard deviation of the seeds' heights that gives a setting's score this standard deviation."""
    step = 0.01
    middle = brentq(lambda height: float(_best_share(height, _LOCATION)) - 0.65, 0.3, 1.5)
    slope = (_best_share(middle + step, _LOCATION) - _best_share(middle - step, _LOCATION)) / (2 * step)
    return seed_sd / float(slope)


@functools.cache
def _mean_height(sigma: float, score: float) -> float:
    """Return the mean height of the setting whose networks have this mean score over seeds."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / weights.sum()

    def over_seeds(height: float) -> float:
        return float(weights @ _best_share(height + sigma * nodes[:, None], _LOCATION + sigma * nodes) @ weights)

    return float(brentq(lambda height: over_seeds(height) - score, 0.3, 1.5, xtol=1e-7))


def _best_share(height: NDArray[np.float64] | float, location: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return a network's share of hits at its best τ on infinitely many images, from its mean height and location."""
    height, location = np.broadcast_arrays(np.asarray(height), np.asarray(location))
    of_images = ndtri((np.arange(500) + 0.5) / 500)  # as many locations, equally probable
    best = np.zeros(height.shape)
    for tau in _TAUS:
        off = np.abs(tau - (location[..., None] + _LOCATION_SD * of_images))
        best = np.maximum(best, ndtr((height[..., None] - _IOU - _SLOPE * off) / _HEIGHT_SD).mean(axis=-1))
    return best


def _seed_effects(
    rng: np.random.Generator, paired: float, settings: Sequence[int], repeats: int, seeds: int
) -> NDArray[np.float64]:
    """Draw unit normals, (B, A, S)."""
    common = rng.standard_normal((repeats, 1, seeds))
    own = rng.standard_normal((repeats, 1 + max(settings), seeds))
    return (np.sqrt(paired) * common + np.sqrt(1 - paired) * own)[:, settings]


def _image_parts(
    rng: np.random.Generator, settings: Sequence[int], repeats: int, seeds: int, images: int
) -> NDArray[np.float32]:
    """Draw unit normals that are correlated over networks, (N, B, A, S)."""
    several = 1 + max(settings)
    shared = rng.standard_normal((images, repeats, 1, 1), dtype=np.float32)
    of_setting = rng.standard_normal((images, repeats, several, 1), dtype=np.float32)
    own = rng.standard_normal((images, repeats, several, seeds), dtype=np.float32)
    own *= np.float32(_OF_NETWORK**0.5)
    own += np.float32(_OF_IMAGE**0.5) * shared + np.float32(_OF_IMAGE_AND_SETTING**0.5) * of_setting
    return own[:, :, settings]


def _side_by_side(outcomes: Outcomes, images: int, networks: tuple[int, ...]) -> Outcomes:
    """Turn outcomes with a row for each network and image into columns of images, for all networks' scores at once."""
    combine_network: Combine = outcomes.combine

    def combine(means: NDArray[np.floating]) -> NDArray[np.floating]:
        return combine_network(means.reshape(*means.shape[:-1], *networks, -1))

    return Outcomes(outcomes.values.reshape(images, -1), combine)
