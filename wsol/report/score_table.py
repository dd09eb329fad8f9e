"""Make the table of scores of one comparison, rounded to what the intervals allow."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from wsol.comparison.paired_scores import FEWEST_SEEDS
from wsol.comparison.summary import FLATTERY, HELD_OUT, ORACLE, SCORE
from wsol.maps.stored_maps import Degenerate
from wsol.report.content import Cell, Column, Table
from wsol.runs.experiment import PSOL
from wsol.runs.folder import FACT_COLUMNS
from wsol.scoring.baselines import NONE
from wsol.scoring.score import FAITHFULNESS
from wsol.training.with_boxes.saliency import SALIENCY

ORACLES = "oracle: τ on test, beside the same at τ on val"
TOO_SMALL = "n too small"
DEGENERATE, COST = "degenerate maps", "ms/image"
_RATIO = {"box_area_ratio"}  # scores that are no shares, and so are not printed as percent


def decimals_of(uncertainty: float) -> int:
    """Return the number of decimals that leave one or two digits of an uncertainty.

    Source: Particle Data Group, "Review of Particle Physics", 2024, section 5.3 of the introduction. By its first three
    digits, an uncertainty of 100 to 354 keeps two digits, of 355 to 949 one; 950 to 999 become 1000 and keep two.

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
    """Format a fraction as percent with its uncertainty, in the digits that this allows: `61.5 ± 2.7`, `69 ± 12`.

    Args:
        value: a fraction; NaN becomes a dash.
        half_width: half the width of its interval; None or NaN if unknown: one decimal and no ±.
        sign: also print a plus.
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
    """Make the table of scores, with oracles in a group of their own beside the same scores at τ from val.

    Args:
        summary: a table of `summarize`.
        title: title of the table.
        missing: (pooling, map) -> the command that makes its missing scores.
    """
    lines = list(dict.fromkeys(zip(summary["pooling"], summary["map"], strict=True)))
    at = dict(zip(_keys(summary), _records(summary), strict=True))
    scores = list(_score_columns(summary))
    facts = summary.drop_duplicates(["pooling", "map"]).reindex(columns=["pooling", "map", *FACT_COLUMNS])
    facts_of = {(record["pooling"], record["map"]): record for record in _records(facts)}
    theorems = facts["same_as"].fillna("").ne("").any()
    exact = facts["exact"].fillna("").ne("").any()
    costs = facts["ms_per_image"].notna().any()
    seeds = {line: min(record["seeds"] for record in _records(summary) if _line(record) == line) for line in lines}
    few = any(is_few(pooling, seeds[pooling, name]) for pooling, name in lines)
    columns = [Column("pooling"), Column("map"), *([Column("by theorem")] if theorems else [])]
    columns += [Column("exact")] if exact else []
    columns += [Column("seeds")] if few else []
    columns += [column for _, column in scores]
    columns += [Column(DEGENERATE), Column(COST)] if costs else []
    rows = []
    for pooling, name in lines:
        row = [Cell(_pooling(pooling), pooling), Cell(name, name)]
        row += [Cell(_text(facts_of[pooling, name]["same_as"]))] if theorems else []
        row += [Cell(_text(facts_of[pooling, name]["exact"]))] if exact else []
        row += [seeds_cell(pooling, seeds[pooling, name])] if few else []
        for (score, kind), _ in scores:
            line = at.get((pooling, name, score, kind))
            row.append(_missing_cell(pooling, name, kind, missing) if line is None else _cell(line))
        row += list(_fact_cells(facts_of[pooling, name])) if costs else []
        rows.append(row)
    return Table(title, columns, rows)


def _line(record: dict[str, Any]) -> tuple[str, str]:
    return record["pooling"], record["map"]


def is_few(pooling: str, seeds: int) -> bool:
    """Return whether a row has fewer than three seeds, and so no interval; what nothing trained has no seeds."""
    return pooling != NONE and 0 < seeds < FEWEST_SEEDS


def seeds_cell(pooling: str, seeds: int) -> Cell:
    """Return the number of seeds of a row, marked where it is too small for an interval; a dash for a baseline."""
    if pooling == NONE:
        return Cell("–")
    return Cell(f"{seeds}: {TOO_SMALL}" if is_few(pooling, seeds) else str(seeds), seeds)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in record.items()} for record in frame.to_dict("records")]


def _keys(summary: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    return zip(summary["pooling"], summary["map"], summary["score"], summary["kind"], strict=True)


def _score_columns(summary: pd.DataFrame) -> Iterator[tuple[tuple[str, str], Column]]:
    protocols = summary.drop_duplicates(["score", "kind"]).set_index(["score", "kind"])["protocol"]
    plain = [key for key in protocols.index if key[1] == SCORE]
    oracles = [key for key in protocols.index if key[1] == ORACLE]
    for key in plain:
        yield key, Column(heading(key[0], protocols[key]), "", protocols[key])
    for score, kind in oracles:
        for column in (kind, HELD_OUT, FLATTERY):
            if (score, column) in protocols.index:
                text = "oracle − held out" if column == FLATTERY else heading(score, protocols[score, column])
                yield (score, column), Column(text, ORACLES, protocols[score, column])


def _missing_cell(pooling: str, name: str, kind: str, missing: Callable[[str, str], str]) -> Cell:
    # A faithfulness measure has no value for a baseline, nor for a network without class maps. A difference needs both
    # of its terms, and a held-out score needs the record of val.
    if pooling == NONE or name in (PSOL, SALIENCY) or " - " in pooling or kind in (HELD_OUT, FLATTERY):
        return Cell("–")
    return Cell("missing", command=missing(pooling, name))


def _cell(line: dict[str, Any]) -> Cell:
    if np.isnan(line["mean"]):
        return Cell("–")
    half, difference = line["half_width"], " - " in line["pooling"]
    if is_few(line["pooling"], line["seeds"]) and line["values"]:
        sign = line["kind"] == FLATTERY
        each = (_plain(line["score"], value, sign) for value in line["values"])
        return Cell("; ".join(each), line["mean"], False, _hint(line), tuple(line["runs"]))
    if line["score"] in _RATIO:
        text = percent_or_ratio(line["score"], line["mean"], difference) + ("" if np.isnan(half) else f" ± {half:.2f}")
    else:
        text = percent(line["mean"], half, sign=difference or line["kind"] == FLATTERY)
    return Cell(text, line["mean"], bool(line["best"]), _hint(line), tuple(line["runs"]))


def _plain(score: str, value: float, sign: bool) -> str:
    return percent_or_ratio(score, value, sign) if score in _RATIO else percent(value, sign=sign)


def percent_or_ratio(score: str, value: float, sign: bool = False) -> str:
    """Format a score without its uncertainty: percent to two decimals, or the ratio for a ratio of areas."""
    scaled = value if score in _RATIO else 100 * value
    return f"{scaled:{'+' if sign else ''}.2f}".replace("-", "−")


def _hint(line: dict[str, Any]) -> str:
    """Return the numbers that the cell has no room for."""
    untrained = line["pooling"] == NONE or line["seeds"] == 0
    seeds = "" if untrained else f"{line['seeds']} seed{'s' if line['seeds'] > 1 else ''}, "
    parts = [f"{seeds}{line['images']} images"]
    if not np.isnan(line["low"]):
        covers = " (of images alone)" if line["pooling"] == NONE else ""
        parts.append(f"95 % interval {line['low']:.4f} to {line['high']:.4f}{covers}")
    if not np.isnan(line["std"]):
        parts.append(f"standard deviation over seeds {line['std']:.4f}")
    if not np.isnan(line["bias"]):
        parts.append(f"bias of the best τ on these images, by bootstrap, {line['bias']:+.4f}")
    if not np.isnan(line["p"]):
        parts.append(f"p {line['p']:.2g}, by Holm {line['p_holm']:.2g}")
    return "; ".join(parts)


def _fact_cells(facts: dict[str, Any]) -> Iterator[Cell]:
    counts = [facts[column] for column in FACT_COLUMNS[-3:]]
    if pd.isna(counts).any():
        yield Cell("")
    else:
        degenerate = Degenerate(*(int(count) for count in counts))
        yield Cell(str(degenerate) or "0", float(sum(counts)))
    cost = facts["ms_per_image"]
    yield Cell("") if pd.isna(cost) else Cell(f"{cost:.3g}", cost)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _pooling(name: str) -> str:
    return "no network" if name == NONE else name.replace(" - ", " − ")


def heading(score: str, protocol: str) -> str:
    """Return a score's heading with what chose τ; the notes state the protocol and the boxes once for all scores."""
    if protocol.startswith(FAITHFULNESS):
        return f"{score} ({protocol.removeprefix(FAITHFULNESS + ': ')})"
    _, _, tau = protocol_parts(protocol)
    return f"{score} ({tau})" if tau else score


def protocol_parts(protocol: str) -> tuple[str, str, str]:
    """Split a protocol's text into its name, the boxes that are read, and what chose τ."""
    name, _, rest = protocol.partition(": ")
    boxes, _, tau = rest.partition(", ")
    return name, boxes, tau


def difference_table(summary: pd.DataFrame) -> Table | None:
    """Make the table of all differences between poolings, with intervals and tests; None if there is no difference."""
    lines = summary[summary["pooling"].str.contains(" - ") & summary["kind"].isin((SCORE, ORACLE, HELD_OUT))]
    lines = lines[lines["mean"].notna()]
    if lines.empty:
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
    return Table("Differences", columns, [_difference_row(line) for line in _records(lines)])


def _difference_row(line: dict[str, Any]) -> list[Cell]:
    oracle = line["kind"] == ORACLE
    runs, scale = tuple(line["runs"]), 1 if line["score"] in _RATIO else 100
    text = heading(line["score"], line["protocol"])
    value = percent_or_ratio(line["score"], line["mean"], sign=True)
    row = [
        Cell(_pooling(line["pooling"]), line["pooling"]),
        Cell(line["map"], line["map"]),
        Cell(f"oracle: {text}" if oracle else text, text),
        Cell(value, line["mean"], hint=_hint(line), runs=runs),
    ]
    if np.isnan(line["low"]):
        few = is_few(line["pooling"], line["seeds"])
        row.append(Cell(TOO_SMALL) if few else Cell("not known", hint="not all records are on disk"))
    else:
        ends = f"{scale * line['low']:+.2f} to {scale * line['high']:+.2f}".replace("-", "−")
        row.append(Cell(ends, line["low"]))
    row += [_p_cell(line[column]) for column in ("p", "p_holm", "mcnemar")]
    return [*row, Cell(str(line["seeds"] or "images only"), line["seeds"])]


def _p_cell(p: float) -> Cell:
    if np.isnan(p):
        return Cell("–")
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", p)
