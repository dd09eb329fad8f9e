"""Draw localization against the sharpness of each head's pooling, and against classification, from runs on disk.

python benchmarks/pooling_axis.py                                  # every comparison under results/runs
python benchmarks/pooling_axis.py results/runs data=synthetic score=max_box_acc map=cam out=results
python benchmarks/pooling_axis.py data=cub data_root=DATA

The command writes two figures and a table for each comparison: `figures/NAME-localization_by_sharpness`,
`figures/NAME-localization_by_classification` and `tables/NAME-pooling_axis.md`. Filters: data, backbone, pooling, seed,
protocol, protocol_key, comparison, run; a text without = must be in a comparison's name. Options: score=NAME
(gt_known_loc), map=NAME (cam), results=DIR or the folder alone, out=DIR (results), figures=no, data_root=DIR. The
sharpness of a head is measured once, on up to 200 images of val, and stored in the run's folder.
"""

import glob
import logging
import math
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from tqdm import tqdm

from config.arguments import ReportWords, read_words
from config.build import build
from config.options import command_words, saved_node
from config.saved_runs import configuration, data_key, end, made_by, one_line, read_run, splits_of
from wsol.atomic_files import file_name_part, read_json, write_json, write_text
from wsol.comparison.comparison import Comparison, measure, read_comparisons
from wsol.comparison.summary import ORACLE, SCORE, summarize
from wsol.data.sample import collate
from wsol.explain.pooling_sharpness import count_cells, effective_share, sample_images
from wsol.identity import digest
from wsol.networks.classifier import Classifier, with_pooling
from wsol.report.content import Cell, Column, Table
from wsol.report.figures.pooling_axis import (
    AxisPoint,
    Interval,
    draw_localization_by_classification,
    draw_localization_by_sharpness,
)
from wsol.report.figures.style import save_drawing
from wsol.report.score_table import ORACLES, heading, percent, protocol_parts, seeds_cell
from wsol.report.table_files import describe_runs, of_failures, of_tuning
from wsol.report.table_formats import markdown
from wsol.runs.folder import RunFolder, load_or_none
from wsol.runs.head_name import HeadName, file_name, read_option
from wsol.scoring.baselines import NONE
from wsol.scoring.score import NO_BOX

log = logging.getLogger(__name__)

CLASSIFICATION, BESIDE = "top1_cls", "max_box_acc_v2"
MOST_IMAGES = 200
SHARE_FILE = "effective_share.json"


@dataclass
class Arguments(ReportWords):
    """The command line."""

    score: str = "gt_known_loc"
    map: str = "cam"


def read_arguments(words: Sequence[str]) -> Arguments:
    """Read the words of the command line.

    Raises:
        ValueError: if a word cannot be read.
    """
    arguments = Arguments()

    def own(key: str, value: str) -> bool:
        if key not in ("score", "map"):
            return False
        if not value or "," in value:
            raise ValueError(f"{key}={value}: name one {key}; a figure shows no more.")
        setattr(arguments, key, value)
        return True

    read_words(words, arguments, own)
    return arguments


class Share(NamedTuple):
    """Effective share of cells of one trained head."""

    effective: float
    cells: int  # number of cells of its maps


class Shares:
    """Effective share of cells of each run, read from its folder, or measured on a sample of val and stored there."""

    def __init__(self, results: Path, data_root: str | None) -> None:
        self.results = results
        self.overrides = [] if data_root is None else [f"machine.data_root={data_root}"]
        self.images: dict[str, tuple[Tensor, str] | str] = {}  # images and digest of their ids, or an error message

    def of(self, run: str) -> Share:
        """Return the share of a run.

        Raises:
            FileNotFoundError: if the images or the classifier are missing.
            ValueError: if they do not belong to the run.
        """
        folder = RunFolder.named(self.results, run)
        settings = folder.settings()
        # The fingerprint identifies the image ids of val, and so, with their number, those of the sample.
        fingerprint = settings["identity"]["data"]["fingerprint"]
        key = digest([settings["pooling"], settings["identity"], fingerprint, MOST_IMAGES])
        file = folder.path / SHARE_FILE
        stored = load_or_none(file, read_json)
        if stored is not None and stored.get("key") == key:
            return Share(stored["effective_share"], stored["cells"])
        images, ids = self.images_of(settings)
        classifier = self.classifier_of(settings)
        share = Share(effective_share(classifier, images), count_cells(classifier, images))
        about = {"key": key, "head": settings["pooling"], "split": "val", "images": len(images), "image_ids": ids}
        try:
            write_json(file, {**about, "effective_share": share.effective, "cells": share.cells})
        except OSError as error:  # such as a read-only archive
            log.warning("%s cannot be written: %s", file, one_line(error))
        return share

    def images_of(self, settings: dict[str, Any]) -> tuple[Tensor, str]:
        """Return a sample of val, (N, 3, H, W), and the digest of its ids; runs of the same data share it.

        Raises:
            FileNotFoundError: if the images cannot be read.
        """
        key = data_key(settings)
        if key not in self.images:
            try:
                val = splits_of(settings, configuration(self.overrides)).val
                batch = collate([val[int(index)] for index in sample_images(val, MOST_IMAGES)])
                self.images[key] = batch.images, digest(batch.image_ids)
            except Exception as error:  # figures of other data sets do not need these images, whatever the error
                self.images[key] = f"no images of {settings['data']}: {one_line(error)}"
        images = self.images[key]
        if isinstance(images, str):
            raise FileNotFoundError(images)
        return images

    def classifier_of(self, settings: dict[str, Any]) -> Classifier:
        """Read the trained classifier of a run, with the pooling that it is tested with.

        Raises:
            FileNotFoundError: if the run that trained the classifier is missing.
        """
        identity = settings["identity"]
        if "pooling_at_test" not in identity:
            return read_run(RunFolder.named(self.results, settings["run"]).path).classifier
        trained = {part: value for part, value in identity.items() if part != "pooling_at_test"}
        head = file_name(str(replace(HeadName.read(settings["pooling"]), tested_as="")))
        name = file_name_part(f"{settings['data']}-{settings['backbone']}-{head}-s{settings['seed']}-", "a run")
        tested_with = saved_node("pooling", identity["pooling_at_test"], f"the settings.json of {settings['run']}")
        for path in sorted((self.results / "runs").glob(f"{glob.escape(name)}*/settings.json")):
            if read_json(path)["identity"] == trained:
                return with_pooling(read_run(path.parent).classifier, build(tested_with)).eval()
        raise FileNotFoundError(f"the run that trained {settings['run']} is missing: {self.results / 'runs' / name}*")


@dataclass(frozen=True)
class Head:
    """One head, a row of the table."""

    name: str
    share: float  # effective share of cells, mean over seeds; NaN if unknown
    cells: int  # number of cells of a map; 0 if unknown
    reason: str  # why the share is unknown
    scores: dict[str, dict[str, Any]]  # score -> line of the summary
    settings: list[dict[str, Any]]  # settings of its runs
    seeds: int  # number of seeds that learned
    failed: int  # number of seeds that did not

    @property
    def is_swapped(self) -> bool:
        """Whether the head is tested with another pooling than it was trained with."""
        return bool(HeadName.read(self.name).tested_as)

    def point(self, score: str) -> AxisPoint:
        """Return the head's point in the figures."""
        name = HeadName.read(self.name)
        option, _ = read_option(name.pooling)
        node = self.settings[0]["identity"]["pooling"]
        plain = option == "lse" and not (node.get("learned") or name.tested_as or name.method)
        sharpness = node.get("sharpness") if plain else None
        return AxisPoint(
            label=label_of(name, sharpness),
            pooling=f"{option}+{name.method}" if name.method else option,
            localization=self.interval(score),
            classification=self.interval(CLASSIFICATION),
            share=self.share,
            on_scores=name.on_scores,
            swapped=self.is_swapped,
            sharpness=sharpness,
        )

    def chosen(self, name: str) -> str:
        """Return a training setting as text; of a tuned head, the setting that the search chose."""
        values = dict.fromkeys(run["identity"]["train"].get(name) for run in self.settings)
        return ", ".join("n/a" if value is None else f"{value:g}" for value in values)

    def interval(self, score: str) -> Interval:
        """Return the head's score with its interval; NaN if the head lacks the score."""
        line = self.scores.get(score)
        return Interval(math.nan) if line is None else Interval(line["mean"], line["low"], line["high"])


def label_of(name: HeadName, sharpness: float | None = None) -> str:
    """Shorten a head's name for a figure: `lse 10`, `gmp on scores`, `gap tested as gmp`.

    Args:
        name: name as in tables.
        sharpness: sharpness of LSE, printed if the name lacks it.
    """

    def short(text: str) -> str:
        option, settings = read_option(text)
        if option == "lse" and sharpness is not None and not settings:
            return f"lse {sharpness:g}"
        number = [value for value in settings.values() if len(settings) == 1 and value.lower() not in ("true", "false")]
        return " ".join([option, *(number or [f"{key}={value}" for key, value in settings.items()])])

    test = f" tested as {short(name.tested_as)}" if name.tested_as else ""
    return (
        short(name.pooling)
        + (" on scores" if name.on_scores else "")
        + test
        + (f" + {name.method}" if name.method else "")
    )


def read_heads(results: Path, comparison: Comparison, summary: pd.DataFrame, shares: Shares) -> list[Head]:
    """Return the heads of a comparison, from the mean to the maximum; then those tested with another pooling."""
    heads = []
    failed = Counter(comparison.failed.drop_duplicates("run")["pooling"] if len(comparison.failed) else ())
    for pooling, lines in tqdm(summary.groupby("pooling"), desc="heads", disable=None, leave=False):
        runs = list(dict.fromkeys(run for runs in lines["runs"] for run in runs))
        learned = bool(lines["mean"].notna().any())
        of_seeds, reason = [], "" if learned else "no run learned anything"
        for run in runs if learned else ():
            try:
                of_seeds.append(shares.of(run))
            except (FileNotFoundError, ValueError) as error:
                reason = one_line(error)
                break  # the mean over some seeds would be another quantity
        heads.append(
            Head(
                name=str(pooling),
                share=math.nan if reason else float(np.mean([share.effective for share in of_seeds])),
                cells=0 if reason else of_seeds[0].cells,
                reason=reason,
                scores={line["score"]: line for line in _records(lines)},
                settings=[RunFolder.named(results, run).settings() for run in runs],
                seeds=len(runs) if learned else 0,
                failed=failed[str(pooling)],
            )
        )
    return sorted(heads, key=lambda head: (head.is_swapped, math.isnan(head.share), -head.share, head.name))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in record.items()} for record in frame.to_dict("records")]


def table_of(heads: Sequence[Head], scores: Sequence[str], title: str) -> Table:
    """Make the table with a row for each head."""
    protocols = {name: str(line["protocol"]) for head in heads for name, line in head.scores.items()}
    columns = [Column("head"), Column("effective share of cells (%)")]
    for score in scores:
        group = ORACLES if protocols[score].endswith("τ on test") else ""
        columns.append(Column(heading(score, protocols[score]), group))
    columns += [Column(text) for text in ("lr", "head_lr", "seeds", "failed")]
    rows = []
    for head in heads:
        row = [Cell(head.name, head.name)]
        row.append(Cell("n/a" if head.reason else f"{100 * head.share:.3g}", head.share, hint=head.reason))
        for score in scores:
            line = head.scores.get(score)
            unknown = line is None or math.isnan(line["mean"])
            row.append(Cell("n/a") if unknown or line is None else Cell(percent(line["mean"], line["half_width"])))
        row += [Cell(head.chosen(name)) for name in ("lr", "head_lr")]
        rows.append([*row, seeds_cell(head.name, head.seeds), Cell(str(head.failed), head.failed)])
    return Table(title, columns, rows)


def notes_of(heads: Sequence[Head], score: str, images: int) -> list[str]:
    """Return the notes below the table."""
    notes = [
        "Effective share of cells: (Σ |s|)² / (n Σ s²) over the n cells of a map, s the gradient of the pooled value "
        "with respect to each cell (for attention, its weights). Mean over the channels that are not all zero (where "
        f"class scores are pooled: over the classes), over at most {images} images of val, a seeded sample, and over "
        "seeds. The mean of all cells has 100 %, a maximum of one cell 1 / n.",
        "Rows are sorted from the mean to the maximum. Heads that are tested with another pooling than they were "
        "trained with are last, and hollow in the figures.",
    ]
    for reason in dict.fromkeys(head.reason for head in heads if head.reason):
        names = ", ".join(head.name for head in heads if head.reason == reason)
        notes.append(f"No effective share of {names}: {reason.rstrip('.')}.")
    return [*notes, correlation_of(heads, score)]


def correlation_of(heads: Sequence[Head], score: str) -> str:
    """Describe Spearman's rank correlation between share and localization in a sentence."""
    pairs = [(head.share, head.interval(score).value) for head in heads if not head.is_swapped]
    known = np.array([pair for pair in pairs if not math.isnan(sum(pair))]).reshape(-1, 2)
    what = f"Spearman's rank correlation between effective share and {score}, over heads trained as they are tested"
    if len(known) < 3 or len(set(known[:, 0])) == 1 or len(set(known[:, 1])) == 1:
        return f"{what}: n/a for n = {len(known)} heads; it needs three, with shares and scores that differ."
    rho, p = rank_correlation(known[:, 0], known[:, 1])
    signed = f"{rho:+.2f}".replace("-", "−")
    return (
        f"{what}: {signed}, p = {p:.2g} (two-sided, permutation test), n = {len(known)} heads. The heads were chosen, "
        "and some differ in one setting alone: p is about this list, not about all poolings."
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Return Spearman's ρ and its two-sided p-value by all permutations of up to seven pairs, or 9,999 random ones.

    The usual t-distribution is far off for few pairs: three pairs in order would have p = 0.
    """
    ranks_of_first, ranks_of_second = stats.rankdata(first), stats.rankdata(second)
    centred = ranks_of_second - ranks_of_second.mean()
    test = stats.permutation_test(
        (ranks_of_first,),
        lambda ranks, axis: (ranks - ranks_of_first.mean()) @ centred,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    return float(stats.spearmanr(first, second).statistic), float(test.pvalue)


def one_comparison(comparison: Comparison, arguments: Arguments, shares: Shares) -> tuple[Table, dict[str, Figure]]:
    """Make the table of one comparison, and its figures by name.

    Raises:
        ValueError: if there are fewer than two heads, or if the runs have no such localization score.
    """
    score = arguments.score
    rows = comparison.rows[(comparison.rows["backbone"] != NONE) & (comparison.rows["map"] == arguments.map)]
    protocols = dict(zip(rows["score"], rows["protocol"], strict=True))
    if score not in protocols or protocols[score] == NO_BOX:
        known = ", ".join(name for name, protocol in protocols.items() if protocol != NO_BOX)
        raise ValueError(f"there is no localization score {score!r}; scores: {known}.")
    if rows["pooling"].nunique() < 2:
        raise ValueError(f"{rows['pooling'].iloc[0]} is its only head, and an axis needs two.")
    scores = [name for name in dict.fromkeys((CLASSIFICATION, score, BESIDE)) if name in protocols]
    rows = rows[rows["score"].isin(scores)]
    kept = replace(comparison, rows=rows)
    summary = summarize(rows, measure(kept.lines(arguments.results), progress=True))
    # Differences and held-out scores are in the report.
    summary = summary[~summary["pooling"].str.contains(" - ") & summary["kind"].isin((SCORE, ORACLE))]
    heads = read_heads(arguments.results, kept, summary, shares)
    first = rows.iloc[0]
    title = f"{first['data']} · {first['backbone']} · {arguments.map}"
    points = [head.point(score) for head in heads]
    tau = protocol_parts(protocols[score])[2]
    localization = f"{score}, {tau}" if tau else score
    figures = {}
    cells = max(head.cells for head in heads)
    if arguments.figures and any(not math.isnan(point.share + point.localization.value) for point in points):
        figures["localization_by_sharpness"] = draw_localization_by_sharpness(points, cells, localization, title)
    if arguments.figures and any(
        not math.isnan(point.classification.value + point.localization.value) for point in points
    ):
        figures["localization_by_classification"] = draw_localization_by_classification(points, localization, title)
    settings = {run["run"]: run for head in heads for run in head.settings}
    notes = [
        *notes_of(heads, score, MOST_IMAGES),
        *of_failures(comparison.failed),
        *(of_tuning(settings)[:1] or ["Not tuned: every head was trained with the same settings."]),
        *_of_runs(arguments.results, rows, summary, comparison.failed),
        f"This table: {made_by()}.",
    ]
    return replace(table_of(heads, scores, comparison.name), notes=notes), figures


def _of_runs(results: Path, rows: pd.DataFrame, summary: pd.DataFrame, failed: pd.DataFrame) -> list[str]:
    """Return the notes of every table, without those on columns that this table lacks."""
    bare = rows.assign(same_as="", exact="", ms_per_image=math.nan)
    notes = describe_runs(results, bare, summary.assign(best=False), failed)
    chosen = (
        "What chose the score-map threshold τ: on val, the held-out images; on test, the scored images themselves (an "
        "oracle: best case, not comparable with the others); by Otsu: each map's own scores; a number: fixed "
        "beforehand."
    )
    return [chosen if note.startswith("What chose") else note for note in notes]


def draw_axis(arguments: Arguments) -> int:
    """Write and print tables and figures, and return the exit status: 1 if there is nothing to draw."""
    results, out = arguments.results, arguments.out or arguments.results
    filters = {**arguments.filters, "map": [arguments.map]}
    comparisons = [
        comparison
        for comparison in read_comparisons(results, filters)
        if all(text in comparison.name for text in arguments.texts) and not comparison.is_as_is
    ]
    if not comparisons:
        asked = f" that match {shlex.join(sys.argv[1:])}" if sys.argv[1:] else ""
        command = "python benchmarks/run.py sweep=tune pooling=gap,lse,gmp"
        print(f"No scored runs under {results / 'runs'}{asked}; make some: {command}", file=sys.stderr)
        return 1
    shares, status = Shares(results, arguments.data_root), 1
    for comparison in comparisons:
        try:
            table, figures = one_comparison(comparison, arguments, shares)
        except (OSError, ValueError, KeyError) as error:
            missing = "a setting is missing: " if isinstance(error, KeyError) else ""
            print(f"left out: {comparison.name}: {missing}{one_line(error)}", file=sys.stderr)
            continue
        file_name = comparison.file_name(out)
        path = out / "tables" / f"{file_name}-pooling_axis.md"
        write_text(path, markdown(table))
        print(f"{path.read_text(encoding='utf-8')}\ntable: {path}")
        for name, figure in figures.items():
            drawn = save_drawing(figure, out / "figures" / f"{file_name}-{name}", made_by())
            print(f"figure: {drawn['png']}")
        status = 0
    return status


if __name__ == "__main__":
    sys.exit(end(lambda: draw_axis(read_arguments(command_words())), __doc__))
