"""Report the runs of a folder: verdicts, tables, figures and a page, all from files on disk.

python benchmarks/report.py                                    # everything under results/runs
python benchmarks/report.py results/runs data=cub protocol=tight map=cam,grad_cam score=top1_cls,gt_known_loc
python benchmarks/report.py data=cub data_root=DATA gallery=1000

Filters: data, backbone, pooling, map, seed, score, protocol, protocol_key, comparison, run; a text without = must be
in a comparison's name. Options: results=DIR, or the folder alone; out=DIR (results); claims=NAME,... or none (all of
conf/claim); gallery=IMAGES (200; 0 for none); figures=no; data_root=DIR with the photographs, which the gallery shows
if they are there.
"""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from config.arguments import ReportWords, read_words
from config.claims import read_claims
from config.options import command_words
from config.saved_runs import configuration, data_key, end, made_by, one_line, splits_of
from wsol.comparison.claim import DECIDED, Answered, Claim, answer
from wsol.comparison.comparison import Comparison, measure, read_comparisons
from wsol.report.content import Answer, Page
from wsol.report.figures.style import save_drawing
from wsol.report.html import write_page
from wsol.report.page import answers_of, run_cards, warnings_of
from wsol.report.section import Pictures, Written, write_section
from wsol.report.table_files import write_files
from wsol.runs.folder import RunFolder
from wsol.scoring.baselines import NONE

log = logging.getLogger(__name__)


@dataclass
class Arguments(ReportWords):
    """The command line."""

    claims: list[str] | None = None
    gallery: int = 200


def read_arguments(words: Sequence[str]) -> Arguments:
    """Read the words of the command line.

    Raises:
        ValueError: if a word cannot be read.
    """
    arguments = Arguments()

    def own(key: str, value: str) -> bool:
        if key == "claims":
            arguments.claims = [] if value == "none" else value.split(",")
        elif key == "gallery":
            if not value.isdecimal():
                raise ValueError(f"gallery={value}: give a number of images, 0 for none.")
            arguments.gallery = int(value)
        return key in ("claims", "gallery")

    read_words(words, arguments, own)
    return arguments


class DataSets:
    """Images of each comparison's data set, if they are on this machine; each data set is looked for once."""

    def __init__(self, results: Path, data_root: str | None) -> None:
        self.results = results
        self.overrides = [] if data_root is None else [f"machine.data_root={data_root}"]
        self.pictures: dict[str, Pictures | None] = {}

    def of(self, comparison: Comparison) -> Pictures | None:
        """Return the images of a comparison; None, with one warning for each data set, if they cannot be read."""
        run = comparison.rows.loc[comparison.rows["backbone"] != NONE, "run"].iloc[0]
        settings = RunFolder.named(self.results, run).settings()
        key = data_key(settings)
        if key not in self.pictures:
            try:
                splits = splits_of(settings, configuration(self.overrides))
                self.pictures[key] = Pictures(
                    splits.class_names, lambda index: Image.fromarray(np.asarray(splits.test[index].image))
                )
            except Exception as error:  # a report needs no images, whatever is wrong with them
                log.warning("no photographs of %s: %s", comparison.rows["data"].iloc[0], one_line(error))
                self.pictures[key] = None
        return self.pictures[key]


def report(arguments: Arguments) -> int:
    """Write and print the whole report, and return the exit status: 1 if there is nothing to report."""
    results, out = arguments.results, arguments.out or arguments.results
    claims = read_claims(arguments.claims)
    comparisons = [
        comparison
        for comparison in read_comparisons(results, arguments.filters)
        if all(text in comparison.name for text in arguments.texts)
    ]
    if not comparisons:
        asked = f" that match {shlex.join(sys.argv[1:])}" if sys.argv[1:] else ""
        print(f"No scored runs under {results / 'runs'}{asked}; make some: python benchmarks/run.py", file=sys.stderr)
        return 1
    data = DataSets(results, arguments.data_root)
    sections, answers, kept = [], [], []
    reported = {(runs_of(comparison), comparison.protocol) for comparison in comparisons}
    for comparison in tqdm(comparisons, desc="comparisons", disable=None, leave=False):
        try:
            written, answered = one_comparison(results, comparison, claims, arguments, data.of)
        except (OSError, ValueError, KeyError) as error:
            missing = "a setting is missing: " if isinstance(error, KeyError) else ""
            print(f"left out: {comparison.name}: {missing}{one_line(error)}", file=sys.stderr)
            continue
        paths = write_files(comparison, written.summary, written.table, out)
        if arguments.figures:
            for drawn in written.drawn:
                save_drawing(drawn.figure, out / "figures" / f"{comparison.file_name(out)}-{drawn.name}", made_by())
        sections.append(written.section)
        # A claim about another protocol is answered where the same runs are reported under that one.
        there = {claim.protocol for claim in claims if (runs_of(comparison), claim.protocol) in reported}
        elsewhere = there - {comparison.protocol}
        here = [claimed for claimed in answered if claimed.claim.protocol not in elsewhere]
        answers += list(answers_of(here, comparison, results))
        kept.append(comparison)
        tqdm.write(paths["md"].read_text(encoding="utf-8") + f"\ntable: {paths['md']}\n")
    if not kept:
        return 1
    decided = {claimed.claim for claimed in answers if claimed.verdict in DECIDED}
    answers.sort(key=lambda claimed: claimed.claim not in decided)  # decided claims come first
    page = Page(
        title="Weakly supervised object localization",
        made_by=made_by(),
        warnings=list(warnings_of(kept, results)),
        answers=answers,
        sections=sections,
        runs=list(run_cards(kept, results)),
    )
    for claimed in answers:
        print(f"{claimed.badge}: {claimed.claim} {in_a_line(claimed)} ({claimed.where})")
    for warning in page.warnings:
        print(f"warning: {warning}")
    write_page(page, out / "report.html")
    print(f"page: {out / 'report.html'}")
    return 0


def runs_of(comparison: Comparison) -> str:
    """Return the name that all comparisons of the same runs share, whatever their protocol."""
    return str(comparison.rows.loc[comparison.rows["backbone"] != NONE, "comparison"].iloc[0])


def in_a_line(claimed: Answer) -> str:
    """Return the numbers of an answer, or why there is none and what is needed."""
    if claimed.p:
        return f"{claimed.estimate} {claimed.interval}, p {claimed.p}"
    needed = f" Needed: {claimed.needed}" if claimed.needed else ""
    return f"{claimed.reading}{needed}"


def one_comparison(
    results: Path,
    comparison: Comparison,
    claims: Sequence[Claim],
    arguments: Arguments,
    pictures: Callable[[Comparison], Pictures | None],
) -> tuple[Written, list[Answered]]:
    """Write the section of one comparison, and answer the claims that it can answer."""
    lines = comparison.lines(results)
    claims = [claim for claim in claims if comparison.can_answer(claim.poolings)]
    beside = {name: score for claim in claims for name, score in claim.scores.items()}
    measured = measure(lines, beside, progress=True)
    images = pictures(comparison) if arguments.gallery else None
    return (
        write_section(results, comparison, lines, measured, images, arguments.gallery),
        answer(claims, measured, comparison.protocol),
    )


if __name__ == "__main__":
    sys.exit(end(lambda: report(read_arguments(command_words())), __doc__))
