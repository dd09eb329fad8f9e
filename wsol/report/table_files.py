"""The files of a comparison's table: long as .csv, wide as .md and .tex, with what a reader must know to trust them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from wsol.atomic_files import read_json, write_text
from wsol.comparison.bootstrap import RESAMPLES
from wsol.comparison.comparison import Comparison, measure
from wsol.comparison.summary import MeasuredLines, summarize
from wsol.report.content import Table
from wsol.report.missing_runs import command_for, missing_runs
from wsol.report.score_table import COST, DEGENERATE, protocol_parts, score_table
from wsol.report.table_formats import latex, markdown
from wsol.runs.experiment import PSOL
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder, load_or_none, save_frame
from wsol.runs.tuning import CLASSIFICATION
from wsol.scoring.baselines import NONE
from wsol.scoring.score import FAITHFULNESS, NO_BOX

_OF_AREAS = {"box_area_ratio", "coverage", "energy_pointing", "leakage"}


def _settings(results: Path, rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Run -> its settings, without baselines."""
    runs = sorted(set(rows.loc[rows["backbone"] != NONE, "run"]))
    return {run: RunFolder.named(results, run).settings() for run in runs}


def describe_runs(
    results: Path, rows: pd.DataFrame, summary: pd.DataFrame, failed: pd.DataFrame | None = None
) -> list[str]:
    """What a reader must know to trust the table and to make it again, a sentence each.

    Args:
        results: the folder that holds `runs`.
        rows: of the table.
        summary: of the rows.
        failed: rows of runs that no mean counts, as of `Comparison`; their seeds were tried, so they are not missing.

    Raises:
        ValueError: if no run says how it was scored.
    """
    found = _settings(results, rows)
    runs, settings = list(found), list(found.values())
    sizes = settings[0]["split_sizes"]
    seeds = {
        pooling: sorted({one["seed"] for one in settings if one["pooling"] == pooling})
        for pooling in sorted({one["pooling"] for one in settings}, key=lambda one: (few_shot_count(one) or 0, one))
    }

    def listed(values: set[str]) -> str:
        return "; ".join(f"`{value}`" for value in sorted(values) if value)

    readers: dict[str, list[str]] = {}
    for score, protocol in dict(zip(rows["score"], rows["protocol"], strict=True)).items():
        if protocol != NO_BOX and not protocol.startswith(FAITHFULNESS):
            readers.setdefault(protocol_parts(protocol)[1], []).append(score)
    files = [RunFolder.named(results, run).protocol_file(rows["protocol_key"].iloc[0]) for run in runs]
    scored = [one for one in (load_or_none(file, read_json) for file in files) if one is not None]
    if not scored:
        raise ValueError(f"{files[0]} is missing; run the same command again, or delete the rows that it belongs to.")
    training, scoring = (listed({one["command"] for one in which}) for which in (settings, scored))
    of_areas = sorted(_OF_AREAS & set(rows["score"]))
    return [
        f"Data: {settings[0]['data']}, {settings[0]['num_classes']} classes, {sizes['train']} train, "
        f"{sizes['val']} val and {sizes['test']} test images. Network: {settings[0]['backbone']}.",
        "Seeds: " + ", ".join(f"{one} {seeds[one]}" for one in seeds if few_shot_count(one) is None) + ".",
        *_of_boxes(settings, seeds, set(rows["map"])),
        *_of_seeds(found, {} if failed is None or failed.empty else _settings(results, failed)),
        *_of_intervals(summary),
        "Percent of the test images."
        + (f" Percent of an area or a sum, not of images: {', '.join(of_areas)}." if of_areas else ""),
        "What chose the score-map threshold τ: on val, the held-out images; on test, the scored images themselves "
        "(an oracle: best case, not comparable with the others; the same score at the threshold of val stands beside "
        "it, and how much the oracle flatters); by Otsu: each map's own scores; a number: fixed beforehand.",
        f"Protocol `{scored[0]['protocol']}`: {scored[0]['text']}.",
        *_of_readers(readers),
        *_of_maps(rows),
        f"Command: {training if training == scoring else f'training {training}, scores {scoring}'}.",
        f"Code: training {listed({one['commit'] for one in settings})}, scores {listed(set(rows['commit']))}."
        + (" Scores of more than one version of the code stand side by side here." if _mixed(rows) else ""),
        "Versions: " + " | ".join(sorted({_versions(one["versions"]) for one in settings})) + ".",
    ]


def _of_boxes(
    settings: Sequence[Mapping[str, Any]], seeds: Mapping[str, Sequence[int]], maps: Collection[str]
) -> list[str]:
    """What the networks learned that are trained with boxes, a sentence each."""
    told = {one["pooling"]: one["supervision"] for one in settings if "supervision" in one}
    notes = [
        f"{name}: a network trained with boxes, one for all heads; {told[name]}; seeds {seeds[name]}."
        for name in seeds
        if name in told
    ]
    if PSOL in maps:
        notes.append(
            f"{PSOL}: a network that gives one box whatever the class, trained with the boxes of its head's maps on "
            "the training images; the boxes of val chose their method and τ. Classes are those of the head."
        )
    return notes


def _of_readers(readers: Mapping[str, Sequence[str]]) -> list[str]:
    """Which scores read which boxes; nothing where none reads any."""
    told = "; ".join(f"{boxes} by {', '.join(names)}" for boxes, names in readers.items())
    return [f"Boxes read: {told}."] if told else []


def _mixed(rows: pd.DataFrame) -> bool:
    """Were the scores of trained runs made by different versions of the code?"""
    return rows.loc[rows["backbone"] != NONE, "commit"].nunique() > 1


def _of_seeds(runs: Mapping[str, Mapping[str, Any]], failed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Runs that one pooling has and another lacks, with the commands that make them; what failed is there, too."""
    learned = [one for run, one in runs.items() if run not in failed]
    commands = [command_for(*one) for one in missing_runs(learned, failed=failed.values())]
    return [f"Missing: {', '.join(f'`{command}`' for command in commands)}."] if commands else []


def _of_intervals(summary: pd.DataFrame) -> list[str]:
    """How to read ± and bold."""
    notes = []
    if summary["half_width"].notna().any():
        seeds = summary.loc[~summary["pooling"].isin([NONE]), "seeds"]
        alone = " With one seed it covers the images alone." if (seeds == 1).any() else ""
        notes.append(
            "±: half of the 95 % interval of the mean over seeds, of both test images and training seeds, crossed "
            f"(Obuchowski and Rockette 1995, with the quantiles of Howe 1974; images by {RESAMPLES:,} bootstrap "
            f"resamples, each score made anew as a whole, its threshold too).{alone} Baselines have no seeds. Printed "
            "with the digits that it allows."
        )
    if summary["best"].any():
        notes.append(
            "Bold: the best of its column, and what a paired test does not tell apart from it (5 %, Holm's correction "
            "within the column)."
        )
    tested = summary[summary["p_holm"].notna()]
    tested = tested[
        ~((tested["protocol"] == NO_BOX) & tested.duplicated(["pooling", "score"]))
    ]  # the same for each map
    if len(tested):
        clear = tested[tested["p_holm"] < 0.05]
        notes.append(
            f"Differences are taken seed by seed on the same images. Corrected for all of this table (Holm), "
            f"{len(clear)} of {len(tested)} are significant at 5 %; all p-values are in the .csv."
        )
    return notes


def _of_maps(rows: pd.DataFrame) -> list[str]:
    """How to read what is told of the map methods."""
    notes = []
    if rows["exact"].ne("").any():
        notes.append(
            "Exact: the map's cells make up the class's logit less its bias, pooled as the head pools them or summed; "
            "every other map shows something else than the computation of the logit."
        )
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
            f"{DEGENERATE.capitalize()}: of the test images, over all seeds; scored all the same. {COST}: what the "
            f"maps took beyond the forward pass that all methods share{shared}; mean over seeds, and another on every "
            "machine."
        )
    return notes


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in packages.items())


def of_failures(failed: pd.DataFrame) -> list[str]:
    """Runs that no mean counts, by head."""
    if failed.empty:
        return []
    told = []
    for (pooling, status), group in failed.drop_duplicates(["run"]).groupby(["pooling", "status"]):
        seeds = ", ".join(str(seed) for seed in sorted(group["seed"]))
        told.append(f"{pooling} {len(group)} {status} (seed {seeds})")
    return [
        f"Left out of all means: {'; '.join(told)}. Diverged: the loss, or what the trained network gives, was not "
        "finite; collapsed: top-1 on val is shown to be near chance."
    ]


def of_tuning(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How each head's training settings were chosen, and every trial of the search."""
    tuned = {one["pooling"]: one["tuned"] for one in settings.values() if "tuned" in one}
    if not tuned:
        return []
    how = next(one["identity"]["tuning"] for one in settings.values() if "tuned" in one)
    space = ", ".join(f"{name} in [{low:g}, {high:g}]" for name, (low, high) in how["space"].items())
    by = "its top-1 on val" if how["select"] == CLASSIFICATION else "its MaxBoxAcc on val, so that boxes chose it"
    notes = [
        f"Tuned: {how['trials']} trials for each head, at the same points, drawn log-uniformly (seed {how['seed']}): "
        f"{space}. The best by {by}, trains all seeds."
        if how["trials"] > 1
        else "Tuned: one trial for each head, with the settings as they were."
    ]
    for head, search in sorted(tuned.items()):
        trials = []
        for one in search["trials"]:
            values = ", ".join(f"{name} {_setting(one[name])}" for name in search["settings"])
            words = [] if one["score"] is None else [f"{100 * one['score']:.1f}"]
            words += [one["status"]] if one["status"] else []
            words += ["(chosen)"] if one["trial"] == search["chosen"] else []
            trials.append(f"{values}: {' '.join(words)}")
        notes.append(f"Trials of {head}: {'; '.join(trials)}.")
    return notes


def _setting(value: float | None) -> str:
    """A tried setting; head_lr may be left to lr."""
    return "null" if value is None else f"{value:g}"


def full_table(results: Path, comparison: Comparison, summary: pd.DataFrame) -> Table:
    """The scores of a comparison with the notes that a reader needs."""
    commands = {one["pooling"]: one["command"] for one in _settings(results, comparison.rows).values()}

    def missing(pooling: str, name: str) -> str:
        return commands.get(pooling, "")

    table = score_table(summary, comparison.name, missing)
    notes = [
        *of_failures(comparison.failed),
        *describe_runs(results, comparison.rows, summary, comparison.failed),
        *of_tuning(_settings(results, comparison.rows)),
    ]
    return replace(table, notes=notes)


def write_tables(
    results: Path, comparison: Comparison, out: Path, measured: MeasuredLines | None = None
) -> dict[str, Path]:
    """Write one comparison as `.csv` (long, fractions), `.md` and `.tex` (wide, percent).

    Args:
        results: the folder that holds `runs`.
        comparison: which rows.
        out: the folder whose `tables` the files go into.
        measured: what the records say; None: they are read.

    Returns:
        suffix -> path.
    """
    if measured is None:
        measured = measure(comparison.lines(results))
    summary = summarize(comparison.rows, measured)
    return write_files(comparison, summary, full_table(results, comparison, summary), out)


def write_files(comparison: Comparison, summary: pd.DataFrame, table: Table, out: Path) -> dict[str, Path]:
    """Write a table that is made already; as `write_tables`."""
    name = comparison.file_name(out)
    paths = {suffix: out / "tables" / f"{name}.{suffix}" for suffix in ("csv", "md", "tex")}
    save_frame(paths["csv"], summary.assign(runs=[";".join(runs) for runs in summary["runs"]]))
    write_text(paths["md"], markdown(table))
    write_text(paths["tex"], latex(table))
    return paths
