"""Scores of several seeds with their replicates on resampled images, and paired differences of such scores."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.estimate import Estimate
from wsol.comparison.saved_maps import ChosenOnVal, ScoredMap
from wsol.identity import digest
from wsol.scoring.outcomes import Outcomes
from wsol.scoring.score import Score

FEWEST_SEEDS = 3  # with two, Student's quantile is 12.7: an interval would say nothing
_EXACT_BELOW = 25  # images that one setting alone gets right; with more, McNemar's χ² is as good as the exact test


@dataclass(frozen=True)
class Measured:
    """One score of one setting, or a weighted sum of such scores, on the same N images.

    A sum over one set of networks, such as two maps of the same runs, has one value for each seed. A sum over several,
    such as two heads, has the values of the first here and those of the rest in `others`.

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
        counts_images: the score is a share of images, or a sum of such shares.
        others: values of other networks whose means are added; their seeds are unpaired.
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
    counts_images: bool = False
    others: tuple["Measured", ...] = ()

    @functools.cached_property
    def estimate(self) -> Estimate:
        """Estimate over seeds and images, with its interval and p-values."""
        others = tuple((other.values, other.replicates) for other in self.others)
        return Estimate(
            self.values,
            self.replicates,
            self.images,
            self.lowest,
            self.highest,
            self.terms_magnitude,
            others,
            self.counts_images,
        )

    @property
    def groups(self) -> tuple["Measured", ...]:
        """The sets of networks whose means add up to the value."""
        return (self, *self.others)

    @property
    def trainings(self) -> tuple[int, ...]:
        """Number of networks of each group that was trained; empty for baselines alone."""
        return tuple(len(group.seeds) for group in self.groups if group.seeds != (None,))

    @property
    def is_one_training(self) -> bool:
        """Whether a setting was trained once, so that its spread over seeds is unknown."""
        return 1 in self.trainings

    @property
    def too_few(self) -> bool:
        """Whether a setting has fewer than three seeds, which give no usable interval."""
        return min(self.trainings, default=FEWEST_SEEDS) < FEWEST_SEEDS

    @property
    def is_known(self) -> bool:
        """Whether every seed has a value on every resample; a ratio has none where no image counts."""
        return not any(np.isnan(group.values).any() or np.isnan(group.replicates).any() for group in self.groups)

    @property
    def all_runs(self) -> tuple[str, ...]:
        """Runs that the values were read from, once each."""
        return tuple(dict.fromkeys(run for group in self.groups for runs in group.runs for run in runs))

    def minus(self, other: "Measured") -> "Measured":
        """Return the difference; see `weighted_sum`."""
        return weighted_sum([(1, self), (-1, other)])


def weighted_sum(terms: Sequence[tuple[float, Measured]]) -> Measured:
    """Sum scores of the same images.

    Scores that share a run are of the same networks, and are summed seed by seed, over the seeds that all of them have.
    Different networks have different seeds, even where the numbers are equal, so that only their means are summed.

    Args:
        terms: (weight, score), at least one.

    Raises:
        ValueError: if the scores have different images, or scores of the same networks have no seed in common.
    """
    if len({score.images_digest for _, score in terms}) > 1:
        raise ValueError("These are scores of different images, which cannot be compared in pairs.")
    parts = [(weight, group) for weight, score in terms for group in score.groups]
    ends = [sorted((weight * score.lowest, weight * score.highest)) for weight, score in terms]
    first, *others = sorted(map(_sum_by_seed, _by_networks(parts)), key=lambda part: part.seeds == (None,))
    return replace(
        first,
        lowest=sum(low for low, _ in ends),
        highest=sum(high for _, high in ends),
        terms_magnitude=sum(abs(weight) * score.estimate.magnitude for weight, score in terms),
        counts_images=all(score.counts_images for _, score in terms),
        others=tuple(others),
    )


Terms = list[tuple[float, Measured]]


def _by_networks(parts: Terms) -> list[Terms]:
    """Group the terms that share a run, and all baselines."""
    groups: list[tuple[set[str | None], Terms]] = []
    for weight, part in parts:
        runs: set[str | None] = {None} if part.seeds == (None,) else {run for of_seed in part.runs for run in of_seed}
        same = [group for group in groups if group[0] & runs]
        groups = [group for group in groups if not group[0] & runs]
        joined = [term for _, group in same for term in group]
        for known, _ in same:
            runs |= known
        groups.append((runs, [*joined, (weight, part)]))
    return [terms for _, terms in groups]


def _sum_by_seed(terms: Terms) -> Measured:
    """Sum scores of the same networks over the seeds that all of them have."""
    common = set.intersection(*(set(score.seeds) for _, score in terms))
    seeds = tuple(seed for seed in terms[0][1].seeds if seed in common)
    if not seeds:
        raise ValueError("These scores of the same networks have no seed in common, so there is no pair to compare.")
    pairs = [(weight, score, [score.seeds.index(seed) for seed in seeds]) for weight, score in terms]
    return Measured(
        seeds,
        tuple(
            tuple(dict.fromkeys(run for _, score, index in pairs for run in score.runs[index[s]]))
            for s in range(len(seeds))
        ),
        np.sum([weight * score.values[index] for weight, score, index in pairs], axis=0),
        np.sum([weight * score.replicates[index] for weight, score, index in pairs], axis=0),
        terms[0][1].images,
        terms[0][1].images_digest,
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
    counts_images: bool = False  # whether the score is a share of images


_DRAWING = Lock()
_OF_VAL = 1  # seed of the resamples of val, which are independent of those of test


def resamples_of(images: int, seed: int = 0) -> ImageResamples:
    """Return the resamples that all scores on this number of images share; those of `val` have a seed of their own."""
    with _DRAWING:  # threads that ask at the same time would all draw them
        return _drawn(images, seed)


@functools.lru_cache(maxsize=4)
def _drawn(images: int, seed: int) -> ImageResamples:
    made = ImageResamples(images, seed=seed)
    _ = made.counts
    return made


def measure_one(scored: ScoredMap, scores: Mapping[str, Score]) -> dict[str, OneSeed]:
    """Measure every score whose record is on disk, and every faithfulness measure.

    Where `val` chose τ, each resample of the test images is read at the τ that a resample of `val` chooses, so that the
    interval covers the sampling error of both.

    Returns:
        Name of the score -> its values; for a score whose τ the test boxes choose, also `held_out(name)`. Empty if no
        record is on disk, as the image ids are then unknown.
    """
    outcomes: dict[str, Outcomes] = {}
    chosen: dict[str, ChosenOnVal] = {}
    ids = ""
    for of_score in scored.outcomes(scores):
        ids = ids or digest(of_score.image_ids.tolist())
        outcomes[of_score.name] = of_score.outcomes
        if of_score.chosen_on_val is not None:
            chosen[of_score.name] = of_score.chosen_on_val
    if not outcomes:
        return {}
    outcomes |= dict(scored.faithfulness())
    images = len(next(iter(outcomes.values())).values)
    fixed = [name for name in outcomes if name not in chosen]
    resamples = resamples_of(images)
    replicates = dict(zip(fixed, resamples.replicates_of([outcomes[name] for name in fixed]), strict=True))
    replicates |= {name: _replicates_at_val(choice, resamples) for name, choice in chosen.items()}
    return {
        name: OneSeed(
            score.value(),
            replicates[name],
            images,
            ids,
            score.hits,
            is_bounded(score),
            score.values.dtype == bool,
        )
        for name, score in outcomes.items()
    }


def _replicates_at_val(choice: ChosenOnVal, resamples: ImageResamples) -> NDArray[np.float64]:
    """Return the score of each resample of test, at the thresholds that a resample of `val` chooses, (R,)."""
    (curves,) = resamples.replicates_of([choice.at_all])
    points = choice.points(resamples_of(choice.val_images, seed=_OF_VAL))
    rows = np.arange(len(points))[:, None]
    return np.asarray(curves[rows, np.arange(points.shape[1]), points].mean(axis=1))


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
        counts_images=first.counts_images,
    )
