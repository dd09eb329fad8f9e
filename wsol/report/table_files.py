"""Write a comparison's table as files, long as .csv, wide as .md and .tex, with notes on how it was made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from wsol.atomic_files import read_json, write_text
from wsol.comparison.bootstrap import RESAMPLES
from wsol.comparison.comparison import Comparison, measure
from wsol.comparison.paired_scores import FEWEST_SEEDS
from wsol.comparison.summary import MeasuredLines, summarize
from wsol.data.preparation import share_of_test
from wsol.report.content import Column, Table
from wsol.report.missing_runs import command_for, missing_runs
from wsol.report.score_table import COST, DEGENERATE, TOO_SMALL, is_few, protocol_parts, score_table
from wsol.report.table_formats import latex, markdown
from wsol.runs.as_is import AS_IS
from wsol.runs.experiment import PSOL
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder, load_or_none, save_frame
from wsol.runs.tuning import CLASSIFICATION
from wsol.scoring.baselines import NONE
from wsol.scoring.score import FAITHFULNESS, NO_BOX
from wsol.scoring.thresholds import LABEL_FREE

_OF_AREAS = {"box_area_ratio", "coverage", "energy_pointing", "leakage"}


def _settings(results: Path, rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Read the settings of each run, without baselines."""
    runs = sorted(set(rows.loc[rows["backbone"] != NONE, "run"]))
    return {run: RunFolder.named(results, run).settings() for run in runs}


def describe_runs(
    results: Path, rows: pd.DataFrame, summary: pd.DataFrame, failed: pd.DataFrame | None = None
) -> list[str]:
    """Write the notes that a reader needs to trust the table and to make it again, one text for each subject.

    Args:
        results: the folder that contains `runs`.
        rows: rows of the table.
        summary: summary of the rows.
        failed: rows of the runs that no mean counts; see `Comparison`. Their seeds were tried, so they are not missing.

    Raises:
        ValueError: if no run has the settings of its evaluation.
    """
    settings_of = _settings(results, rows)
    runs, settings = list(settings_of), list(settings_of.values())
    sizes = settings[0]["split_sizes"]
    poolings = {run["pooling"] for run in settings}
    seeds = {
        pooling: sorted({run["seed"] for run in settings if run["pooling"] == pooling})
        for pooling in sorted(poolings, key=lambda pooling: (few_shot_count(pooling) or 0, pooling))
    }

    def listed(values: set[str]) -> str:
        return "; ".join(f"`{value}`" for value in sorted(values) if value)

    readers: dict[str, list[str]] = {}
    for score, protocol in dict(zip(rows["score"], rows["protocol"], strict=True)).items():
        if protocol != NO_BOX and not protocol.startswith(FAITHFULNESS):
            readers.setdefault(protocol_parts(protocol)[1], []).append(score)
    files = [RunFolder.named(results, run).protocol_file(rows["protocol_key"].iloc[0]) for run in runs]
    scored = [content for content in (load_or_none(file, read_json) for file in files) if content is not None]
    if not scored:
        raise ValueError(f"{files[0]} is missing; run the same command again, or delete the rows that it belongs to.")
    training, scoring = (listed({content["command"] for content in contents}) for contents in (settings, scored))
    own = [method for method in LABEL_FREE.values() if rows["protocol"].str.endswith(f"τ by {method}").any()]
    of_areas = sorted(_OF_AREAS & set(rows["score"]))
    as_is = settings[0]["backbone"] == AS_IS
    first = "maps" if as_is else "training"
    if as_is:
        networks = _of_networks(settings)
    else:
        networks = [
            "Seeds: " + ", ".join(f"{head} {seeds[head]}" for head in seeds if few_shot_count(head) is None) + ".",
            *_of_boxes(settings, seeds, set(rows["map"])),
            *_of_seeds(settings_of, {} if failed is None or failed.empty else _settings(results, failed)),
        ]
    return [
        f"Data: {settings[0]['data']}, {settings[0]['num_classes']} classes, {sizes['train']} train, "
        f"{sizes['val']} val and {sizes['test']} test images."
        + ("" if as_is else f" Network: {settings[0]['backbone']}."),
        *_of_held_out(settings[0]),
        *networks,
        *_of_intervals(summary),
        "Percent of the test images."
        + (f" Percent of an area or a sum, not of images: {', '.join(of_areas)}." if of_areas else ""),
        "What chose the score-map threshold τ: on val, the held-out images; on test, the scored images themselves "
        "(an oracle: best case, not comparable with the others; the next columns show the same score at the threshold "
        "of val, and how much the oracle flatters); by "
        f"{', '.join(own) or 'Otsu'}: each map's own scores; a number: fixed beforehand.",
        f"Protocol `{scored[0]['protocol']}`: {scored[0]['text']}.",
        *_of_readers(readers),
        *_of_maps(rows),
        f"Command: {training if training == scoring else f'{first} {training}, scores {scoring}'}.",
        f"Code: {first} {listed({run['commit'] for run in settings})}, scores "
        f"{listed(set(rows['commit']))}."
        + (" Scores of more than one version of the code stand side by side here." if _mixed(rows) else ""),
        "Versions: " + " | ".join(sorted({_versions(run["versions"]) for run in settings})) + ".",
    ]


def _of_held_out(settings: Mapping[str, Any]) -> list[str]:
    """Return a note if val is held out of test."""
    val = (settings.get("reader") or {}).get("val")
    share = share_of_test(val)
    if share is None:
        return []
    return [
        f"val is held out of the test images, each with probability {share:g} by a hash of its id; the scores are of "
        "the other images."
    ]


def _of_networks(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the notes on networks that are scored as they are."""
    texts = []
    for run in settings:
        layer = run["target_layer"]
        reads = f"target layer {layer}" if layer else "no target layer of its own"
        texts.append(f"{run['pooling']} (weights {run['identity']['network']['weights_digest']}, {reads})")
    size, among = settings[0]["identity"]["image_size"], settings[0]["identity"]["predict_among"]
    whose = "all classes of the network" if among == "network" else "the classes of the data set alone"
    return [
        f"Networks as they are, each with its own classifier; nothing was trained, so there are no seeds: "
        f"{'; '.join(texts)}. Images are resized to {size} x {size} px, without a crop; predictions are among {whose}."
    ]


def _of_boxes(
    settings: Sequence[Mapping[str, Any]], seeds: Mapping[str, Sequence[int]], maps: Collection[str]
) -> list[str]:
    """Return a note on the supervision of each network that is trained with boxes."""
    supervision = {run["pooling"]: run["supervision"] for run in settings if "supervision" in run}
    notes = [
        f"{name}: a network trained with boxes, one for all heads; {supervision[name]}; seeds {seeds[name]}."
        for name in seeds
        if name in supervision
    ]
    if PSOL in maps:
        notes.append(
            f"{PSOL}: a network that gives one box whatever the class, trained with the boxes of its head's maps on "
            "the training images; the boxes of val chose their method and τ. Classes are those of the head."
        )
    return notes


def _of_readers(readers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a note on which scores read which boxes; empty if no score reads boxes."""
    clauses = "; ".join(f"{boxes} by {', '.join(names)}" for boxes, names in readers.items())
    return [f"Boxes read: {clauses}."] if clauses else []


def _mixed(rows: pd.DataFrame) -> bool:
    """Return whether different versions of the code made the scores of trained runs."""
    return rows.loc[rows["backbone"] != NONE, "commit"].nunique() > 1


def _of_seeds(runs: Mapping[str, Mapping[str, Any]], failed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a note with the commands of the runs that one pooling has and another lacks; failed runs count as runs."""
    learned = [settings for run, settings in runs.items() if run not in failed]
    commands = [command_for(*missing) for missing in missing_runs(learned, failed=failed.values())]
    return [f"Missing: {', '.join(f'`{command}`' for command in commands)}."] if commands else []


def _of_intervals(summary: pd.DataFrame) -> list[str]:
    """Return the notes on ±, bold and p-values."""
    notes = []
    few = summary[[is_few(pooling, seeds) for pooling, seeds in zip(summary["pooling"], summary["seeds"], strict=True)]]
    if len(few):
        rows = ", ".join(dict.fromkeys(few["pooling"]))
        notes.append(
            f"Seeds: {TOO_SMALL} for an interval, a test or bold print with fewer than {FEWEST_SEEDS} ({rows}); the "
            "value of each seed is listed."
        )
    if summary["half_width"].notna().any():
        if (summary.loc[summary["pooling"] != NONE, "seeds"] == 0).all():
            notes.append(
                f"±: half of the 95 % interval, of the test images alone, because nothing was trained ({RESAMPLES:,} "
                "bootstrap resamples, each scored as a whole; a threshold that val or test images choose is chosen "
                "again, from a resample of these). Numbers have the digits that it allows."
            )
        else:
            notes.append(
                "±: half of the 95 % interval of the mean over seeds, of both test images and training seeds, crossed "
                f"(Obuchowski and Rockette 1995, with the quantiles of Howe 1974; images by {RESAMPLES:,} bootstrap "
                "resamples, each scored as a whole; a threshold that val or test images choose is chosen again, from a "
                "resample of these; box areas, coverage and leakage are read at the chosen threshold alone). Baselines "
                "have no seeds. Numbers have the digits that it allows."
            )
    if summary["bias"].notna().any():
        largest = summary.iloc[int(summary["bias"].abs().argmax())]
        notes.append(
            "The best τ on test makes a score too high, the more so the fewer images there are: here by up to "
            f"{100 * largest['bias']:.1f} points ({largest['pooling']} {largest['map']}, {largest['score']}; bootstrap "
            "estimate of the bias). The scores are not corrected for it."
        )
    if summary["best"].any():
        notes.append(
            "Bold: the best of its column, and what a test does not distinguish from it (5 %, Holm's correction within "
            "the column)."
        )
    tested = summary[summary["p_holm"].notna()]
    tested = tested[
        ~((tested["protocol"] == NO_BOX) & tested.duplicated(["pooling", "score"]))
    ]  # the same for each map
    if len(tested):
        clear = tested[tested["p_holm"] < 0.05]
        between = (
            "Differences are taken image by image."
            if (tested["seeds"] == 0).all()
            else "Differences between heads are of means over seeds, on the same images: seeds of different heads are "
            "not paired (Welch 1947)."
        )
        notes.append(
            f"{between} Corrected for all of this table (Holm), "
            f"{len(clear)} of {len(tested)} are significant at 5 %; all p-values are in the .csv."
        )
    return notes


def _of_maps(rows: pd.DataFrame) -> list[str]:
    """Return the notes on the columns about the map methods."""
    notes = []
    if rows["exact"].ne("").any():
        notes.append(
            "Exact: the map's cells, pooled as the head pools them or summed, give the class's logit less its bias; "
            "every other map shows something else than the computation of the logit."
        )
    if rows["same_as"].str.endswith("up to ReLU").any():
        notes.append(
            "By theorem: up to ReLU, two methods have the same map but for its negative cells, which one method sets "
            "to zero. Resized and normalized the maps have other scores, so boxes may differ for that reason alone."
        )
    if rows["protocol"].str.startswith(FAITHFULNESS).any():
        measures = rows[rows["protocol"].str.startswith(FAITHFULNESS)]
        undefined = int((rows["images"].max() - measures["images"]).sum())
        left_out = (
            f"; undefined, and so left out, {undefined} of {len(measures) * rows['images'].max()}" if undefined else ""
        )
        notes.append(
            "Faithfulness: means over the test images, times 100; its maps are resized to the image by bicubic "
            f"interpolation and min-max normalized, whatever the protocol{left_out}."
        )
    if rows["ms_per_image"].notna().any():
        as_is = AS_IS in set(rows.get("backbone", ()))
        counted = "of the test images" + ("" if as_is else ", over all seeds")
        mean = "" if as_is else "; mean over seeds"
        shared = f" ({rows['forward_ms'].mean():.3g})" if rows["forward_ms"].notna().any() else ""
        notes.append(
            f"{DEGENERATE.capitalize()}: {counted}; they are scored as all others. {COST}: the time of the maps beyond "
            f"the forward pass that all methods share{shared}{mean}. It differs between machines."
        )
    return notes


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in packages.items())


def of_failures(failed: pd.DataFrame) -> list[str]:
    """Return a note on the runs that no mean counts, by head."""
    if failed.empty:
        return []
    clauses = []
    for (pooling, status), group in failed.drop_duplicates(["run"]).groupby(["pooling", "status"]):
        seeds = ", ".join(str(seed) for seed in sorted(group["seed"]))
        clauses.append(f"{pooling} {len(group)} {status} (seed {seeds})")
    return [
        f"Left out of all means: {'; '.join(clauses)}. Diverged: the loss or an output of the trained network was not "
        "finite; collapsed: top-1 on val is shown to be near chance."
    ]


def of_tuning(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return notes on the search that chose each head's training settings, with every trial."""
    tuned = {run["pooling"]: run["tuned"] for run in settings.values() if "tuned" in run}
    if not tuned:
        return []
    how = next(run["identity"]["tuning"] for run in settings.values() if "tuned" in run)
    space = ", ".join(f"{name} in [{low:g}, {high:g}]" for name, (low, high) in how["space"].items())
    by = "its top-1 on val" if how["select"] == CLASSIFICATION else "its MaxBoxAcc on val, so that boxes chose it"
    notes = [
        f"Tuned: {how['trials']} trials for each head, at the same points, drawn log-uniformly (seed {how['seed']}): "
        f"{space}. The best by {by}, trains all seeds."
        if how["trials"] > 1
        else "Tuned: one trial for each head, with unchanged settings."
    ]
    for head, search in sorted(tuned.items()):
        trials = []
        for trial in search["trials"]:
            values = ", ".join(f"{name} {_setting(trial[name])}" for name in search["settings"])
            words = [] if trial["score"] is None else [f"{100 * trial['score']:.1f}"]
            words += [trial["status"]] if trial["status"] else []
            words += ["(chosen)"] if trial["trial"] == search["chosen"] else []
            trials.append(f"{values}: {' '.join(words)}")
        notes.append(f"Trials of {head}: {'; '.join(trials)}.")
    return notes


def _setting(value: float | None) -> str:
    """Format a setting of a trial; null for a head_lr that follows lr."""
    return "null" if value is None else f"{value:g}"


def full_table(results: Path, comparison: Comparison, summary: pd.DataFrame) -> Table:
    """Make the table of scores of a comparison with all its notes."""
    settings = _settings(results, comparison.rows)
    commands = {run["pooling"]: run["command"] for run in settings.values()}

    def missing(pooling: str, name: str) -> str:
        return commands.get(pooling, "")

    table = score_table(summary, comparison.name, missing)
    if comparison.is_as_is:
        table = replace(table, columns=[Column("network"), *table.columns[1:]])
    notes = [
        *of_failures(comparison.failed),
        *describe_runs(results, comparison.rows, summary, comparison.failed),
        *of_tuning(settings),
    ]
    return replace(table, notes=notes)


def write_tables(
    results: Path, comparison: Comparison, out: Path, measured: MeasuredLines | None = None
) -> dict[str, Path]:
    """Write one comparison as `.csv` (long, fractions), `.md` and `.tex` (wide, percent).

    Args:
        results: the folder that contains `runs`.
        comparison: the rows.
        out: the files go to its folder `tables`.
        measured: (pooling, map) -> name of the score -> its values; None: the records are read.

    Returns:
        suffix -> path.
    """
    if measured is None:
        measured = measure(comparison.lines(results))
    summary = summarize(comparison.rows, measured)
    return write_files(comparison, summary, full_table(results, comparison, summary), out)


def write_files(comparison: Comparison, summary: pd.DataFrame, table: Table, out: Path) -> dict[str, Path]:
    """Write a table that was made before; see `write_tables`."""
    name = comparison.file_name(out)
    paths = {suffix: out / "tables" / f"{name}.{suffix}" for suffix in ("csv", "md", "tex")}
    values = [";".join(f"{value:.6g}" for value in values) for values in summary["values"]]
    save_frame(paths["csv"], summary.assign(runs=[";".join(runs) for runs in summary["runs"]], values=values))
    write_text(paths["md"], markdown(table))
    write_text(paths["tex"], latex(table))
    return paths
