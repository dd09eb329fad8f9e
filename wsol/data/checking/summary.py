"""Write a summary of the check of a data set: Markdown that is readable in a terminal too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from wsol.data.checking.check import Report, SplitFacts
from wsol.data.checking.inspection import Kind, Tally
from wsol.data.checking.published import Published


def summary(report: Report, listed_in: Path) -> str:
    """Return facts, counts beside the published ones, problems by kind with three examples, and the verdict.

    Args:
        report: of the check.
        listed_in: the file that lists all problems.
    """
    noted = {kind: tally for kind, tally in report.tallies.items() if kind.is_note}
    warned = {kind: tally for kind, tally in report.tallies.items() if kind.is_warning}
    wrong = {kind: tally for kind, tally in report.tallies.items() if kind.is_problem}
    blocks = [f"# {report.name}: {verdict(report)}", _table(report.splits), _classes(report)]
    if report.published is not None:
        blocks.append(_beside(report.published, report))
    if noted:
        blocks.append(_listed("Notes", noted))
    if warned:
        blocks.append(_listed("Warnings", warned))
    if wrong:
        blocks.append(_listed("Problems", wrong))
    if report.tallies:
        blocks.append(f"All of them, one a line: {listed_in}")
    return "\n\n".join(blocks) + "\n"


def verdict(report: Report) -> str:
    """Return `ready`, or how many problems there are; and how many warnings and notes."""
    parts = ["ready" if report.is_ready else _plural(report.problems, "problem")]
    warnings = sum(tally.count for kind, tally in report.tallies.items() if kind.is_warning)
    notes = sum(tally.count for kind, tally in report.tallies.items() if kind.is_note)
    parts += [_plural(count, what) for count, what in ((warnings, "warning"), (notes, "note")) if count]
    return ", ".join(parts)


def speed(report: Report) -> str:
    """Return how long decoding took."""
    rate, threads = report.images / max(report.seconds, 1e-9), _plural(report.threads, "thread")
    return f"{report.images:,} images in {report.seconds:.1f} s: {rate:,.0f} images/s in {threads}"


def _table(splits: Sequence[SplitFacts]) -> str:
    rows: list[list[str]] = [
        ["images", *(f"{split.images:,}" for split in splits)],
        ["classes", *(f"{np.count_nonzero(split.per_class):,}" for split in splits)],
        ["boxes", *(f"{split.boxes:,}" for split in splits)],
        ["images with several boxes", *(f"{split.several:,}" for split in splits)],
        ["width in pixels: least, median, most", *(_range(split.sizes[:, 1]) for split in splits)],
        ["height in pixels: least, median, most", *(_range(split.sizes[:, 0]) for split in splits)],
    ]
    for trait in dict.fromkeys(trait for split in splits for trait in split.traits):
        rows.append([trait, *(f"{split.traits[trait]:,}" for split in splits)])
    if any(split.copies for split in splits):
        rows.append(["copies of an earlier file", *(f"{split.copies:,}" for split in splits)])
    headers = ["", *(split.name for split in splits)]
    right = ["left", *("right" for _ in splits)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=right)


def _range(values: NDArray[np.int32]) -> str:
    return f"{values.min()}, {np.median(values):.0f}, {values.max()}" if len(values) else "none decoded"


def _classes(report: Report) -> str:
    train = report.splits[0].per_class
    fewest, most = int(np.argmin(train)), int(np.argmax(train))
    if train[fewest] == train[most]:
        text = f"Training images of a class: {train[fewest]:,} of each."
    else:
        text = (
            f"Training images of a class: fewest {train[fewest]:,} ({report.class_names[fewest]}), "
            f"most {train[most]:,} ({report.class_names[most]})."
        )
    for split in report.splits[1:]:
        absent = np.flatnonzero(split.per_class == 0)
        if len(absent):
            first = report.class_names[int(absent[0])]
            text += f" {_plural(len(absent), 'class', 'classes')} without image in {split.name}, first {first}."
    return text


def _beside(published: Published, report: Report) -> str:
    count = len(report.class_names)
    text = f"{published.title}: {count:,} of {published.num_classes:,} classes"
    text += "; counts are those of a subset." if count < published.num_classes else "."
    rows = [[row.figure.what, f"{row.found:,}", f"{row.figure.count:,}"] for row in report.compared]
    table = tabulate(
        rows,
        ["", "found", "published"],
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", "right", "right"),
    )
    return f"{text}\n\n{table}"


def _listed(title: str, tallies: dict[Kind, Tally]) -> str:
    lines = [f"{title}:"]
    for kind, tally in tallies.items():
        lines.append(f"- {kind}: {tally.count:,}")
        for problem in tally.first:
            where = " ".join(part for part in (problem.split, problem.image_id) if part)
            lines.append(f"  - {f'{where}: ' if where else ''}{problem.message}")
        if tally.count > len(tally.first):
            lines.append(f"  - and {tally.count - len(tally.first):,} more")
    return "\n".join(lines)


def _plural(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"
