"""Scores of several seeds with their replicates on resampled images, and paired differences of such scores."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.estimate import Estimate
from wsol.comparison.saved_maps import ScoredMap
from wsol.identity import digest
from wsol.scoring.outcomes import Outcomes
from wsol.scoring.score import Score

_EXACT_BELOW = 25  # images that one setting alone gets right; with more, McNemar's χ² is as good as the exact test


@dataclass(frozen=True)
class Measured:
    """One score of one setting, or a weighted sum of such scores, for S seeds on the same N images.

    Attributes:
        seeds: (S,) seeds; (None,) for a baseline or a network as it is, which no seed trained; it pairs with any seed.
        runs: (S,) the runs that each value was read from.
        values: (S,) the score of each seed.
        replicates: (S, R) the score of each seed on the same R resamples of the images.
        images: N.
        images_digest: digest of the image ids.
        lowest: smallest possible value.
        highest: largest possible value.
        hits: (S, N) which images are right, where the score is their share at one operating point; else None.
        terms_magnitude: for a sum, the weighted magnitudes of its terms, added up; else 0.
    """

    seeds: tuple[int | None, ...]
    runs: tuple[tuple[str, ...], ...]
    values: NDArray[np.float64]
    replicates: NDArray[np.float64]
    images: int
    images_digest: str
    lowest: float = 0.0
    highest: float = 1.0
    hits: NDArray[np.bool_] | None = None
    terms_magnitude: float = 0.0

    @functools.cached_property
    def estimate(self) -> Estimate:
        """Estimate over seeds and images, with its interval and p-values."""
        return Estimate(self.values, self.replicates, self.images, self.lowest, self.highest, self.terms_magnitude)

    @property
    def is_one_training(self) -> bool:
        """Whether each setting was trained once, so that the spread over seeds is unknown."""
        return len(self.seeds) == 1 and self.seeds != (None,)

    @property
    def is_known(self) -> bool:
        """Whether every seed has a value on every resample; a ratio has none where no image counts."""
        return not (np.isnan(self.values).any() or np.isnan(self.replicates).any())

    @property
    def all_runs(self) -> tuple[str, ...]:
        """Runs that the values were read from, once each."""
        return tuple(dict.fromkeys(run for runs in self.runs for run in runs))

    def minus(self, other: "Measured") -> "Measured":
        """Return the paired difference; see `weighted_sum`."""
        return weighted_sum([(1, self), (-1, other)])


def weighted_sum(terms: Sequence[tuple[float, Measured]]) -> Measured:
    """Sum scores of the same images seed by seed, over the seeds that all of them have.

    Args:
        terms: (weight, score), at least one.

    Raises:
        ValueError: if the scores have different images, or no seed in common.
    """
    if len({score.images_digest for _, score in terms}) > 1:
        raise ValueError("These are scores of different images, which cannot be compared in pairs.")
    trained = [set(score.seeds) for _, score in terms if score.seeds != (None,)]
    common = set.intersection(*trained) if trained else set()
    seeds: tuple[int | None, ...] = tuple(sorted(seed for seed in common if seed is not None)) if trained else (None,)
    if not seeds:
        raise ValueError("These scores have no seed in common, so there is no pair to compare.")
    indices = [[0 if score.seeds == (None,) else score.seeds.index(seed) for seed in seeds] for _, score in terms]
    pairs = list(zip(terms, indices, strict=True))
    ends = [sorted((weight * score.lowest, weight * score.highest)) for weight, score in terms]
    return Measured(
        seeds,
        tuple(
            tuple(dict.fromkeys(run for (_, score), index in pairs for run in score.runs[index[s]]))
            for s in range(len(seeds))
        ),
        np.sum([weight * score.values[index] for (weight, score), index in pairs], axis=0),
        np.sum([weight * score.replicates[index] for (weight, score), index in pairs], axis=0),
        terms[0][1].images,
        terms[0][1].images_digest,
        sum(low for low, _ in ends),
        sum(high for _, high in ends),
        terms_magnitude=sum(abs(weight) * score.estimate.magnitude for weight, score in terms),
    )


class McNemar(NamedTuple):
    """McNemar's test of two settings at one operating point each, on the same images, for one seed.

    It covers the variation of the images alone.
    """

    seed: int | None
    first_only: int  # images that the first setting alone gets right
    second_only: int  # images that the second setting alone gets right
    p: float


def mcnemar_tests(first: Measured, second: Measured) -> list[McNemar]:
    """Run McNemar's test for each seed that both have; empty where the score is no share at one operating point.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947. Exact where fewer than 25 images are right with one alone.
    """
    if first.hits is None or second.hits is None or first.images_digest != second.images_digest:
        return []
    tests = []
    for seed in first.seeds if second.seeds == (None,) else second.seeds:
        indices = [0 if score.seeds == (None,) else _index_of(seed, score) for score in (first, second)]
        if None in indices:
            continue
        a, b = first.hits[indices[0]], second.hits[indices[1]]
        only = int((a & ~b).sum()), int((b & ~a).sum())
        tests.append(McNemar(seed, *only, _mcnemar(*only)))
    return tests


def _mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of two counts of images that are right with one alone."""
    count = only_first + only_second
    if count < _EXACT_BELOW:
        return float(stats.binomtest(only_first, count).pvalue) if count else 1.0
    with_continuity = (abs(only_first - only_second) - 1) ** 2 / count
    return float(special.chdtrc(1, with_continuity))


def _index_of(seed: int | None, score: Measured) -> int | None:
    return score.seeds.index(seed) if seed in score.seeds else None


class OneSeed(NamedTuple):
    """One score of one map method of one run."""

    value: float
    replicates: NDArray[np.float64]
    images: int
    images_digest: str
    hits: NDArray[np.bool_] | None
    bounded: bool  # whether the score lies in [0, 1]


_DRAWING = Lock()


def resamples_of(images: int) -> ImageResamples:
    """Return the resamples that all scores on this number of images share."""
    with _DRAWING:  # threads that ask at the same time would all draw them
        return _drawn(images)


@functools.lru_cache(maxsize=4)
def _drawn(images: int) -> ImageResamples:
    made = ImageResamples(images)
    _ = made.counts
    return made


def measure_one(scored: ScoredMap, scores: Mapping[str, Score]) -> dict[str, OneSeed]:
    """Measure every score whose record is on disk, and every faithfulness measure.

    Returns:
        Name of the score -> its values; for a score whose τ the test boxes choose, also `held_out(name)`. Empty if no
        record is on disk, as the image ids are then unknown.
    """
    outcomes: dict[str, Outcomes] = {}
    ids = ""
    for name, score_outcomes, image_ids in scored.outcomes(scores):
        ids = ids or digest(image_ids.tolist())
        outcomes[name] = score_outcomes
    if not outcomes:
        return {}
    outcomes |= dict(scored.faithfulness())
    images = len(next(iter(outcomes.values())).values)
    replicates = resamples_of(images).replicates_of(list(outcomes.values()))
    return {
        name: OneSeed(score.value(), drawn, images, ids, score.hits, is_bounded(score))
        for (name, score), drawn in zip(outcomes.items(), replicates, strict=True)
    }


def is_bounded(outcomes: Outcomes) -> bool:
    """Return whether a score lies in [0, 1]: as the outcomes state, or because all values of its images do."""
    values = outcomes.values
    if outcomes.bounded is not None:
        return outcomes.bounded
    return bool(values.dtype == bool or (values.min() >= 0 and values.max() <= 1))


def gather(seeds: Iterable[tuple[ScoredMap, OneSeed]], baseline: bool) -> Measured:
    """Join the seeds of one setting, in the order of the seeds.

    Args:
        seeds: each seed's scored map and score, at least one.
        baseline: whether nothing was trained, so that the seed means nothing.

    Raises:
        ValueError: if the seeds have different images, or a seed occurs twice.
    """
    ordered = sorted(seeds, key=lambda pair: pair[0].seed)
    first = ordered[0][1]
    if len({score.images_digest for _, score in ordered}) > 1:
        raise ValueError(f"{ordered[0][0].run} and the other runs of its setting were tested on different images.")
    numbers = [scored.seed for scored, _ in ordered]
    twice = [scored.run for scored, _ in ordered if numbers.count(scored.seed) > 1]
    if twice:
        seed = next(number for number in numbers if numbers.count(number) > 1)
        raise ValueError(f"Seed {seed} occurs twice: {', '.join(twice)}. Delete the folder of one of the runs.")
    return Measured(
        (None,) if baseline else tuple(numbers),
        tuple((scored.run,) for scored, _ in ordered),
        np.array([score.value for _, score in ordered]),
        np.stack([score.replicates for _, score in ordered]),
        first.images,
        first.images_digest,
        0.0 if first.bounded else -np.inf,
        1.0 if first.bounded else np.inf,
        None if first.hits is None else np.stack([score.hits for _, score in ordered if score.hits is not None]),
    )
