"""Summarize saved rows and measured scores in one long table with intervals and p-values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from wsol.comparison.paired_scores import FEWEST_SEEDS, Measured, mcnemar_tests
from wsol.comparison.saved_maps import held_out
from wsol.runs.as_is import AS_IS
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import FACT_COLUMNS
from wsol.scoring.baselines import NONE
from wsol.scoring.score import FAITHFULNESS, NO_BOX

Line = tuple[str, str]  # pooling and map
MeasuredLines = Mapping[Line, Mapping[str, Measured]]

# Kinds of lines in the long table.
SCORE, ORACLE, HELD_OUT, FLATTERY = "score", "oracle", "held out", "oracle - held out"
ON_TEST, ON_VAL = "τ on test", "τ on val"
_ALPHA = 0.05
# Neither more nor less of these is better: each alone is best for the largest, or the smallest, possible box.
_NEITHER = {"box_area_ratio", "coverage", "frame_share", "leakage"}


def summarize(rows: pd.DataFrame, measured: MeasuredLines | None = None) -> pd.DataFrame:
    """Make one line for each pooling, map and score, and for each difference between poolings.

    Args:
        rows: rows of one comparison.
        measured: (pooling, map) -> name of the score -> its values; a line without them has no interval.

    Returns:
        Columns pooling, map, score, kind, protocol; mean; values (of each seed; empty for differences between
        poolings) and std (sample standard deviation over seeds; NaN for one, and for such differences); low, high and
        half_width of the 95 % interval, se, NaN with fewer than three seeds; bias (bootstrap estimate) of scores whose
        τ the test boxes choose; of differences p, p_holm (Holm's correction over all differences of the table that are
        hypotheses of their own) and mcnemar (the largest p-value of any seed); best (best of its column or, by a test
        with Holm's correction, not distinguishable from it; never with fewer than three seeds); seeds (0
        for networks as they are, which no seed trained), images, runs, and the facts of the row's map. All values are
        fractions.

    Raises:
        ValueError: if a score has several protocols.
    """
    protocols = rows.groupby("score")["protocol"].nunique()
    if (protocols > 1).any():
        raise ValueError(
            f"{protocols.idxmax()} was scored by several protocols, but a column has one. Filter by protocol_key."
        )
    measured = measured or {}
    lines = [*_scores(rows, measured), *_differences(rows, measured)]
    columns = ["pooling", "map", "score", "kind", "protocol", "mean", "values", "std", "low", "high", "half_width"]
    columns += ["se", "bias", "p", "mcnemar", "seeds", "images", "runs"]
    lines = [{"values": (), **line} for line in lines]
    table = pd.DataFrame(lines, columns=columns).assign(p_holm=_corrected(lines), best=_best(lines, measured))
    table = table.merge(_facts(rows), on=["pooling", "map"], how="left")
    return _ordered(table, rows)


def _scores(rows: pd.DataFrame, measured: MeasuredLines) -> Iterator[dict[str, Any]]:
    for key, group in rows.groupby(["pooling", "map", "score"], sort=False):
        pooling, name, score = (str(part) for part in key)
        by_score = measured.get((pooling, name), {})
        protocol = str(group["protocol"].iloc[0])
        line = {"pooling": pooling, "map": name, "score": score, "protocol": protocol}
        known = by_score.get(score)
        if known is not None and not _same(known, group["value"]):
            known = None
        kind = ORACLE if protocol.endswith(ON_TEST) else SCORE
        by_seed = group.sort_values("seed")
        count = _seed_count(group, len(group))
        plain: dict[str, Any] = {"mean": group["value"].mean(skipna=False), "seeds": count}
        plain |= {"std": group["value"].std(skipna=False), "values": tuple(by_seed["value"])}
        plain |= {"images": group["images"].max(), "runs": tuple(by_seed["run"])}
        bias = known.estimate.bias if known is not None and kind == ORACLE else float("nan")
        yield {**line, "kind": kind, **plain, "bias": bias, **_interval(known)}
        twin = by_score.get(held_out(score))
        if known is not None and twin is not None:
            on_val = {**line, "protocol": protocol.replace(ON_TEST, ON_VAL)}
            yield {**on_val, "kind": HELD_OUT, **_all_of(twin), "seeds": count}
            yield {**on_val, "kind": FLATTERY, **_all_of(known.minus(twin)), "seeds": count}


def _differences(rows: pd.DataFrame, measured: MeasuredLines) -> Iterator[dict[str, Any]]:
    poolings = [pooling for pooling in sorted(set(rows["pooling"]) - {NONE}) if few_shot_count(pooling) is None]
    if len(poolings) < 2:
        return
    base = "gap" if "gap" in poolings else poolings[0]
    scores = dict.fromkeys(rows["score"])
    for pooling in poolings:
        for name in dict.fromkeys(rows["map"]) if pooling != base else ():
            for score in scores:
                same = rows[(rows["map"] == name) & (rows["score"] == score)]
                yield from _difference(same, (pooling, base), measured)


def _difference(rows: pd.DataFrame, pair: tuple[str, str], measured: MeasuredLines) -> Iterator[dict[str, Any]]:
    """Yield the lines of the difference between two poolings, from the rows of one map and score."""
    values = [rows.loc[rows["pooling"] == pooling, "value"] for pooling in pair]
    if values[0].empty or values[1].empty:
        return
    name, score, protocol = (str(rows[column].iloc[0]) for column in ("map", "score", "protocol"))
    line = {"pooling": " - ".join(pair), "map": name, "score": score, "protocol": protocol}
    runs, count = tuple(rows.loc[rows["pooling"].isin(pair), "run"]), _seed_count(rows, min(map(len, values)))
    plain = {
        "mean": values[0].mean(skipna=False) - values[1].mean(skipna=False),
        "seeds": count,
        "images": rows["images"].max(),
        "runs": runs,
    }
    kind = ORACLE if protocol.endswith(ON_TEST) else SCORE
    terms, twins = (
        [measured.get((pooling, name), {}).get(score_name) for pooling in pair]
        for score_name in (score, held_out(score))
    )
    known, twin = _pair(*terms), _pair(*twins)
    if not all(term is not None and _same(term, own) for term, own in zip(terms, values, strict=True)):
        known = None
    yield {**line, "kind": kind, **plain, **_interval(known), **_tests(known, *terms)}
    if known is not None and twin is not None:
        on_val = {**line, "protocol": protocol.replace(ON_TEST, ON_VAL), "kind": HELD_OUT}
        yield {**on_val, **_all_of(twin), "seeds": min(count, len(twin.seeds)), **_tests(twin, *twins)}


def _seed_count(rows: pd.DataFrame, trained: int) -> int:
    """Return the number of seeds: 0 for networks as they are, else the number of runs that were trained."""
    return 0 if set(rows.get("backbone", ())) == {AS_IS} else trained


def _same(measured: Measured, values: pd.Series) -> bool:
    """Return whether rows have the values of these records; records of other seeds do not describe the rows."""
    if len(measured.values) != len(values):
        return False
    return np.allclose(np.sort(measured.values), np.sort(values.to_numpy(float)), equal_nan=True)


def _pair(first: Measured | None, second: Measured | None) -> Measured | None:
    if first is None or second is None:
        return None
    try:
        return first.minus(second)
    except ValueError:  # two maps of the same networks, without a common seed
        return None


def _interval(measured: Measured | None) -> dict[str, float]:
    if measured is None or not measured.is_known or measured.too_few:
        return {}
    estimate = measured.estimate
    low, high = estimate.interval
    return {"low": low, "high": high, "half_width": estimate.half_width(), "se": estimate.se}


def _all_of(measured: Measured) -> dict[str, Any]:
    return {
        "mean": measured.estimate.value,
        "values": () if measured.others else tuple(measured.values),
        "std": measured.estimate.std,
        "seeds": min(measured.trainings, default=1),
        "images": measured.images,
        "runs": measured.all_runs,
        **_interval(measured),
    }


def _tests(difference: Measured | None, first: Measured | None, second: Measured | None) -> dict[str, float]:
    if difference is None or first is None or second is None or not difference.is_known or difference.too_few:
        return {}
    return {
        "p": difference.estimate.p_value(),
        "mcnemar": max((test.p for test in mcnemar_tests(first, second)), default=float("nan")),
    }


def _corrected(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return Holm's p-value of each line. A score that reads no map is one hypothesis, not one for every map."""
    hypotheses: dict[tuple[str, ...], float] = {}
    for line in lines:
        if "p" in line:
            hypotheses.setdefault(_hypothesis(line), line["p"])
    corrected = dict(zip(hypotheses, holm(hypotheses.values()), strict=True))
    return [corrected[_hypothesis(line)] if "p" in line else float("nan") for line in lines]


def _hypothesis(line: Mapping[str, Any]) -> tuple[str, ...]:
    name = "" if line["protocol"] == NO_BOX else line["map"]
    return line["pooling"], name, line["score"], line["kind"]


def holm(p_values: Iterable[float]) -> list[float]:
    """Correct p-values for their number.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    ordered = np.array(list(p_values))
    order = np.argsort(ordered, kind="stable")
    steps = ordered[order] * np.arange(len(ordered), 0, -1)
    ordered[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return ordered.tolist()


def better_of(score: str, protocol: str) -> str:
    """Return `higher`, `lower`, or an empty text where neither is better by itself."""
    if protocol.startswith(FAITHFULNESS):
        better = protocol.removeprefix(f"{FAITHFULNESS}: ").removesuffix(" is better")
        return better if better in ("higher", "lower") else ""
    return "" if score in _NEITHER else "higher"


def _best(lines: Sequence[Mapping[str, Any]], measured: MeasuredLines) -> list[bool]:
    """Return for each line whether it is the best of its score, or not distinguishable from the best."""
    best = [False] * len(lines)
    columns: dict[tuple[str, str], list[int]] = {}
    for place, line in enumerate(lines):
        if " - " not in line["pooling"] and line["kind"] != FLATTERY and not np.isnan(line["mean"]):
            columns.setdefault((line["score"], line["kind"]), []).append(place)
    for (score, kind), places in columns.items():
        better = better_of(score, lines[places[0]]["protocol"])
        if not better or len(places) < 2:
            continue
        first = (max if better == "higher" else min)(places, key=lambda place: lines[place]["mean"])
        if _too_few(lines[first]):
            continue
        best[first] = True
        p_values: dict[tuple[str, ...], float] = {}
        tested = []
        for place in places:
            if _too_few(lines[place]):
                continue
            if lines[place]["mean"] == lines[first]["mean"]:
                best[place] = True
                continue
            if not all("se" in lines[at] for at in (first, place)):  # rows without records, or a seed without a value
                continue
            name = held_out(score) if kind == HELD_OUT else score
            pair = [measured.get((lines[at]["pooling"], lines[at]["map"]), {}).get(name) for at in (first, place)]
            difference = _pair(*pair)
            if difference is not None:
                p_values.setdefault(_hypothesis(lines[place]), difference.estimate.p_value())
                tested.append(place)
        corrected = dict(zip(p_values, holm(p_values.values()), strict=True))
        for place in tested:
            best[place] = corrected[_hypothesis(lines[place])] >= _ALPHA
    return best


def _too_few(line: Mapping[str, Any]) -> bool:
    return line["pooling"] != NONE and 0 < line["seeds"] < FEWEST_SEEDS


def _facts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line of facts per pooling and map; NaN for baselines and for rows of older versions."""
    facts = rows.reindex(columns=["pooling", "map", "seed", *FACT_COLUMNS])
    texts = ["same_as", "exact"]
    runs = facts.drop_duplicates(["pooling", "map", "seed"]).astype(dict.fromkeys(texts, object))
    runs = runs.fillna(dict.fromkeys(texts, ""))
    times, counts = ["forward_ms", "ms_per_image"], ["constant_maps", "zero_maps", "one_pixel_maps"]
    grouped = runs.groupby(["pooling", "map"])
    return grouped[texts].first().join([grouped[times].mean(), grouped[counts].sum(min_count=1)]).reset_index()


def _ordered(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Sort lines: heads, few-shot networks, differences, then baselines; maps and scores in the order of the rows."""
    poolings = sorted(set(rows["pooling"]) - {NONE}, key=lambda pooling: (few_shot_count(pooling) or 0, pooling))
    differences = [pooling for pooling in dict.fromkeys(table["pooling"]) if " - " in pooling]
    order = {name: place for place, name in enumerate([*poolings, *differences, NONE])}
    maps = {name: place for place, name in enumerate(dict.fromkeys(rows["map"]))}
    scores = {name: place for place, name in enumerate(dict.fromkeys(rows["score"]))}
    kinds = {name: place for place, name in enumerate((SCORE, ORACLE, HELD_OUT, FLATTERY))}
    places = table.assign(
        pooling=table["pooling"].map(order),
        map=table["map"].map(maps),
        score=table["score"].map(scores),
        kind=table["kind"].map(kinds),
    )
    sorted_index = places.sort_values(["pooling", "map", "score", "kind"], kind="stable").index
    return table.loc[sorted_index].reset_index(drop=True)
