"""Scores of several seeds with what they would have been on other images, and their differences in pairs."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.estimate import Estimate
from wsol.comparison.saved_maps import ScoredMap
from wsol.identity import digest
from wsol.scoring.outcomes import Outcomes
from wsol.scoring.score import Score

_EXACT_BELOW = 25  # images that one alone gets right; with more, McNemar's χ² is as good as the exact test


@dataclass(frozen=True)
class Measured:
    """One score of one setting, or a weighted sum of such, for S seeds on the same N images.

    Attributes:
        seeds: (S,); (None,) for what was not trained, which pairs with any seed.
        runs: (S,) the runs that each value comes from.
        values: (S,).
        replicates: (S, R) of the same resamples of the images.
        images: N.
        images_digest: stands for the image ids.
        lowest: that a value can be.
        highest: that it can be.
        hits: (S, N) which images count, where the score is their share at one operating point.
        terms_magnitude: of a sum, the magnitudes of its terms, times their weights and added up; else 0.
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
        """With its interval and p-values."""
        return Estimate(self.values, self.replicates, self.images, self.lowest, self.highest, self.terms_magnitude)

    @property
    def is_one_training(self) -> bool:
        """Whether each setting was trained once, so that nothing is known of other seeds."""
        return len(self.seeds) == 1 and self.seeds != (None,)

    @property
    def is_known(self) -> bool:
        """Has every seed a value, and on every resample? A ratio has none where no image counts."""
        return not (np.isnan(self.values).any() or np.isnan(self.replicates).any())

    @property
    def all_runs(self) -> tuple[str, ...]:
        """The runs that it comes from, once each."""
        return tuple(dict.fromkeys(run for runs in self.runs for run in runs))

    def minus(self, other: "Measured") -> "Measured":
        """The difference in pairs; see `weighted_sum`."""
        return weighted_sum([(1, self), (-1, other)])


def weighted_sum(terms: Sequence[tuple[float, Measured]]) -> Measured:
    """Scores of the same images, summed up seed by seed, over the seeds that all of them have.

    Raises:
        ValueError: if they are of other images, or have no seed in common.
    """
    if len({one.images_digest for _, one in terms}) > 1:
        raise ValueError("These are scores of different images, which cannot be compared in pairs.")
    trained = [set(one.seeds) for _, one in terms if one.seeds != (None,)]
    common = set.intersection(*trained) if trained else set()
    seeds: tuple[int | None, ...] = tuple(sorted(seed for seed in common if seed is not None)) if trained else (None,)
    if not seeds:
        raise ValueError("These scores have no seed in common, so there is no pair to compare.")
    places = [[0 if one.seeds == (None,) else one.seeds.index(seed) for seed in seeds] for _, one in terms]
    pairs = list(zip(terms, places, strict=True))
    ends = [sorted((weight * one.lowest, weight * one.highest)) for weight, one in terms]
    return Measured(
        seeds,
        tuple(
            tuple(dict.fromkeys(run for (_, one), place in pairs for run in one.runs[place[s]]))
            for s in range(len(seeds))
        ),
        np.sum([weight * one.values[place] for (weight, one), place in pairs], axis=0),
        np.sum([weight * one.replicates[place] for (weight, one), place in pairs], axis=0),
        terms[0][1].images,
        terms[0][1].images_digest,
        sum(low for low, _ in ends),
        sum(high for _, high in ends),
        terms_magnitude=sum(abs(weight) * term.estimate.magnitude for weight, term in terms),
    )


class McNemar(NamedTuple):
    """Two settings at one operating point each, on the same images, for one seed: an interval of images alone."""

    seed: int | None
    first_only: int  # images that the first alone gets right
    second_only: int
    p: float


def mcnemar_tests(first: Measured, second: Measured) -> list[McNemar]:
    """McNemar's test for each seed that both have; nothing where the score is no share at one operating point.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947. Exact where fewer than 25 images are right with one alone.
    """
    if first.hits is None or second.hits is None or first.images_digest != second.images_digest:
        return []
    found = []
    for seed in first.seeds if second.seeds == (None,) else second.seeds:
        places = [0 if one.seeds == (None,) else _place(one, seed) for one in (first, second)]
        if None in places:
            continue
        one, two = first.hits[places[0]], second.hits[places[1]]
        only = int((one & ~two).sum()), int((two & ~one).sum())
        table = [[int((one & two).sum()), only[0]], [only[1], int((~one & ~two).sum())]]
        p = 1.0 if sum(only) == 0 else float(mcnemar(table, exact=sum(only) < _EXACT_BELOW).pvalue)
        found.append(McNemar(seed, *only, p))
    return found


def _place(one: Measured, seed: int | None) -> int | None:
    return one.seeds.index(seed) if seed in one.seeds else None


class OneSeed(NamedTuple):
    """One score of one map method of one run."""

    value: float
    replicates: NDArray[np.float64]
    images: int
    images_digest: str
    hits: NDArray[np.bool_] | None
    bounded: bool  # by 0 and 1


_DRAWING = Lock()


def resamples_of(images: int) -> ImageResamples:
    """The resamples that all scores of so many images are read on."""
    with _DRAWING:  # threads that ask together would all draw them
        return _drawn(images)


@functools.lru_cache(maxsize=4)
def _drawn(images: int) -> ImageResamples:
    made = ImageResamples(images)
    _ = made.counts
    return made


def measure_one(scored: ScoredMap, scores: Mapping[str, Score]) -> dict[str, OneSeed]:
    """Every score whose record is on disk, and what each faithfulness measure says.

    Returns:
        By name; for a score whose τ the test boxes choose, also `held_out(name)`.
    """
    outcomes: dict[str, Outcomes] = {}
    ids = ""
    for name, one, image_ids in scored.outcomes(scores):
        ids = ids or digest(image_ids.tolist())
        outcomes[name] = one
    if not outcomes:  # without a record nothing says which images they are
        return {}
    outcomes |= dict(scored.faithfulness())
    images = len(next(iter(outcomes.values())).values)
    drawn = resamples_of(images).replicates_of(list(outcomes.values()))
    return {
        name: OneSeed(one.value(), replicates, images, ids, one.hits, is_bounded(one))
        for (name, one), replicates in zip(outcomes.items(), drawn, strict=True)
    }


def is_bounded(outcomes: Outcomes) -> bool:
    """Where the score does not say so: means of values in [0, 1] lie there too."""
    values = outcomes.values
    if outcomes.bounded is not None:
        return outcomes.bounded
    return bool(values.dtype == bool or (values.min() >= 0 and values.max() <= 1))


def gather(seeds: Iterable[tuple[ScoredMap, OneSeed]], baseline: bool) -> Measured:
    """Several seeds of one setting, in the order of the seeds.

    Raises:
        ValueError: if they are of different images, or a seed comes twice.
    """
    ordered = sorted(seeds, key=lambda one: one[0].seed)
    first = ordered[0][1]
    if len({one.images_digest for _, one in ordered}) > 1:
        raise ValueError(f"{ordered[0][0].run} and the runs beside it were tested on different images.")
    numbers = [scored.seed for scored, _ in ordered]
    twice = [scored.run for scored, _ in ordered if numbers.count(scored.seed) > 1]
    if twice:
        seed = next(number for number in numbers if numbers.count(number) > 1)
        raise ValueError(f"Seed {seed} comes twice: {', '.join(twice)}.")
    return Measured(
        (None,) if baseline else tuple(numbers),
        tuple((scored.run,) for scored, _ in ordered),
        np.array([one.value for _, one in ordered]),
        np.stack([one.replicates for _, one in ordered]),
        first.images,
        first.images_digest,
        0.0 if first.bounded else -np.inf,
        1.0 if first.bounded else np.inf,
        None if first.hits is None else np.stack([one.hits for _, one in ordered if one.hits is not None]),
    )
