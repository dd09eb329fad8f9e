"""Write a summary of the check of a data set: Markdown that is readable in a terminal too."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from wsol.data.checking.check import Kind, Report
from wsol.data.checking.published import Published


def summary(report: Report, listed_in: Path) -> str:
    """Return facts, counts beside the published ones, problems by kind with three examples, and the verdict.

    Args:
        report: of the check.
        listed_in: the file that lists all problems.
    """
    blocks = [f"# {report.splits.name}: {verdict(report)}", _table(report), _classes(report)]
    if report.published is not None:
        blocks.append(_beside(report.published, report))
    for title, of_kind in (("Notes", "is_note"), ("Warnings", "is_warning"), ("Problems", "is_problem")):
        kinds = [kind for kind in report.counts if getattr(kind, of_kind)]
        blocks += ["\n".join([f"{title}:", *(_listed(kind, report) for kind in kinds)])] if kinds else []
    if report.counts:
        blocks.append(f"All of them, one a line: {listed_in}")
    return "\n\n".join(blocks) + "\n"


def verdict(report: Report) -> str:
    """Return `ready`, or how many problems there are; and how many warnings and notes."""
    parts = [_plural(report.problems, "problem") if report.problems else "ready"]
    warnings = sum(count for kind, count in report.counts.items() if kind.is_warning)
    notes = sum(count for kind, count in report.counts.items() if kind.is_note)
    parts += [_plural(count, what) for count, what in ((warnings, "warning"), (notes, "note")) if count]
    return ", ".join(parts)


def speed(report: Report) -> str:
    """Return how long decoding took."""
    images = sum(len(part.index) for part in report.parts)
    rate, threads = images / max(report.seconds, 1e-9), _plural(report.threads, "thread")
    return f"{images:,} images in {report.seconds:.1f} s: {rate:,.0f} images/s in {threads}"


def _table(report: Report) -> str:
    parts = report.parts
    rows: list[list[str]] = [
        ["images", *(f"{len(part.index):,}" for part in parts)],
        ["classes", *(f"{len(part.index.class_ids.unique()):,}" for part in parts)],
        ["boxes", *(f"{len(part.index.boxes):,}" for part in parts)],
        ["images with several boxes", *(f"{int((part.index.box_counts > 1).sum()):,}" for part in parts)],
        ["width in pixels: least, median, most", *(_range(part.decoded[:, 1]) for part in parts)],
        ["height in pixels: least, median, most", *(_range(part.decoded[:, 0]) for part in parts)],
    ]
    for trait in dict.fromkeys(trait for part in parts for trait in part.traits):
        rows.append([trait, *(f"{part.traits[trait]:,}" for part in parts)])
    if report.copies:
        rows.append(["copies of an earlier file", *(f"{report.copies[part.name]:,}" for part in parts)])
    return _formatted(rows, ["", *(part.name for part in parts)])


def _formatted(rows: list[list[str]], headers: list[str]) -> str:
    right = ["left", *("right" for _ in headers[1:])]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=right)


def _range(values: NDArray[np.int32]) -> str:
    return f"{values.min()}, {np.median(values):.0f}, {values.max()}" if len(values) else "none decoded"


def _classes(report: Report) -> str:
    names = report.splits.class_names
    train, *others = (np.bincount(part.index.class_ids, minlength=len(names)) for part in report.parts)
    fewest, most = int(np.argmin(train)), int(np.argmax(train))
    text = f"Training images of a class: {train[fewest]:,} of each."
    if train[fewest] != train[most]:
        text = f"Training images of a class: fewest {train[fewest]:,} ({names[fewest]}), "
        text += f"most {train[most]:,} ({names[most]})."
    for part, counts in zip(report.parts[1:], others, strict=True):
        absent = np.flatnonzero(counts == 0)
        if len(absent):
            number = _plural(len(absent), "class", "classes")
            text += f" {number} without image in {part.name}, first {names[int(absent[0])]}."
    return text


def _beside(published: Published, report: Report) -> str:
    count = report.splits.num_classes
    text = f"{published.title}: {count:,} of {published.num_classes:,} classes"
    text += "; counts are those of a subset." if count < published.num_classes else "."
    pairs = zip(published.figures, report.found, strict=True)
    rows = [[figure.what, f"{found:,}", f"{figure.count:,}"] for figure, found in pairs]
    return f"{text}\n\n{_formatted(rows, ['', 'found', 'published'])}"


def _listed(kind: Kind, report: Report) -> str:
    lines = [f"- {kind}: {report.counts[kind]:,}"]
    for problem in report.first[kind]:
        where = " ".join(part for part in (problem.split, problem.image_id) if part)
        lines.append(f"  - {f'{where}: ' if where else ''}{problem.message}")
    if report.counts[kind] > len(report.first[kind]):
        lines.append(f"  - and {report.counts[kind] - len(report.first[kind]):,} more")
    return "\n".join(lines)


def _plural(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"
