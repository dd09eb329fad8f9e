"""From saved rows, and what they measure image by image, to one long table with intervals and p-values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from wsol.comparison.paired_scores import Measured, mcnemar_tests
from wsol.comparison.saved_maps import held_out
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import FACT_COLUMNS
from wsol.scoring.baselines import NONE
from wsol.scoring.score import FAITHFULNESS, NO_BOX

Line = tuple[str, str]  # pooling and map
MeasuredLines = Mapping[Line, Mapping[str, Measured]]

# What a line of the long table says of a score.
SCORE, ORACLE, HELD_OUT, FLATTERY = "score", "oracle", "held out", "oracle - held out"
ON_TEST, ON_VAL = "τ on test", "τ on val"
_ALPHA = 0.05
# No more of these is better, nor less: alone, each is best for a box as large, or as small, as can be.
_NEITHER = {"box_area_ratio", "coverage", "leakage"}


def summarize(rows: pd.DataFrame, measured: MeasuredLines | None = None) -> pd.DataFrame:
    """One line for each pooling, map and score, and for each difference between poolings.

    Args:
        rows: of one comparison.
        measured: of (pooling, map), by name of the score; where it lacks one, the line has no interval.

    Returns:
        Columns pooling, map, score, kind, protocol; mean and std (sample standard deviation over seeds; NaN for one);
        low, high and half_width of the 95 % interval, se; of differences p, p_holm (Holm's, over all
        differences of the table that are hypotheses of their own) and mcnemar (the largest p-value of any seed); best
        (best of its column or, by a paired test with Holm's correction, not told apart from it); seeds, images, runs,
        and the facts of the row's map. Fractions.

    Raises:
        ValueError: if a score comes from several protocols.
    """
    several = rows.groupby("score")["protocol"].nunique()
    if (several > 1).any():
        raise ValueError(f"{several.idxmax()} was scored by several protocols; they cannot stand in one column.")
    measured = measured or {}
    lines = [*_scores(rows, measured), *_differences(rows, measured)]
    columns = ["pooling", "map", "score", "kind", "protocol", "mean", "std", "low", "high", "half_width", "se"]
    columns += ["p", "mcnemar", "seeds", "images", "runs"]
    table = pd.DataFrame(lines, columns=columns).assign(p_holm=_corrected(lines), best=_best(lines, measured))
    table = table.merge(_facts(rows), on=["pooling", "map"], how="left")
    return _ordered(table, rows)


def _scores(rows: pd.DataFrame, measured: MeasuredLines) -> Iterator[dict[str, Any]]:
    for key, group in rows.groupby(["pooling", "map", "score"], sort=False):
        pooling, name, score = (str(part) for part in key)
        found = measured.get((pooling, name), {})
        protocol = str(group["protocol"].iloc[0])
        one = {"pooling": pooling, "map": name, "score": score, "protocol": protocol}
        known = found.get(score)
        if known is not None and not _same(known, group["value"]):
            known = None
        kind = ORACLE if protocol.endswith(ON_TEST) else SCORE
        runs = tuple(group.sort_values("seed")["run"])
        plain: dict[str, Any] = {"mean": group["value"].mean(skipna=False), "seeds": len(group)}
        plain["std"] = group["value"].std(skipna=False)
        plain |= {"images": group["images"].max(), "runs": runs}
        yield {**one, "kind": kind, **plain, **_interval(known)}
        twin = found.get(held_out(score))
        if known is not None and twin is not None:
            told = {**one, "protocol": protocol.replace(ON_TEST, ON_VAL)}
            yield {**told, "kind": HELD_OUT, **_all_of(twin)}
            yield {**told, "kind": FLATTERY, **_all_of(known.minus(twin))}


def _differences(rows: pd.DataFrame, measured: MeasuredLines) -> Iterator[dict[str, Any]]:
    poolings = [one for one in sorted(set(rows["pooling"]) - {NONE}) if few_shot_count(one) is None]
    if len(poolings) < 2:
        return
    base = "gap" if "gap" in poolings else poolings[0]
    told = rows.drop_duplicates("score").set_index("score")["protocol"]
    for pooling in poolings:
        for name in dict.fromkeys(rows["map"]) if pooling != base else ():
            for score, protocol in told.items():
                pair = (measured.get((one, name), {}) for one in (pooling, base))
                yield from _difference(rows, pooling, base, str(name), str(score), str(protocol), *pair)


def _difference(
    rows: pd.DataFrame,
    pooling: str,
    base: str,
    name: str,
    score: str,
    protocol: str,
    first: Mapping[str, Measured],
    second: Mapping[str, Measured],
) -> Iterator[dict[str, Any]]:
    of = rows[(rows["map"] == name) & (rows["score"] == score)]
    values = [of[of["pooling"] == one].set_index("seed")["value"] for one in (pooling, base)]
    if values[0].empty or values[1].empty:
        return
    both = (values[0] - values[1]).dropna()  # NaN for a seed that only one of them has
    one = {"pooling": f"{pooling} - {base}", "map": name, "score": score, "protocol": protocol}
    runs = tuple(of[of["pooling"].isin((pooling, base)) & of["seed"].isin(both.index)]["run"])
    plain = {"mean": both.mean(), "std": both.std(), "seeds": len(both), "images": of["images"].max(), "runs": runs}
    kind = ORACLE if protocol.endswith(ON_TEST) else SCORE
    known = _pair(first.get(score), second.get(score))
    if known is not None and not _same(known, both):
        known = None
    yield {**one, "kind": kind, **plain, **_interval(known), **_tests(known, first.get(score), second.get(score))}
    twins = first.get(held_out(score)), second.get(held_out(score))
    twin = _pair(*twins)
    if known is not None and twin is not None:
        told = {**one, "protocol": protocol.replace(ON_TEST, ON_VAL), "kind": HELD_OUT}
        yield {**told, **_all_of(twin), **_tests(twin, *twins)}


def _same(measured: Measured, values: pd.Series) -> bool:
    """Were the rows made of these records? Others, or those of fewer seeds, say nothing of them."""
    if len(measured.values) != len(values):
        return False
    return np.allclose(np.sort(measured.values), np.sort(values.to_numpy(float)), equal_nan=True)


def _pair(first: Measured | None, second: Measured | None) -> Measured | None:
    if first is None or second is None:
        return None
    unseeded = (None,) in (first.seeds, second.seeds)
    return first.minus(second) if unseeded or set(first.seeds) & set(second.seeds) else None


def _interval(one: Measured | None) -> dict[str, float]:
    if one is None or not one.is_known:
        return {}
    estimate = one.estimate
    low, high = estimate.interval
    return {"low": low, "high": high, "half_width": estimate.half_width(), "se": estimate.se}


def _all_of(one: Measured) -> dict[str, Any]:
    return {
        "mean": one.estimate.value,
        "std": one.estimate.std,
        "seeds": len(one.seeds),
        "images": one.images,
        "runs": one.all_runs,
        **_interval(one),
    }


def _tests(difference: Measured | None, first: Measured | None, second: Measured | None) -> dict[str, float]:
    if difference is None or first is None or second is None or not difference.is_known:
        return {}
    single = mcnemar_tests(first, second)
    return {
        "p": difference.estimate.p_value(),
        "mcnemar": max((one.p for one in single), default=float("nan")),
    }


def _corrected(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Holm's p-values. A score that reads no map is one hypothesis, not one for every map."""
    hypotheses: dict[tuple[str, ...], float] = {}
    for one in lines:
        if "p" in one:
            hypotheses.setdefault(_hypothesis(one), one["p"])
    corrected = dict(zip(hypotheses, holm(hypotheses.values()), strict=True))
    return [corrected[_hypothesis(one)] if "p" in one else float("nan") for one in lines]


def _hypothesis(one: Mapping[str, Any]) -> tuple[str, ...]:
    name = "" if one["protocol"] == NO_BOX else one["map"]
    return one["pooling"], name, one["score"], one["kind"]


def holm(p_values: Iterable[float]) -> list[float]:
    """P-values corrected for their number.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    p_values = list(p_values)
    return multipletests(p_values, method="holm")[1].tolist() if len(p_values) > 1 else p_values


def better_of(score: str, protocol: str) -> str:
    """`higher`, `lower`, or empty where neither is better by itself."""
    if protocol.startswith(FAITHFULNESS):
        told = protocol.removeprefix(f"{FAITHFULNESS}: ").removesuffix(" is better")
        return told if told in ("higher", "lower") else ""
    return "" if score in _NEITHER else "higher"


def _best(lines: Sequence[Mapping[str, Any]], measured: MeasuredLines) -> list[bool]:
    """Which lines are the best of their score, or not told apart from it."""
    best = [False] * len(lines)
    columns: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(lines):
        if " - " not in one["pooling"] and one["kind"] != FLATTERY and not np.isnan(one["mean"]):
            columns.setdefault((one["score"], one["kind"]), []).append(place)
    for (score, kind), places in columns.items():
        better = better_of(score, lines[places[0]]["protocol"])
        if not better or len(places) < 2:
            continue
        first = (max if better == "higher" else min)(places, key=lambda place: lines[place]["mean"])
        best[first] = True
        p_values: dict[tuple[str, ...], float] = {}
        tested = []
        for place in places:
            if lines[place]["mean"] == lines[first]["mean"]:
                best[place] = True
                continue
            if not all("se" in lines[at] for at in (first, place)):  # no records of these rows, or a seed has no value
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


def _facts(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per pooling and map; nothing is told of baselines, nor in rows of older versions."""
    told = rows.reindex(columns=["pooling", "map", "seed", *FACT_COLUMNS])
    texts = ["same_as", "exact"]
    runs = told.drop_duplicates(["pooling", "map", "seed"]).astype(dict.fromkeys(texts, object))
    runs = runs.fillna(dict.fromkeys(texts, ""))
    times, counts = ["forward_ms", "ms_per_image"], ["constant_maps", "zero_maps", "one_pixel_maps"]
    grouped = runs.groupby(["pooling", "map"])
    return grouped[texts].first().join([grouped[times].mean(), grouped[counts].sum(min_count=1)]).reset_index()


def _ordered(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Heads, few-shot networks, differences, then what needs no network; maps and scores as they were asked for."""
    poolings = sorted(set(rows["pooling"]) - {NONE}, key=lambda one: (few_shot_count(one) or 0, one))
    differences = [one for one in dict.fromkeys(table["pooling"]) if " - " in one]
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
