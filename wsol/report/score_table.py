"""Make the table of scores of one comparison, rounded to what the intervals allow."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from wsol.comparison.summary import FLATTERY, HELD_OUT, ORACLE, SCORE
from wsol.maps.stored_maps import Degenerate
from wsol.report.content import Cell, Column, Table
from wsol.runs.experiment import PSOL
from wsol.runs.folder import FACT_COLUMNS
from wsol.scoring.baselines import NONE
from wsol.scoring.score import FAITHFULNESS
from wsol.training.with_boxes.saliency import SALIENCY

ORACLES = "oracle: τ on test, beside the same at τ on val"
DEGENERATE, COST = "degenerate maps", "ms/image"
_RATIO = {"box_area_ratio"}  # scores that are no shares, and so are not printed as percent


def decimals_of(uncertainty: float) -> int:
    """Decimals to print of a number with this uncertainty: that it keeps one or two digits itself.

    Source: Particle Data Group, "Review of Particle Physics", 2024, section 5.3 of the introduction: of its first three
    digits, 100 to 354 keep two, 355 to 949 one, and 950 to 999 become 1000 and keep two.

    Args:
        uncertainty: in the unit that is printed; 0, NaN or infinite: one decimal.

    Returns:
        0 to 3.
    """
    if not 0 < uncertainty < math.inf:
        return 1
    if uncertainty < 1e-3:
        return 3
    magnitude = math.floor(math.log10(uncertainty))
    leading = round(uncertainty / 10.0 ** (magnitude - 2))
    digits = 1 if 355 <= leading <= 949 else 2
    if leading >= 950:
        magnitude += 1
    return min(max(digits - 1 - magnitude, 0), 3)


def percent(value: float, half_width: float | None = None, sign: bool = False) -> str:
    """A fraction as percent, with its uncertainty and as many digits as that allows: `61.5 ± 2.7`, `69 ± 12`.

    Args:
        value: a fraction; NaN becomes a dash.
        half_width: of its interval; None or NaN: not known, so one decimal is printed and no ±.
        sign: print a plus too.
    """
    if math.isnan(value):
        return "–"
    if half_width is None or math.isnan(half_width):
        text = f"{100 * value:{'+' if sign else ''}.1f}"
    else:
        places = decimals_of(100 * half_width)
        text = f"{100 * value:{'+' if sign else ''}.{places}f} ± {100 * half_width:.{places}f}"
    return text.replace("-", "−")


def score_table(
    summary: pd.DataFrame, title: str = "", missing: Callable[[str, str], str] = lambda pooling, score: ""
) -> Table:
    """The scores of a comparison, oracles in a group of their own with the held-out number beside them.

    Args:
        summary: as of `summarize`.
        title: of the table.
        missing: (pooling, map) -> the command that makes what is missing there.
    """
    lines = list(dict.fromkeys(zip(summary["pooling"], summary["map"], strict=True)))
    at = dict(zip(_keys(summary), _records(summary), strict=True))
    scores = list(_score_columns(summary))
    facts = summary.drop_duplicates(["pooling", "map"]).reindex(columns=["pooling", "map", *FACT_COLUMNS])
    told = {(one["pooling"], one["map"]): one for one in _records(facts)}
    theorems = facts["same_as"].fillna("").ne("").any()
    exact = facts["exact"].fillna("").ne("").any()
    costs = facts["ms_per_image"].notna().any()
    columns = [Column("pooling"), Column("map"), *([Column("by theorem")] if theorems else [])]
    columns += [Column("exact")] if exact else []
    columns += [column for _, column in scores]
    columns += [Column(DEGENERATE), Column(COST)] if costs else []
    rows = []
    for pooling, name in lines:
        row = [Cell(_pooling(pooling), pooling), Cell(name, name)]
        row += [Cell(_text(told[pooling, name]["same_as"]))] if theorems else []
        row += [Cell(_text(told[pooling, name]["exact"]))] if exact else []
        for (score, kind), _ in scores:
            row.append(_cell(at.get((pooling, name, score, kind)), pooling, name, score, kind, missing))
        row += list(_fact_cells(told[pooling, name])) if costs else []
        rows.append(row)
    return Table(title, columns, rows)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in one.items()} for one in frame.to_dict("records")]


def _keys(summary: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    return zip(summary["pooling"], summary["map"], summary["score"], summary["kind"], strict=True)


def _score_columns(summary: pd.DataFrame) -> Iterator[tuple[tuple[str, str], Column]]:
    protocols = summary.drop_duplicates(["score", "kind"]).set_index(["score", "kind"])["protocol"]
    plain = [key for key in protocols.index if key[1] == SCORE]
    oracles = [key for key in protocols.index if key[1] == ORACLE]
    for key in plain:
        yield key, Column(heading(key[0], protocols[key]), "", protocols[key])
    for score, kind in oracles:
        for one in (kind, HELD_OUT, FLATTERY):
            if (score, one) in protocols.index:
                text = "oracle − held out" if one == FLATTERY else heading(score, protocols[score, one])
                yield (score, one), Column(text, ORACLES, protocols[score, one])


def _cell(
    one: dict[str, Any] | None, pooling: str, name: str, score: str, kind: str, missing: Callable[[str, str], str]
) -> Cell:
    difference = " - " in pooling
    if one is None:
        # A faithfulness measure has nothing to ask of a baseline, nor of what no class has a map in; a difference needs
        # both, a twin needs val's record.
        if pooling == NONE or name in (PSOL, SALIENCY) or difference or kind in (HELD_OUT, FLATTERY):
            return Cell("–")
        return Cell("missing", command=missing(pooling, name))
    if np.isnan(one["mean"]):
        return Cell("–")
    half = one["half_width"]
    if score in _RATIO:
        text = percent_or_ratio(score, one["mean"], difference) + ("" if np.isnan(half) else f" ± {half:.2f}")
    else:
        text = percent(one["mean"], half, sign=difference or kind == FLATTERY)
    return Cell(text, one["mean"], bool(one["best"]), _hint(one), tuple(one["runs"]))


def percent_or_ratio(score: str, value: float, sign: bool = False) -> str:
    """A score without its uncertainty: percent to two decimals, or, of a ratio of areas, the ratio."""
    scaled = value if score in _RATIO else 100 * value
    return f"{scaled:{'+' if sign else ''}.2f}".replace("-", "−")


def _hint(one: dict[str, Any]) -> str:
    """What the cell has no room for."""
    seeds = "" if one["pooling"] == NONE else f"{one['seeds']} seed{'s' if one['seeds'] > 1 else ''}, "
    parts = [f"{seeds}{one['images']} images"]
    if not np.isnan(one["low"]):
        covers = "" if one["seeds"] > 1 and one["pooling"] != NONE else " (of images alone)"
        parts.append(f"95 % interval {one['low']:.4f} to {one['high']:.4f}{covers}")
    if not np.isnan(one["std"]):
        parts.append(f"standard deviation over seeds {one['std']:.4f}")
    if not np.isnan(one["p"]):
        parts.append(f"p {one['p']:.2g}, by Holm {one['p_holm']:.2g}")
    return "; ".join(parts)


def _fact_cells(one: dict[str, Any]) -> Iterator[Cell]:
    counts = [one[column] for column in FACT_COLUMNS[-3:]]
    if pd.isna(counts).any():
        yield Cell("")
    else:
        degenerate = Degenerate(*(int(count) for count in counts))
        yield Cell(str(degenerate) or "0", float(sum(counts)))
    yield Cell("") if pd.isna(one["ms_per_image"]) else Cell(f"{one['ms_per_image']:.3g}", one["ms_per_image"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _pooling(name: str) -> str:
    return "no network" if name == NONE else name.replace(" - ", " − ")


def heading(score: str, protocol: str) -> str:
    """A score with what chose τ; the protocol and which boxes were read are said once, below the table."""
    if protocol.startswith(FAITHFULNESS):
        return f"{score} ({protocol.removeprefix(FAITHFULNESS + ': ')})"
    _, _, tau = protocol_parts(protocol)
    return f"{score} ({tau})" if tau else score


def protocol_parts(protocol: str) -> tuple[str, str, str]:
    """Name, boxes read, and what chose τ."""
    name, _, rest = protocol.partition(": ")
    boxes, _, tau = rest.partition(", ")
    return name, boxes, tau


def difference_table(summary: pd.DataFrame) -> Table | None:
    """Every difference between poolings with its interval and tests; None where there is none."""
    found = summary[summary["pooling"].str.contains(" - ") & summary["kind"].isin((SCORE, ORACLE, HELD_OUT))]
    found = found[found["mean"].notna()]
    if found.empty:
        return None
    columns = [
        Column("difference"),
        Column("map"),
        Column("score"),
        Column("points"),
        Column("95 % interval"),
        Column("p", hint="two-sided, of seeds and images"),
        Column("p (Holm)", hint="corrected for all differences of this table"),
        Column("p (McNemar)", hint="of images alone, at one operating point; the largest of any seed"),
        Column("seeds"),
    ]
    return Table("Differences", columns, [_difference_row(one) for one in _records(found)])


def _difference_row(one: dict[str, Any]) -> list[Cell]:
    oracle = one["kind"] == ORACLE
    runs, scale = tuple(one["runs"]), 1 if one["score"] in _RATIO else 100
    text = heading(one["score"], one["protocol"])
    value = percent_or_ratio(one["score"], one["mean"], sign=True)
    row = [
        Cell(_pooling(one["pooling"]), one["pooling"]),
        Cell(one["map"], one["map"]),
        Cell(f"oracle: {text}" if oracle else text, text),
        Cell(value, one["mean"], hint=_hint(one), runs=runs),
    ]
    if np.isnan(one["low"]):
        row.append(Cell("not known", hint="not all records are on disk"))
    else:
        ends = f"{scale * one['low']:+.2f} to {scale * one['high']:+.2f}".replace("-", "−")
        row.append(Cell(ends, one["low"]))
    row += [_p_cell(one[column]) for column in ("p", "p_holm", "mcnemar")]
    return [*row, Cell(str(one["seeds"]), one["seeds"])]


def _p_cell(p: float) -> Cell:
    if np.isnan(p):
        return Cell("–")
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", p)
