"""Claims about two groups of runs, each answered as supported, refuted or inconclusive."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wsol.comparison.estimate import Estimate
from wsol.comparison.paired_scores import Measured, weighted_sum
from wsol.comparison.summary import holm
from wsol.scoring.score import Score

Verdict = Literal["supported", "refuted", "inconclusive", "not answered"]

Direction = Literal["greater", "less", "equal"]
Line = tuple[str, str]  # pooling and map

SUPPORTED: Verdict = "supported"
REFUTED: Verdict = "refuted"
INCONCLUSIVE: Verdict = "inconclusive"
NOT_ANSWERED: Verdict = "not answered"
_ALPHA = 0.05


@dataclass(frozen=True)
class Claim:
    """A sentence about runs, and the quantity that decides it.

    The quantity is score(first) - score(second); with `minus`, that difference of `score` less the same difference of
    `minus`. The claim names a region of it: `greater` than the margin, `less` than minus the margin, or `equal`, closer
    to 0 than the margin. The claim is supported where the 95 % interval lies inside the region, refuted where it lies
    outside, and inconclusive where it does neither. So two groups are equal only where a difference that matters is
    ruled out (the two one-sided tests of Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987), not where
    no difference was found.

    Attributes:
        text: the sentence.
        score: name of the score in tables -> its definition; exactly one.
        direction: the region that the claim names.
        margin: the smallest difference that matters, as a fraction.
        first: settings of the first group: `pooling` and `map`.
        second: settings of the second group; None to compare the score of the first group with `reference`.
        reference: the value to compare with where there is no second group.
        minus: a second score, for claims about a change of the difference.
        magnitudes: with `minus`: compare the sizes of the two differences, whatever their signs. The signs are those of
            the estimates, so that a difference near 0 counts a little too large, against a claim that it has shrunk.
        beside: further scores that are reported with the answer, without a verdict.
        source: who made the claim.
    """

    text: str
    score: Mapping[str, Score]
    direction: Direction
    margin: float
    first: Mapping[str, str]
    second: Mapping[str, str] | None = None
    reference: float = 0.0
    minus: Mapping[str, Score] = field(default_factory=dict)
    magnitudes: bool = False
    beside: Mapping[str, Score] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("greater", "less", "equal"):
            raise ValueError(f"The direction must be greater, less or equal, got {self.direction!r}: {self.text}")
        if self.margin > 1:
            raise ValueError(f"The margin is a fraction, 0.01 for one point, got {self.margin}: {self.text}")
        if self.margin < 0 or (self.direction == "equal" and self.margin == 0):
            raise ValueError(f"The margin must be positive, or 0 for greater and less, got {self.margin}: {self.text}")
        if len(self.score) != 1 or len(self.minus) > 1:
            raise ValueError(f"A claim is about one score, and at most one in `minus`: {self.text}")
        if self.magnitudes and (not self.minus or self.second is None):
            raise ValueError(f"`magnitudes` compares two differences; give `minus` and `second`: {self.text}")
        if self.minus and self.second is None:
            raise ValueError(f"`minus` is a second difference between two groups; give `second`: {self.text}")
        if self.reference and self.second is not None:
            raise ValueError(f"`reference` is for one group alone, but there is `second`: {self.text}")
        for group in (self.first, self.second):
            if group is not None and set(group) != {"pooling", "map"}:
                raise ValueError(f"A group is named by its pooling and its map, got {dict(group)}: {self.text}")

    @property
    def scores(self) -> dict[str, Score]:
        """All scores that the claim reads, by name."""
        return {**self.score, **self.minus, **self.beside}

    @property
    def poolings(self) -> set[str]:
        """Heads that the claim compares."""
        return {group["pooling"] for group in (self.first, self.second) if group is not None}

    @property
    def quantity(self) -> str:
        """Quantity that decides the claim, in words."""
        (name,) = self.score
        first = _name(self.first)
        if self.second is None:
            less = f" - {self.reference:g}" if self.reference else ""
            return f"{name} of {first}{less}"
        difference = f"{first} less {_name(self.second)}"
        if not self.minus:
            return f"{name}, {difference}"
        (other,) = self.minus
        if self.magnitudes:
            return f"size of the difference in {name} less that in {other}, {difference}"
        return f"difference in {name} less that in {other}, {difference}"

    @property
    def region(self) -> str:
        """Region of the quantity that the claim names, in words."""
        percent = f"{100 * self.margin:g} points"
        return {
            "greater": f"more than {percent}",
            "less": f"less than −{percent}",
            "equal": f"within ±{percent}",
        }[self.direction]


def _name(group: Mapping[str, str]) -> str:
    return f"{group['pooling']} {group['map']}"


@dataclass(frozen=True)
class Answered:
    """A claim with its verdict and the measured quantity."""

    claim: Claim
    verdict: Verdict
    measured: Measured | None = None  # the quantity; None if not answered
    p: float = float("nan")  # two-sided, against the nearer end of the region
    p_holm: float = float("nan")  # `p` corrected for the claims that were asked together
    beside: Mapping[str, tuple[Measured, ...]] = field(default_factory=dict)  # score -> each group's
    why: str = ""  # why the claim was not answered

    @property
    def estimate(self) -> Estimate | None:
        """Estimate of the quantity, without the reference subtracted; None if not answered."""
        return None if self.measured is None else self.measured.estimate

    @property
    def is_one_training(self) -> bool:
        """Whether each setting was trained once; see `Measured.is_one_training`. False if not answered."""
        return self.measured is not None and self.measured.is_one_training

    def distance(self) -> float:
        """Return the distance from the estimate to the nearer end of the region."""
        assert self.estimate is not None
        value = self.estimate.value - self.claim.reference
        ends = {
            "greater": (self.claim.margin,),
            "less": (-self.claim.margin,),
            "equal": (self.claim.margin, -self.claim.margin),
        }[self.claim.direction]
        return min(abs(value - end) for end in ends)


def answer(claims: Sequence[Claim], measured: Mapping[Line, Mapping[str, Measured]]) -> list[Answered]:
    """Answer claims on one comparison, corrected for their number.

    Args:
        claims: those that are asked together.
        measured: (pooling, map) -> name of the score -> its values.

    Returns:
        One answer for each claim, in their order.
    """
    answers = [_measure(claim, measured) for claim in claims]
    ready = [index for index, answered in enumerate(answers) if answered.measured is not None]
    corrected = holm(answers[index].p for index in ready)
    for index, p_holm in zip(ready, corrected, strict=True):
        verdict = _verdict(answers[index]) if p_holm < _ALPHA else INCONCLUSIVE
        answers[index] = replace(answers[index], verdict=verdict, p_holm=p_holm)
    return answers


def _measure(claim: Claim, measured: Mapping[Line, Mapping[str, Measured]]) -> Answered:
    try:
        quantity = _quantity(claim, measured)
    except LookupError as error:
        return Answered(claim, NOT_ANSWERED, why=str(error.args[0]))
    groups = [group for group in (claim.first, claim.second) if group is not None]
    beside = {
        name: tuple(_find(measured, group, name) for group in groups)
        for name in (*claim.score, *claim.minus, *claim.beside)
        if all(name in measured.get((group["pooling"], group["map"]), {}) for group in groups)
    }
    inside, outside = _p_values(claim, quantity.estimate)
    return Answered(claim, INCONCLUSIVE, quantity, min(1.0, 2 * min(inside, outside)), beside=beside)


def _quantity(claim: Claim, measured: Mapping[Line, Mapping[str, Measured]]) -> Measured:
    terms = list(_differences(claim, measured))
    for term in terms:
        if not term.is_known:
            raise LookupError(
                "the score has no value: nothing was classified, no map was made, or too few images count"
            )
    signs = [1.0, -1.0]
    if claim.magnitudes:
        signs = [_sign(term.estimate) * sign for term, sign in zip(terms, signs, strict=True)]
    try:
        return weighted_sum(list(zip(signs, terms, strict=False)))
    except ValueError as error:
        raise LookupError(str(error)) from None


def _sign(difference: Estimate) -> float:
    """Return the sign of a difference; 1 where rounding alone keeps it from 0, as its sign means nothing there."""
    return -1.0 if difference.value < -difference.rounding else 1.0


def _differences(claim: Claim, measured: Mapping[Line, Mapping[str, Measured]]) -> Iterator[Measured]:
    for name in (*claim.score, *claim.minus):
        difference = _find(measured, claim.first, name)
        if claim.second is not None:
            try:
                difference = difference.minus(_find(measured, claim.second, name))
            except ValueError as error:
                raise LookupError(str(error)) from None
        yield difference


def _find(measured: Mapping[Line, Mapping[str, Measured]], group: Mapping[str, str], score: str) -> Measured:
    line = (group["pooling"], group["map"])
    if line not in measured:
        raise LookupError(f"of the runs reported, none has pooling={line[0]} with its map {line[1]} scored")
    if score not in measured[line]:
        where = f"pooling={line[0]}, map {line[1]}"
        raise LookupError(f"the records of {where} lack what {score} reads, or the protocol does not admit it")
    return measured[line][score]


def _p_values(claim: Claim, estimate: Estimate) -> tuple[float, float]:
    """Return the one-sided p-values against a quantity outside the region, and against one inside."""
    middle, margin = claim.reference, claim.margin
    if claim.direction == "greater":
        return estimate.p_above(middle + margin), estimate.p_below(middle + margin)
    if claim.direction == "less":
        return estimate.p_below(middle - margin), estimate.p_above(middle - margin)
    inside = max(estimate.p_above(middle - margin), estimate.p_below(middle + margin))
    return inside, min(estimate.p_above(middle + margin), estimate.p_below(middle - margin))


def _verdict(answered: Answered) -> Verdict:
    assert answered.estimate is not None
    inside, outside = _p_values(answered.claim, answered.estimate)
    return SUPPORTED if inside < outside else REFUTED


def needed(answered: Answered) -> str:
    """Describe the seeds or images that would decide an inconclusive claim, if the estimate stayed where it is.

    Returns:
        A clause without a full stop; empty for any other verdict.
    """
    estimate = answered.estimate
    if answered.verdict != INCONCLUSIVE or estimate is None:
        return ""
    distance = answered.distance()
    parts = []
    seeds, images = estimate.seeds_needed(distance), estimate.images_needed(distance)
    if estimate.seeds == 1:
        parts.append("more than one seed, so that their spread is known")
    elif seeds is not None and seeds > estimate.seeds:
        parts.append(f"{seeds} seeds in place of {estimate.seeds}")
    if images is not None and images > estimate.images:
        parts.append(f"{images:,} images in place of {estimate.images:,}")
    if not parts:
        if seeds is not None or images is not None:  # the interval decides it alone, but not beside the other claims
            return "decided alone, but not when corrected for the claims asked with it: a few more seeds"
        return "the estimate lies too near the smallest difference that matters for 1,000 seeds to decide"
    return ", or ".join(parts) + ", if the estimate stays as it is"
