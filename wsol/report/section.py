"""A comparison as a section of the report's page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from wsol.atomic_files import read_json
from wsol.comparison.comparison import Comparison, scores_of
from wsol.comparison.diagnosis import OBJECT_COUNTS, OBJECT_SIZES, by_group, error_shares, object_counts, object_sizes
from wsol.comparison.saved_maps import ScoredMap, held_out
from wsol.comparison.summary import MeasuredLines, summarize
from wsol.data.ground_truth import truth_of
from wsol.report.content import Cell, Column, Drawing, Gallery, Section, Table
from wsol.report.figures.comparison import MOST_SETTINGS, Drawn, Groups, draw_comparison
from wsol.report.figures.style import svg_of
from wsol.report.image_gallery import Setting, build_gallery
from wsol.report.score_table import difference_table
from wsol.report.table_files import full_table
from wsol.runs.experiment import PSOL
from wsol.runs.few_shot import few_shot_count, few_shot_supervision
from wsol.runs.folder import load_or_none
from wsol.runs.pseudo_boxes import psol_supervision
from wsol.runs.tuning import LOCALIZATION
from wsol.scoring.baselines import NONE
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score import NO_BOX, PIXELS, Score
from wsol.scoring.supervision import (
    LEDGER_COLUMNS,
    VAL_BOXES,
    VAL_LABELS,
    Supervision,
    ledger_lines,
    supervision_of,
)

_BOXES = "largest"  # the box rule that figures and the gallery read
_GALLERY_SETTINGS = 4


@dataclass(frozen=True)
class Pictures:
    """The images of a data set that is at hand."""

    class_names: Sequence[str]
    photo: Callable[[int], Image.Image]  # index of a test image -> the prepared image


@dataclass(frozen=True)
class Written:
    """A comparison with all that the report says of it."""

    section: Section
    summary: pd.DataFrame
    table: Table
    drawn: Sequence[Drawn]


def write_section(
    results: Path,
    comparison: Comparison,
    lines: Mapping[tuple[str, str], Sequence[ScoredMap]],
    measured: MeasuredLines,
    pictures: Pictures | None = None,
    gallery: int = 200,
) -> Written:
    """Tables, figures and gallery of one comparison.

    Args:
        results: the folder that holds `runs`.
        comparison: which rows.
        lines: what is on disk of them.
        measured: what their records say.
        pictures: the data set; None: the gallery has no photographs and classes have numbers.
        gallery: images to show; 0: no gallery.
    """
    summary = summarize(comparison.rows, measured)
    table = full_table(results, comparison, summary)
    shown = _settings_shown(lines)
    records = {_label(line): found for line in shown if (found := _records(lines[line]))}
    predictions = _predictions(lines)
    groups = None if predictions is None else groups_of(predictions, [] if pictures is None else pictures.class_names)
    if groups is not None and any(len(seeds[0].image_ids) != len(groups.sizes) for seeds in records.values()):
        groups = None
    drawn = list(draw_comparison(records, groups, summary))
    tables = [
        table,
        difference_table(summary),
        _ledger(lines, set(comparison.rows["score"])),
        *_diagnosis(records, groups),
    ]
    return Written(
        Section(
            anchor=comparison.name,
            title=comparison.name,
            about=[],
            tables=[_without_markdown(one) for one in tables if one is not None],
            drawings=[Drawing(one.title, svg_of(one.figure), one.caption) for one in drawn],
            gallery=_gallery(shown, lines, predictions, pictures, gallery)
            if gallery and predictions is not None
            else None,
        ),
        summary,
        table,
        drawn,
    )


def _without_markdown(table: Table) -> Table:
    return replace(table, notes=[note.replace("`", "") for note in table.notes])


def _settings_shown(lines: Mapping[tuple[str, str], Sequence[ScoredMap]]) -> list[tuple[str, str]]:
    """Every head with the first maps, then networks that boxes trained, as many as a figure holds."""
    heads = [line for line in lines if line[0] != NONE and not _trained_with_boxes(line)]
    poolings = list(dict.fromkeys(pooling for pooling, _ in heads))
    maps = list(dict.fromkeys(name for _, name in heads))
    each = max(MOST_SETTINGS // max(len(poolings), 1), 1)
    shown = [(pooling, name) for name in maps[: min(each, 2)] for pooling in poolings[:MOST_SETTINGS]]
    shown = [line for line in shown if line in lines]
    others = [line for line in lines if line[0] != NONE and _trained_with_boxes(line)]
    return [*shown, *others[: max(MOST_SETTINGS - len(shown), 0)]]


def _trained_with_boxes(line: tuple[str, str]) -> bool:
    return few_shot_count(line[0]) is not None or line[1] == PSOL


def _label(line: tuple[str, str]) -> str:
    return f"{line[0]} {line[1]}"


def _records(seeds: Sequence[ScoredMap]) -> list[LocalizationRecord]:
    """Of every seed whose record is on disk."""
    found = (one.record(_BOXES) for one in sorted(seeds, key=lambda one: one.seed))
    return [record for record in found if record is not None]


def _predictions(lines: Mapping[tuple[str, str], Sequence[ScoredMap]]) -> pd.DataFrame | None:
    """With the true boxes of every image; None where they are not on disk, or the data have masks alone."""
    for (pooling, _), seeds in lines.items():
        for one in seeds if pooling != NONE else ():
            found = one.predictions()
            if found is not None and all(len(boxes) for boxes in found["boxes"]):
                return found
    return None


def groups_of(predictions: pd.DataFrame, class_names: Sequence[str]) -> Groups:
    """What the images of a run are grouped by; the size is that of an image's largest object.

    Args:
        predictions: a row per image.
        class_names: by class id; where it is too short, classes are numbers.
    """
    truth = truth_of(predictions)
    largest = [boxes[np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))] for boxes in truth.boxes]
    height, width = truth.size(0)
    names = [class_names[one] if 0 <= one < len(class_names) else f"class {one}" for one in truth.class_ids]
    return Groups(
        object_sizes(np.stack(largest), (height, width)),
        object_counts(np.array([len(boxes) for boxes in truth.boxes])),
        np.array(names, dtype=np.str_),
    )


def _ledger(lines: Mapping[tuple[str, str], Sequence[ScoredMap]], shown: set[str]) -> Table | None:
    """A line a score of the heads' maps; then, where there are such rows, of the networks that boxes trained."""
    ledger: dict[str, Supervision] = {}
    for of, is_one in _KINDS_OF_LINES.items():
        known = [seeds[0] for line, seeds in lines.items() if line[0] != NONE and is_one(line) and seeds[0].evaluation]
        for one in known[:1]:
            chosen = _chosen_by(load_or_none(one.folder.settings_file, read_json) or {})
            suffix = f", {of}" if of else ""
            for name, score in scores_of(one).items():
                if name not in shown or not _has_value(score, of):
                    continue
                ledger[name + suffix] = told = _supervision(score, one.protocol, of, chosen)
                if told.oracle:
                    at_val = replace(score, threshold="held_out")
                    ledger[held_out(name) + suffix] = _supervision(at_val, one.protocol, of, chosen)
    if not ledger:
        return None
    rows = [[Cell(text) for text in line] for line in ledger_lines(ledger)]
    notes = [
        "Which annotations chose what. Training reads image labels alone, beside those that pretrained weights were "
        "made with, where nothing else is said; where nothing chose the checkpoint, it is the last epoch's; where "
        "nothing chose the hyper-parameters, they were fixed beforehand, and tuning outside of these runs cannot be "
        "seen. Test labels: the map is made for the true class. An oracle's threshold was chosen by the boxes that it "
        "is scored on."
    ]
    return Table("Supervision", [Column(name) for name in LEDGER_COLUMNS], rows, notes)


_FEW_SHOT = "few-shot"
_KINDS_OF_LINES: dict[str, Callable[[tuple[str, str]], bool]] = {
    "": lambda line: not _trained_with_boxes(line),
    PSOL: lambda line: line[1] == PSOL,
    _FEW_SHOT: lambda line: few_shot_count(line[0]) is not None,
}


def _has_value(score: Score, of: str) -> bool:
    """A few-shot network knows no class; that PSOL's class is its head's is said already, and it has no map."""
    if of == _FEW_SHOT:
        return score.protocol != NO_BOX and not score.needs_class
    return of != PSOL or (score.protocol != NO_BOX and score.boxes != PIXELS)


def _supervision(score: Score, protocol: Protocol, of: str, chosen: Mapping[str, Any]) -> Supervision:
    if of == _FEW_SHOT:
        return few_shot_supervision(score, protocol)
    if of == PSOL:  # val's boxes chose something, whatever else did
        told = psol_supervision(score, protocol)
        return replace(told, checkpoint=chosen.get("checkpoint", told.checkpoint))
    return supervision_of(score, protocol, **chosen)


def _chosen_by(settings: Mapping[str, Any]) -> dict[str, str]:
    """What chose the hyper-parameters and the epoch of a run, where something did."""
    identity = settings.get("identity", {})
    chosen = {}
    if "tuning" in identity:
        boxes = identity["tuning"]["select"] == LOCALIZATION
        chosen["hyper_parameters"] = VAL_BOXES if boxes else VAL_LABELS
    if identity.get("train", {}).get("select") == "best":
        chosen["checkpoint"] = VAL_LABELS
    return chosen


def _diagnosis(records: Mapping[str, Sequence[LocalizationRecord]], groups: Groups | None) -> Iterator[Table]:
    if not records:
        return
    shares = {name: error_shares(seeds).set_index("error")["share"] for name, seeds in records.items()}
    first = next(iter(shares.values()))
    rows = [
        [Cell(error, error), *(Cell(f"{100 * one[error]:.1f}", float(one[error])) for one in shares.values())]
        for error in first.index
    ]
    columns = [Column("outcome"), *(Column(name) for name in shares)]
    yield Table("Types of error, percent of images", columns, rows, ["At the τ chosen on val; means over seeds."])
    if groups is None:
        return
    yield from _by("size of the object", groups.sizes, records, OBJECT_SIZES)
    yield from _by("number of objects", groups.counts, records, OBJECT_COUNTS)
    yield from _by("class", groups.classes, records, None)


def _by(
    title: str,
    labels: NDArray[np.str_],
    records: Mapping[str, Sequence[LocalizationRecord]],
    order: Sequence[str] | None,
) -> Iterator[Table]:
    frames = {name: by_group(seeds, labels, order=order).set_index("group") for name, seeds in records.items()}
    first = next(iter(frames.values()))
    rows = [
        [
            Cell(str(group), str(group)),
            Cell(str(first.loc[group, "images"]), float(first.loc[group, "images"])),
            *(
                Cell(f"{100 * frame.loc[group, 'gt_known_loc']:.1f}", float(frame.loc[group, "gt_known_loc"]))
                for frame in frames.values()
            ),
        ]
        for group in first.index
    ]
    columns = [Column(title), Column("images"), *(Column(name) for name in frames)]
    yield Table(
        f"GT-known localization by {title}, percent", columns, rows, ["At the τ chosen on val; means over seeds."]
    )


def _gallery(
    shown: Sequence[tuple[str, str]],
    lines: Mapping[tuple[str, str], Sequence[ScoredMap]],
    predictions: pd.DataFrame | None,
    pictures: Pictures | None,
    limit: int,
) -> Gallery | None:
    settings: dict[str, Setting] = {}
    for line in shown[:_GALLERY_SETTINGS] if limit else ():
        one = min(lines[line], key=lambda one: one.seed)
        record = one.record(_BOXES)
        if record is not None:
            settings[f"{_label(line)}, seed {one.seed}"] = Setting(record, one.maps(), one.protocol)
    if not settings or predictions is None:
        return None
    names = [] if pictures is None else pictures.class_names
    photo = None if pictures is None else pictures.photo
    return build_gallery(settings, predictions, names, photo, limit, "One seed, at the τ chosen on val.")
