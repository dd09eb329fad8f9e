"""Localization against how sharply each head pools, and against classification, from runs that are on disk.

python benchmarks/pooling_axis.py                                  # every comparison under results/runs
python benchmarks/pooling_axis.py results/runs data=synthetic score=max_box_acc map=cam out=results
python benchmarks/pooling_axis.py data=cub data_root=DATA

For each comparison two figures and a table: `figures/NAME-localization_by_sharpness`,
`figures/NAME-localization_by_classification` and `tables/NAME-pooling_axis.md`. Filters: data, backbone, pooling, seed,
protocol, protocol_key, comparison, run; a text without = must be in a comparison's name. Options: score=NAME
(gt_known_loc), map=NAME (cam), results=DIR, as the folder alone, out=DIR (results), figures=no, data_root=DIR. How
sharply a head pools is measured once, on up to 200 images of val, and kept in the run's folder.
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
from wsol.report.score_table import ORACLES, heading, percent, protocol_parts
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
    """Raises ValueError for what cannot be read."""
    found = Arguments()

    def own(key: str, value: str) -> bool:
        if key not in ("score", "map"):
            return False
        if not value or "," in value:
            raise ValueError(f"{key}={value}: name one {key}; a figure shows no more.")
        setattr(found, key, value)
        return True

    read_words(words, found, own)
    return found


class Share(NamedTuple):
    """How sharply one trained head pools."""

    effective: float
    cells: int  # n of its maps


class Shares:
    """The effective share of cells of each run: from its folder, or measured on a sample of val and kept there."""

    def __init__(self, results: Path, data_root: str | None) -> None:
        self.results = results
        self.overrides = [] if data_root is None else [f"machine.data_root={data_root}"]
        self.images: dict[str, tuple[Tensor, str] | str] = {}  # images and what stands for their ids; or why not

    def of(self, run: str) -> Share:
        """Raises FileNotFoundError or ValueError that says why it is not known."""
        folder = RunFolder.named(self.results, run)
        settings = folder.settings()
        # The fingerprint stands for the image ids of val, and with their number for those of the sample.
        fingerprint = settings["identity"]["data"]["fingerprint"]
        key = digest([settings["pooling"], settings["identity"], fingerprint, MOST_IMAGES])
        file = folder.path / SHARE_FILE
        told = load_or_none(file, read_json)
        if told is not None and told.get("key") == key:
            return Share(told["effective_share"], told["cells"])
        images, ids = self.images_of(settings)
        classifier = self.classifier_of(settings)
        share = Share(effective_share(classifier, images), count_cells(classifier, images))
        about = {"key": key, "head": settings["pooling"], "split": "val", "images": len(images), "image_ids": ids}
        try:
            write_json(file, {**about, "effective_share": share.effective, "cells": share.cells})
        except OSError as error:  # an archive that nobody may write to
            log.warning("%s is not kept: %s", file, one_line(error))
        return share

    def images_of(self, settings: dict[str, Any]) -> tuple[Tensor, str]:
        """A sample of val, (N, 3, H, W), and the digest of its ids; read once for all runs that share them."""
        key = data_key(settings)
        if key not in self.images:
            try:
                val = splits_of(settings, configuration(self.overrides)).val
                batch = collate([val[int(index)] for index in sample_images(val, MOST_IMAGES)])
                self.images[key] = batch.images, digest(batch.image_ids)
            except Exception as error:  # figures of other data sets need none of this, whatever is wrong with it
                self.images[key] = f"no images of {settings['data']}: {one_line(error)}"
        found = self.images[key]
        if isinstance(found, str):
            raise FileNotFoundError(found)
        return found

    def classifier_of(self, settings: dict[str, Any]) -> Classifier:
        """The trained classifier, with the pooling that it is tested with."""
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
        raise FileNotFoundError(
            f"the run that {settings['run']} was trained as is not there: {self.results / 'runs' / name}*"
        )


@dataclass(frozen=True)
class Head:
    """One line of the table."""

    name: str
    share: float  # effective share of cells, mean over seeds; NaN: not known
    cells: int  # of a map; 0: not known
    reason: str  # why not
    scores: dict[str, dict[str, Any]]  # score -> line of the summary
    settings: list[dict[str, Any]]  # of its runs
    seeds: int  # that learned
    failed: int  # that did not

    @property
    def is_swapped(self) -> bool:
        """Is it tested with another pooling than it was trained with?"""
        return bool(HeadName.read(self.name).tested_as)

    def point(self, score: str) -> AxisPoint:
        """In the figures."""
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
        """A training setting, which the search chose where there was one."""
        values = dict.fromkeys(one["identity"]["train"].get(name) for one in self.settings)
        return ", ".join("n/a" if value is None else f"{value:g}" for value in values)

    def interval(self, score: str) -> Interval:
        """What it scored."""
        one = self.scores.get(score)
        return Interval(math.nan) if one is None else Interval(one["mean"], one["low"], one["high"])


def label_of(name: HeadName, sharpness: float | None = None) -> str:
    """A head's name as a figure has room for it: `lse 10`, `gmp on scores`, `gap tested as gmp`.

    Args:
        name: as in tables.
        sharpness: of LSE, printed where its name does not say it.
    """

    def short(text: str) -> str:
        option, settings = read_option(text)
        if option == "lse" and sharpness is not None and not settings:
            return f"lse {sharpness:g}"
        one = [value for value in settings.values() if len(settings) == 1 and value.lower() not in ("true", "false")]
        return " ".join([option, *(one or [f"{key}={value}" for key, value in settings.items()])])

    test = f" tested as {short(name.tested_as)}" if name.tested_as else ""
    return (
        short(name.pooling)
        + (" on scores" if name.on_scores else "")
        + test
        + (f" + {name.method}" if name.method else "")
    )


def read_heads(results: Path, comparison: Comparison, summary: pd.DataFrame, shares: Shares) -> list[Head]:
    """The heads of a comparison, from the mean to the maximum; then those tested with another pooling."""
    heads = []
    failed = Counter(comparison.failed.drop_duplicates("run")["pooling"] if len(comparison.failed) else ())
    for pooling, lines in tqdm(summary.groupby("pooling"), desc="heads", disable=None, leave=False):
        runs = list(dict.fromkeys(run for runs in lines["runs"] for run in runs))
        learned = bool(lines["mean"].notna().any())
        found, reason = [], "" if learned else "no run learned anything"
        for run in runs if learned else ():
            try:
                found.append(shares.of(run))
            except (FileNotFoundError, ValueError) as error:
                reason = one_line(error)
                break  # the mean over some seeds would be another quantity
        heads.append(
            Head(
                name=str(pooling),
                share=math.nan if reason else float(np.mean([one.effective for one in found])),
                cells=0 if reason else found[0].cells,
                reason=reason,
                scores={one["score"]: one for one in _records(lines)},
                settings=[RunFolder.named(results, run).settings() for run in runs],
                seeds=len(runs) if learned else 0,
                failed=failed[str(pooling)],
            )
        )
    return sorted(heads, key=lambda one: (one.is_swapped, math.isnan(one.share), -one.share, one.name))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in one.items()} for one in frame.to_dict("records")]


def table_of(heads: Sequence[Head], scores: Sequence[str], title: str) -> Table:
    """A line a head."""
    protocols = {name: str(one["protocol"]) for head in heads for name, one in head.scores.items()}
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
            one = head.scores.get(score)
            unknown = one is None or math.isnan(one["mean"])
            row.append(Cell("n/a") if unknown or one is None else Cell(percent(one["mean"], one["half_width"])))
        row += [Cell(head.chosen(name)) for name in ("lr", "head_lr")]
        rows.append([*row, Cell(str(head.seeds), head.seeds), Cell(str(head.failed), head.failed)])
    return Table(title, columns, rows)


def notes_of(heads: Sequence[Head], score: str, images: int) -> list[str]:
    """How to read the table."""
    notes = [
        "Effective share of cells: (Σ |s|)² / (n Σ s²) over the n cells of a map, s the gradient of the pooled value "
        "with respect to each cell (of attention its weights). Mean over the channels that are not all zero (where "
        f"class scores are pooled: over the classes), over at most {images} images of val, a seeded sample, and over "
        "seeds. The mean of all cells has 100 %, a maximum of one cell 1 / n.",
        "From the mean to the maximum. Heads that are tested with another pooling than they were trained with come "
        "last, and are hollow in the figures.",
    ]
    for reason in dict.fromkeys(head.reason for head in heads if head.reason):
        names = ", ".join(head.name for head in heads if head.reason == reason)
        notes.append(f"No effective share of {names}: {reason.rstrip('.')}.")
    return [*notes, correlation_of(heads, score)]


def correlation_of(heads: Sequence[Head], score: str) -> str:
    """Spearman's rank correlation between share and localization, as a sentence."""
    pairs = [(head.share, head.interval(score).value) for head in heads if not head.is_swapped]
    known = np.array([pair for pair in pairs if not math.isnan(sum(pair))]).reshape(-1, 2)
    what = f"Spearman's rank correlation between effective share and {score}, over heads trained as they are tested"
    if len(known) < 3 or len(set(known[:, 0])) == 1 or len(set(known[:, 1])) == 1:
        return f"{what}: n/a for n = {len(known)} heads; it takes three, with shares and scores that differ."
    rho, p = rank_correlation(known[:, 0], known[:, 1])
    told = f"{rho:+.2f}".replace("-", "−")
    return (
        f"{what}: {told}, p = {p:.2g} (two-sided, permutation test), n = {len(known)} heads. The heads were chosen, "
        "and some differ in one setting alone: p is about this list, not about all poolings."
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman's ρ and its two-sided p-value: all permutations of up to seven pairs, 9,999 random ones of more.

    The usual t-distribution is far off for so few: three pairs in order would have p = 0.
    """
    one, other = stats.rankdata(first), stats.rankdata(second)
    centred = other - other.mean()
    found = stats.permutation_test(
        (one,),
        lambda ranks, axis: (ranks - one.mean()) @ centred,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    return float(stats.spearmanr(first, second).statistic), float(found.pvalue)


def one_comparison(comparison: Comparison, arguments: Arguments, shares: Shares) -> tuple[Table, dict[str, Figure]]:
    """The table of one comparison and its figures by name.

    Raises:
        ValueError: if there is nothing to compare, or the score is no localization that these runs have.
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
    # Differences, and twins of oracles, are the report's.
    summary = summary[~summary["pooling"].str.contains(" - ") & summary["kind"].isin((SCORE, ORACLE))]
    heads = read_heads(arguments.results, kept, summary, shares)
    first = rows.iloc[0]
    title = f"{first['data']} · {first['backbone']} · {arguments.map}"
    points = [head.point(score) for head in heads]
    tau = protocol_parts(protocols[score])[2]
    localization = f"{score}, {tau}" if tau else score
    figures = {}
    cells = max(head.cells for head in heads)
    if arguments.figures and any(not math.isnan(one.share + one.localization.value) for one in points):
        figures["localization_by_sharpness"] = draw_localization_by_sharpness(points, cells, localization, title)
    if arguments.figures and any(not math.isnan(one.classification.value + one.localization.value) for one in points):
        figures["localization_by_classification"] = draw_localization_by_classification(points, localization, title)
    settings = {one["run"]: one for head in heads for one in head.settings}
    notes = [
        *notes_of(heads, score, MOST_IMAGES),
        *of_failures(comparison.failed),
        *(of_tuning(settings)[:1] or ["Not tuned: every head was trained with the same settings."]),
        *_of_runs(arguments.results, rows, summary, comparison.failed),
        f"This table: {made_by()}.",
    ]
    return replace(table_of(heads, scores, comparison.name), notes=notes), figures


def _of_runs(results: Path, rows: pd.DataFrame, summary: pd.DataFrame, failed: pd.DataFrame) -> list[str]:
    """What is told below every table, less what is about columns that this one has not."""
    bare = rows.assign(same_as="", exact="", ms_per_image=math.nan)
    told = describe_runs(results, bare, summary.assign(best=False), failed)
    chosen = (
        "What chose the score-map threshold τ: on val, the held-out images; on test, the scored images themselves (an "
        "oracle: best case, not comparable with the others); by Otsu: each map's own scores; a number: fixed "
        "beforehand."
    )
    return [chosen if note.startswith("What chose") else note for note in told]


def draw_axis(arguments: Arguments) -> int:
    """Write and print everything; the exit status is 1 if there is nothing to draw."""
    results, out = arguments.results, arguments.out or arguments.results
    filters = {**arguments.filters, "map": [arguments.map]}
    comparisons = [
        one for one in read_comparisons(results, filters) if all(text in one.name for text in arguments.texts)
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
