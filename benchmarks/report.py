"""From a folder of runs to verdicts, tables, figures and a page, all from what is on disk.

python benchmarks/report.py                                    # everything under results/runs
python benchmarks/report.py results/runs data=cub protocol=tight map=cam,grad_cam score=top1_cls,gt_known_loc
python benchmarks/report.py data=cub data_root=DATA gallery=1000

Filters: data, backbone, pooling, map, seed, score, protocol, protocol_key, comparison, run; a text without = must be
in a comparison's name. Options: results=DIR, as the folder alone, out=DIR (results), claims=NAME,... or none (all of
conf/claim), gallery=IMAGES (200; 0: none), figures=no, data_root=DIR: where the photographs lie, for those that are
there.
"""

import gc
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
from wsol.comparison.claim import NOT_ANSWERED, REFUTED, SUPPORTED, Answered, Claim, answer
from wsol.comparison.comparison import Comparison, measure, read_comparisons
from wsol.report.content import Page
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
    """Raises ValueError for what cannot be read."""
    found = Arguments()

    def own(key: str, value: str) -> bool:
        if key == "claims":
            found.claims = [] if value == "none" else value.split(",")
        elif key == "gallery":
            if not value.isdecimal():
                raise ValueError(f"gallery={value}: give a number of images, 0 for none.")
            found.gallery = int(value)
        return key in ("claims", "gallery")

    read_words(words, found, own)
    return found


class DataSets:
    """The images of each comparison's data set, where they are at hand; each is looked for once."""

    def __init__(self, results: Path, data_root: str | None) -> None:
        self.results = results
        self.overrides = [] if data_root is None else [f"machine.data_root={data_root}"]
        self.found: dict[str, Pictures | None] = {}

    def of(self, comparison: Comparison) -> Pictures | None:
        """None where they are not at hand, which is said once."""
        run = comparison.rows.loc[comparison.rows["backbone"] != NONE, "run"].iloc[0]
        settings = RunFolder.named(self.results, run).settings()
        key = data_key(settings)
        if key not in self.found:
            try:
                splits = splits_of(settings, configuration(self.overrides))
                self.found[key] = Pictures(
                    splits.class_names, lambda index: Image.fromarray(np.asarray(splits.test[index].image))
                )
            except Exception as error:  # a report needs no images, whatever is wrong with them
                log.warning("no photographs of %s: %s", comparison.rows["data"].iloc[0], one_line(error))
                self.found[key] = None
        return self.found[key]


def report(arguments: Arguments) -> int:
    """Write and print everything; the exit status is 1 if there is nothing to report."""
    results, out = arguments.results, arguments.out or arguments.results
    claims = read_claims(arguments.claims)
    comparisons = [
        one for one in read_comparisons(results, arguments.filters) if all(text in one.name for text in arguments.texts)
    ]
    if not comparisons:
        asked = f" that match {shlex.join(sys.argv[1:])}" if sys.argv[1:] else ""
        print(f"No scored runs under {results / 'runs'}{asked}; make some: python benchmarks/run.py", file=sys.stderr)
        return 1
    data = DataSets(results, arguments.data_root)
    sections, answers, kept = [], [], []
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
        answers += list(answers_of(answered, comparison, results))
        kept.append(comparison)
        tqdm.write(paths["md"].read_text(encoding="utf-8") + f"\ntable: {paths['md']}\n")
    if not kept:
        return 1
    decided = {one.claim for one in answers if one.verdict in (SUPPORTED, REFUTED)}
    answers.sort(key=lambda one: one.claim not in decided)  # what there is to say comes first
    page = Page(
        title="Weakly supervised object localization",
        made_by=made_by(),
        warnings=list(warnings_of(kept, results)),
        answers=answers,
        sections=sections,
        runs=list(run_cards(kept, results)),
    )
    for one in answers:
        if one.verdict == NOT_ANSWERED:
            needed = f" Needed: {one.needed}" if one.needed else ""
            print(f"{one.badge}: {one.claim} {one.reading}{needed} ({one.where})")
        else:
            print(f"{one.badge}: {one.claim} {one.estimate} {one.interval}, p {one.p} ({one.where})")
    for warning in page.warnings:
        print(f"warning: {warning}")
    write_page(page, out / "report.html")
    print(f"page: {out / 'report.html'}")
    return 0


def one_comparison(
    results: Path,
    comparison: Comparison,
    claims: Sequence[Claim],
    arguments: Arguments,
    pictures: Callable[[Comparison], Pictures | None],
) -> tuple[Written, list[Answered]]:
    """A section, and the claims answered on it."""
    lines = comparison.lines(results)
    beside = {name: score for claim in claims for name, score in claim.scores.items()}
    measured = measure(lines, beside, progress=True)
    found = pictures(comparison) if arguments.gallery else None
    return (
        write_section(results, comparison, lines, measured, found, arguments.gallery),
        answer(claims, measured),
    )


if __name__ == "__main__":
    gc.freeze()  # what was imported stays; statsmodels collects garbage at every call
    status = end(lambda: report(read_arguments(command_words())), __doc__)
    gc.unfreeze()
    sys.exit(status)
