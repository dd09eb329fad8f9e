"""Claims about two groups of runs, and the verdict on each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wsol.comparison.estimate import Estimate
from wsol.comparison.paired_scores import FEWEST_SEEDS, Measured, weighted_sum
from wsol.comparison.summary import holm
from wsol.scoring.baselines import BASELINES, NONE
from wsol.scoring.record import FRAME
from wsol.scoring.score import Score
from wsol.scoring.scores.frame_share import frame_share

Verdict = Literal["supported", "reversed", "equivalent", "inconclusive", "not testable"]

Direction = Literal["greater", "less", "equal"]
Line = tuple[str, str]  # pooling and map

SUPPORTED: Verdict = "supported"
REVERSED: Verdict = "reversed"
EQUIVALENT: Verdict = "equivalent"
INCONCLUSIVE: Verdict = "inconclusive"
NOT_TESTABLE: Verdict = "not testable"
DECIDED = (SUPPORTED, REVERSED, EQUIVALENT)
FRAME_SHARE = "frame_share"
_ALPHA = 0.05
_MOST_FRAMES = 0.5  # with a larger share of such boxes, a claim compares the frame with itself


@dataclass(frozen=True)
class Claim:
    """A sentence about runs, and the quantity that decides it.

    The quantity is score(first) - score(second); with `minus`, that difference of `score` less the same difference of
    `minus`. Its values fall into three regions: more than the margin above 0, more than the margin below 0, and the
    band in between, whose differences are too small to matter. A `greater` claim names the first region, `less` the
    second, `equal` the band. A claim is supported where the 95 % interval lies inside the region that it names,
    equivalent where it lies inside the band, reversed where it lies inside the opposite region, and inconclusive where
    it reaches into two regions. So two groups are equal only where a difference that matters is ruled out (the two
    one-sided tests of Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987), not where no difference was
    found.

    Attributes:
        text: the sentence.
        protocol: name of the only protocol whose rows can answer the claim.
        score: name of the score in tables -> its definition; exactly one.
        direction: the region that the claim names.
        margin: the smallest difference that matters, as a fraction.
        margin_reason: why that is the smallest difference that matters, or the source that states it.
        first: settings of the first group: `pooling` and `map`.
        second: settings of the second group; None to compare the score of the first group with `reference`.
        reference: the value to compare with where there is no second group.
        minus: a second score, for claims about a change of the difference.
        magnitudes: with `minus`: compare the sizes of the two differences, whatever their signs. The signs are those of
            the estimates, so that a difference near 0 counts a little too large, against a claim that it has shrunk.
        beside: further scores that are reported with the answer, without a verdict.
        located_by: a score in which one of the groups must beat the baselines, so that there is localization to
            compare; empty for claims that read no boxes.
        primary: the one claim of a study that is tested without correction; the others are corrected for each other.
        source: who made the claim.
    """

    text: str
    protocol: str
    score: Mapping[str, Score]
    direction: Direction
    margin: float
    margin_reason: str
    first: Mapping[str, str]
    second: Mapping[str, str] | None = None
    reference: float = 0.0
    minus: Mapping[str, Score] = field(default_factory=dict)
    magnitudes: bool = False
    beside: Mapping[str, Score] = field(default_factory=dict)
    located_by: Mapping[str, Score] = field(default_factory=dict)
    primary: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("greater", "less", "equal"):
            raise ValueError(f"The direction must be greater, less or equal, got {self.direction!r}: {self.text}")
        if self.margin > 1:
            raise ValueError(f"The margin is a fraction, 0.01 for one point, got {self.margin}: {self.text}")
        if self.margin < 0 or (self.direction == "equal" and self.margin == 0):
            raise ValueError(f"The margin must be positive, or 0 for greater and less, got {self.margin}: {self.text}")
        if not self.margin_reason.strip():
            raise ValueError(f"`margin_reason` must name a reason or a source of the margin {self.margin}: {self.text}")
        if len(self.score) != 1 or len(self.minus) > 1 or len(self.located_by) > 1:
            raise ValueError(f"A claim is about one score, and at most one in `minus` and `located_by`: {self.text}")
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
        return {**self.score, **self.minus, **self.beside, **self.located_by, **self.frame_shares}

    @property
    def frame_shares(self) -> dict[str, Score]:
        """Shares of boxes that cover the frame, by name, at the thresholds that the claim's scores read."""
        return {
            f"{FRAME_SHARE} of {name}": Score(frame_share, score.boxes, score.threshold)
            for name, score in {**self.score, **self.minus}.items()
            if score.needs_boxes and score.threshold not in (None, "oracle")
        }

    @property
    def groups(self) -> list[Mapping[str, str]]:
        """Settings of the groups, one or two."""
        return [self.first] if self.second is None else [self.first, self.second]

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
    measured: Measured | None = None  # the quantity; None if the runs lack it, or are of another protocol
    p: float = float("nan")  # two-sided, against the nearest region of another verdict; NaN if nothing was tested
    p_holm: float = float("nan")  # `p` corrected for the claims that were asked together
    beside: Mapping[str, tuple[Measured, ...]] = field(default_factory=dict)  # score -> each group's
    why: str = ""  # why the claim is not testable
    remedy: str = ""  # what would make it testable; empty where runs are missing
    family: int = 0  # number of claims that `p_holm` is corrected for; 0 for the primary claim

    @property
    def estimate(self) -> Estimate | None:
        """Estimate of the quantity, without the reference subtracted; None if there is no quantity."""
        return None if self.measured is None else self.measured.estimate

    @property
    def is_one_training(self) -> bool:
        """Whether a setting was trained once; see `Measured.is_one_training`. False without a quantity."""
        return self.measured is not None and self.measured.is_one_training

    @property
    def too_few(self) -> bool:
        """Whether a setting has fewer than three seeds, so that no interval is known. False without a quantity."""
        return self.measured is not None and self.measured.too_few

    def distance(self) -> float:
        """Return the distance from the estimate to the nearer end of the band."""
        assert self.estimate is not None
        value, margin = self.estimate.value - self.claim.reference, self.claim.margin
        return min(abs(value - margin), abs(value + margin))


def answer(claims: Sequence[Claim], measured: Mapping[Line, Mapping[str, Measured]], protocol: str) -> list[Answered]:
    """Answer claims on one comparison, corrected for their number.

    The family of Holm's correction is all claims that are asked, whether these runs can answer them or not, so that a
    verdict does not depend on which others are answerable. A claim without an answer counts with p = 1. The primary
    claim is tested alone.

    Args:
        claims: those that are asked together.
        measured: (pooling, map) -> name of the score -> its values.
        protocol: name of the protocol of the comparison; claims of another are not testable here.

    Returns:
        One answer for each claim, in their order.

    Raises:
        ValueError: if several claims are primary.
    """
    primary = [claim.text for claim in claims if claim.primary]
    if len(primary) > 1:
        raise ValueError(f"A study has one primary claim, got {len(primary)}: {' '.join(primary)}")
    answers = [_measure(claim, measured, protocol) for claim in claims]
    family = [place for place, claim in enumerate(claims) if not claim.primary]
    p_values = [1.0 if math.isnan(answers[place].p) else answers[place].p for place in family]
    corrected = dict(zip(family, holm(p_values), strict=True))
    return [
        _with_verdict(answered, corrected.get(place, answered.p), len(family) if place in corrected else 0)
        for place, answered in enumerate(answers)
    ]


def _with_verdict(answered: Answered, p_holm: float, family: int) -> Answered:
    if math.isnan(answered.p):
        return replace(answered, family=family)
    assert answered.estimate is not None
    p_values = _p_values(answered.claim, answered.estimate)
    verdict = min(p_values, key=lambda verdict: p_values[verdict]) if p_holm < _ALPHA else INCONCLUSIVE
    return replace(answered, verdict=verdict, p_holm=p_holm, family=family)


def _measure(claim: Claim, measured: Mapping[Line, Mapping[str, Measured]], protocol: str) -> Answered:
    """Return the quantity of a claim with its p-value, as inconclusive; or why the claim is not testable."""
    if claim.protocol != protocol:
        why = f"the claim is about protocol {claim.protocol}, and these rows are of protocol {protocol}"
        return Answered(claim, NOT_TESTABLE, why=why)
    try:
        quantity = _quantity(claim, measured)
    except LookupError as error:
        return Answered(claim, NOT_TESTABLE, why=str(error.args[0]))
    beside = {
        name: tuple(_find(measured, group, name) for group in claim.groups)
        for name in (*claim.score, *claim.minus, *claim.beside)
        if all(name in measured.get(_line(group), {}) for group in claim.groups)
    }
    answered = Answered(claim, INCONCLUSIVE, quantity, beside=beside)
    why, remedy = _covers_the_frame(claim, measured) or _beats_no_baseline(claim, measured) or ("", "")
    if why:
        return replace(answered, verdict=NOT_TESTABLE, why=why, remedy=remedy)
    if quantity.too_few:
        return answered
    return replace(answered, p=min(1.0, 2 * min(_p_values(claim, quantity.estimate).values())))


def _line(group: Mapping[str, str]) -> Line:
    return group["pooling"], group["map"]


def _covers_the_frame(claim: Claim, measured: Mapping[Line, Mapping[str, Measured]]) -> tuple[str, str] | None:
    """Return why a claim about boxes that cover the frame is not testable, with the remedy; None if it is."""
    for name in claim.frame_shares:
        for group in claim.groups:
            share = measured.get(_line(group), {}).get(name)
            if share is not None and share.estimate.value > _MOST_FRAMES:
                why = (
                    f"{100 * share.estimate.value:.0f} % of the boxes of {_name(group)} cover over "
                    f"{100 * FRAME:.0f} % of the frame, so that the claim would compare the frame with itself"
                )
                remedy = (
                    "maps that fall off within the image, by a finer grid (output stride), another normalization or "
                    "a longer training"
                )
                return why, remedy
    return None


def _beats_no_baseline(claim: Claim, measured: Mapping[Line, Mapping[str, Measured]]) -> tuple[str, str] | None:
    """Return why a claim is not testable whose groups do not beat the baselines, with the remedy; None if one does."""
    for name in claim.located_by:
        known = [(_name(group), measured.get(_line(group), {}).get(name)) for group in claim.groups]
        groups = {group: values for group, values in known if values is not None and values.is_known}
        lines = {baseline: measured.get((NONE, baseline), {}).get(name) for baseline in BASELINES}
        baselines = {baseline: values for baseline, values in lines.items() if values is not None and values.is_known}
        if not groups or not baselines or any(values.too_few for values in groups.values()):
            continue
        leads = [[values.minus(baseline) for baseline in baselines.values()] for values in groups.values()]
        if any(all(2 * lead.estimate.p_above(0) < _ALPHA for lead in of_group) for of_group in leads):
            continue
        shown = ", ".join(
            f"{who} {100 * values.estimate.value:.1f} %" for who, values in {**groups, **baselines}.items()
        )
        verb = "neither group is" if len(groups) > 1 else f"{next(iter(groups))} is not"
        why = f"{verb} shown to beat the baselines, which read no image ({name}: {shown})"
        return (
            why,
            "a network that localizes better than its baselines, or more seeds and images that show that it does",
        )
    return None


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
    line = _line(group)
    if line not in measured:
        raise LookupError(f"of the runs reported, none has pooling={line[0]} with its map {line[1]} scored")
    if score not in measured[line]:
        where = f"pooling={line[0]}, map {line[1]}"
        raise LookupError(f"the records of {where} lack what {score} reads, or the protocol does not admit it")
    return measured[line][score]


def _p_values(claim: Claim, estimate: Estimate) -> dict[Verdict, float]:
    """Return for each verdict the one-sided p-value against a quantity outside its region."""
    low, high = claim.reference - claim.margin, claim.reference + claim.margin
    above, below = estimate.p_above(high), estimate.p_below(low)
    within = max(estimate.p_above(low), estimate.p_below(high)) if claim.margin else 1.0
    if claim.direction == "equal":
        return {SUPPORTED: within, REVERSED: min(above, below)}
    named, opposite = (above, below) if claim.direction == "greater" else (below, above)
    return {SUPPORTED: named, REVERSED: opposite, EQUIVALENT: within}


def needed(answered: Answered) -> str:
    """Describe what would make a claim testable, or the seeds or images that would decide an inconclusive one.

    Seeds and images are those that would do if the estimate stayed where it is.

    Returns:
        A clause without a full stop; empty for a decided claim, and where runs are missing.
    """
    estimate = answered.estimate
    if answered.verdict == NOT_TESTABLE:
        return answered.remedy
    if answered.verdict != INCONCLUSIVE or estimate is None:
        return ""
    if answered.too_few:
        return f"at least {FEWEST_SEEDS} seeds of each setting, so that their spread is known"
    distance = answered.distance()
    parts = []
    seeds, images = estimate.seeds_needed(distance), estimate.images_needed(distance)
    if seeds is not None and seeds > estimate.seeds:
        parts.append(f"{seeds} seeds in place of {estimate.seeds}")
    if images is not None and images > estimate.images:
        parts.append(f"{images:,} images in place of {estimate.images:,}")
    if not parts:
        if seeds is not None or images is not None:  # the interval decides it alone, but not beside the other claims
            return "decided alone, but not when corrected for the claims asked with it: a few more seeds"
        return "the estimate lies too near the smallest difference that matters for 1,000 seeds to decide"
    return ", or ".join(parts) + ", if the estimate stays as it is"
