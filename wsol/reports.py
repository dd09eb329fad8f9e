"""From saved rows to tables: mean and spread over seeds, and the paired difference between poolings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from wsol.degenerate import Degenerate
from wsol.pipeline import NONE
from wsol.runs import FACT_COLUMNS, RunFolder, load_or_none, read_json, read_rows, save_frame
from wsol.score import FAITHFULNESS, NO_BOX
from wsol.whole_files import write_text

_DEGENERATE, _COST = "degenerate maps", "ms/image"  # columns
_OF_AREAS = {"box_area_ratio", "coverage", "energy_pointing", "leakage"}


@dataclass(frozen=True)
class Comparison:
    """Runs that differ in nothing but pooling and seed, scored by one protocol, with the baselines of their data."""

    name: str  # data, backbone and two hashes: of the settings that the runs share, and of the protocol
    rows: pd.DataFrame


def read_comparisons(results: Path) -> Iterator[Comparison]:
    """All comparisons that can be made from the rows on disk, in order of their names.

    Args:
        results: the folder that holds `runs`.
    """
    files = sorted((results / "runs").glob("*/scores-*.csv"))
    if not files:
        return
    rows = pd.concat([read_rows(path) for path in files], ignore_index=True)
    is_baseline = rows["backbone"] == NONE
    for (comparison, protocol), group in rows[~is_baseline].groupby(["comparison", "protocol_key"]):
        same = is_baseline & (rows["baselines"] == group["baselines"].iloc[0]) & (rows["protocol_key"] == protocol)
        yield Comparison(f"{comparison}-{protocol}", pd.concat([group, rows[same]], ignore_index=True))


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """Long table: one line per pooling, map and score, and per paired difference GMP - GAP.

    Returns:
        Columns pooling, map, score, protocol, mean, std (sample standard deviation; NaN for one seed), seeds, images,
        and of each pooling's map what it repeats by theorem, the milliseconds an image that it took, and how many of
        its maps, over all seeds, are degenerate. Fractions. Differences are taken seed by seed, over the seeds that
        both poolings have.
    """
    keys = ["pooling", "map", "score", "protocol"]
    per_seed = rows.set_index([*keys, "seed"])["value"].unstack("seed")
    if {"gap", "gmp"} <= set(rows["pooling"]):
        difference = per_seed.loc["gmp"] - per_seed.loc["gap"]  # NaN for a seed that only one of them has
        per_seed = pd.concat([per_seed, pd.concat({"gmp - gap": difference}, names=["pooling"])])
    summary = pd.DataFrame(
        {"mean": per_seed.mean(axis=1), "std": per_seed.std(axis=1), "seeds": per_seed.notna().sum(axis=1)}
    )
    images = rows.groupby("score")["images"].first()
    summary = summary.reset_index()
    summary["images"] = summary["score"].map(images)
    summary = summary.merge(_facts(rows), on=["pooling", "map"], how="left")
    order = {name: place for place, name in enumerate([*sorted(set(rows["pooling"]) - {NONE}), "gmp - gap", NONE])}
    maps = {name: place for place, name in enumerate(dict.fromkeys(rows["map"]))}  # in the order they were asked for
    scores = {name: place for place, name in enumerate(dict.fromkeys(rows["score"]))}
    places = summary.assign(
        pooling=summary["pooling"].map(order), map=summary["map"].map(maps), score=summary["score"].map(scores)
    )
    return summary.loc[places.sort_values(["pooling", "map", "score"], kind="stable").index].reset_index(drop=True)


def _facts(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per pooling and map; nothing is told of baselines, nor in rows of older versions."""
    told = rows.reindex(columns=["pooling", "map", "seed", *FACT_COLUMNS])
    runs = told.drop_duplicates(["pooling", "map", "seed"]).astype({"same_as": object}).fillna({"same_as": ""})
    times, counts = ["forward_ms", "ms_per_image"], ["constant_maps", "zero_maps", "one_pixel_maps"]
    grouped = runs.groupby(["pooling", "map"])
    return (
        grouped["same_as"]
        .first()
        .to_frame()
        .join([grouped[times].mean(), grouped[counts].sum(min_count=1)])
        .reset_index()
    )


def _degenerate(constant: float, zero: float, one_pixel: float) -> str:
    if np.isnan([constant, zero, one_pixel]).any():
        return ""
    return str(Degenerate(int(constant), int(zero), int(one_pixel))) or "0"


def format_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Wide table of strings in percent: a line per pooling and map, a column per score with its protocol."""

    def cell(mean: float, std: float, difference: bool) -> str:
        if np.isnan(mean):
            return "–"
        sign = "+" if difference else ""
        spread = "" if np.isnan(std) else f" ± {100 * std:.1f}"
        return f"{100 * mean:{sign}.1f}{spread}".replace("-", "−")

    cells = summary.assign(
        cell=[
            cell(mean, std, pooling == "gmp - gap")
            for mean, std, pooling in zip(summary["mean"], summary["std"], summary["pooling"], strict=True)
        ],
        column=[_heading(*pair) for pair in zip(summary["score"], summary["protocol"], strict=True)],
        pooling=summary["pooling"].replace({NONE: "no network", "gmp - gap": "gmp − gap"}),
    )
    wide = cells.pivot(index=["pooling", "map"], columns="column", values="cell")
    faithful = list(dict.fromkeys(cells.loc[cells["protocol"].str.startswith(FAITHFULNESS), "column"]))
    without = wide.index.get_level_values("pooling") == "no network"
    wide.loc[without, faithful] = "–"  # nothing to be faithful to
    wide = wide.fillna("missing")
    lines = list(dict.fromkeys(zip(cells["pooling"], cells["map"], strict=True)))
    table = wide.loc[lines, list(dict.fromkeys(cells["column"]))].reset_index()
    facts = cells.drop_duplicates(["pooling", "map"]).reindex(columns=FACT_COLUMNS).reset_index(drop=True)
    if facts["same_as"].fillna("").ne("").any():
        table.insert(2, "by theorem", facts["same_as"].fillna(""))
    if facts["ms_per_image"].notna().any():
        table[_DEGENERATE] = [_degenerate(*three) for three in facts[list(FACT_COLUMNS[-3:])].to_numpy(float)]
        table[_COST] = ["" if np.isnan(one) else f"{one:.3g}" for one in facts["ms_per_image"]]
    return table


def _heading(score: str, protocol: str) -> str:
    # What chose τ belongs to the number; the protocol and which boxes were read are said once, below the table.
    if protocol.startswith(FAITHFULNESS):
        return f"{score} ({protocol.removeprefix(FAITHFULNESS + ': ')})"
    _, _, tau = _parts(protocol)
    return f"{score} ({tau})" if tau else score


def _parts(protocol: str) -> tuple[str, str, str]:
    """Name, boxes read, and what chose τ."""
    name, _, rest = protocol.partition(": ")
    boxes, _, tau = rest.partition(", ")
    return name, boxes, tau


def describe_runs(results: Path, rows: pd.DataFrame) -> list[str]:
    """What a reader must know to trust the table and to make it again, a sentence each."""
    runs = sorted(set(rows.loc[rows["backbone"] != NONE, "run"]))
    settings = [RunFolder(results / "runs" / run).settings() for run in runs]
    sizes = settings[0]["split_sizes"]
    seeds = {
        pooling: sorted({one["seed"] for one in settings if one["pooling"] == pooling})
        for pooling in sorted({one["pooling"] for one in settings})
    }

    def listed(values: set[str]) -> str:
        return "; ".join(f"`{value}`" for value in sorted(values) if value)

    readers: dict[str, list[str]] = {}
    for score, protocol in dict(zip(rows["score"], rows["protocol"], strict=True)).items():
        if protocol != NO_BOX and not protocol.startswith(FAITHFULNESS):
            readers.setdefault(_parts(protocol)[1], []).append(score)
    files = [RunFolder(results / "runs" / run).protocol_file(rows["protocol_key"].iloc[0]) for run in runs]
    scored = [one for one in (load_or_none(file, read_json) for file in files) if one is not None]
    if not scored:
        raise ValueError(f"{files[0]} is missing; run the same command again, or delete the rows that it belongs to.")
    training, scoring = (listed({one["command"] for one in which}) for which in (settings, scored))
    of_areas = sorted(_OF_AREAS & set(rows["score"]))
    return [
        f"Data: {settings[0]['data']}, {settings[0]['num_classes']} classes, {sizes['train']} train, "
        f"{sizes['val']} val and {sizes['test']} test images. Network: {settings[0]['backbone']}.",
        "Seeds: " + ", ".join(f"{pooling} {seeds[pooling]}" for pooling in seeds) + ".",
        "Percent of the test images, mean ± sample standard deviation over seeds; gmp − gap: the same of the "
        "differences between runs of one seed."
        + (f" Percent of an area or a sum, not of images: {', '.join(of_areas)}." if of_areas else ""),
        "What chose the score-map threshold τ: on val, the held-out images; on test, the scored images themselves "
        "(best case, not comparable with the others); by Otsu: each map's own scores; a number: fixed beforehand.",
        f"Protocol `{scored[0]['protocol']}`: {scored[0]['text']}.",
        "Boxes read: " + "; ".join(f"{boxes} by {', '.join(names)}" for boxes, names in readers.items()) + ".",
        *_of_maps(rows),
        f"Command: {training if training == scoring else f'training {training}, scores {scoring}'}.",
        f"Code: training {listed({one['commit'] for one in settings})}, scores {listed(set(rows['commit']))}.",
        "Versions: " + " | ".join(sorted({_versions(one["versions"]) for one in settings})) + ".",
    ]


def _of_maps(rows: pd.DataFrame) -> list[str]:
    """How to read what is told of the map methods."""
    notes = []
    if rows["same_as"].str.endswith("up to ReLU").any():
        notes.append(
            "By theorem: up to ReLU, two methods have the same map but for its negative cells, which one sets to zero. "
            "Resized and normalized they have other scores, so boxes may differ for that reason alone."
        )
    if rows["protocol"].str.startswith(FAITHFULNESS).any():
        told = rows[rows["protocol"].str.startswith(FAITHFULNESS)]
        undefined = int((rows["images"].max() - told["images"]).sum())
        left_out = (
            f"; undefined, and so left out, {undefined} of {len(told) * rows['images'].max()}" if undefined else ""
        )
        notes.append(
            "Faithfulness: means over the test images, times 100; its maps are bicubic to the image and min-max "
            f"normalized, whatever the protocol{left_out}."
        )
    if rows["ms_per_image"].notna().any():
        shared = f" ({rows['forward_ms'].mean():.3g})" if rows["forward_ms"].notna().any() else ""
        notes.append(
            f"{_DEGENERATE.capitalize()}: of the test images, over all seeds; scored all the same. {_COST}: what the "
            f"maps took beyond the forward pass that all methods share{shared}; mean over seeds, and another on every "
            "machine."
        )
    return notes


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in packages.items())


def write_tables(results: Path, comparison: Comparison, folder: Path) -> dict[str, Path]:
    """Write one comparison as `.csv` (long, fractions), `.md` and `.tex` (wide, percent).

    Returns:
        suffix -> path.
    """
    summary = summarize(comparison.rows)
    wide = format_table(summary)
    notes = describe_runs(results, comparison.rows)
    paths = {suffix: folder / f"{comparison.name}.{suffix}" for suffix in ("csv", "md", "tex")}
    save_frame(paths["csv"], summary)
    cells, headers = wide.to_numpy().tolist(), wide.columns.tolist()
    markdown = tabulate(cells, headers, tablefmt="github", disable_numparse=True)
    write_text(paths["md"], markdown + "\n\n" + "".join(f"- {note}\n" for note in notes))
    latex = tabulate(cells, headers, tablefmt="latex_booktabs", disable_numparse=True)
    for character, command in {"±": r"$\pm$", "−": "$-$", "τ": r"$\tau$", "–": "--"}.items():
        latex = latex.replace(character, command)
    write_text(paths["tex"], "".join(f"% {note}\n" for note in notes) + latex + "\n")
    return paths
