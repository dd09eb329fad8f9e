"""A comparison as a section of the report's page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from wsol.comparisons import Comparison, scores_of
from wsol.diagnosis import by_group, error_shares
from wsol.figure_files import svg_of
from wsol.object_groups import OBJECT_COUNTS, OBJECT_SIZES, object_counts, object_sizes
from wsol.page import Cell, Column, Drawing, Gallery, Section, Table
from wsol.pipeline import NONE
from wsol.record import LocalizationRecord
from wsol.report_drawings import MOST_SETTINGS, Drawn, Groups, draw_comparison
from wsol.report_table import difference_table
from wsol.reports import full_table
from wsol.runs import load_or_none, read_json, truth_of
from wsol.scored_maps import ScoredMap, held_out
from wsol.shown_images import Setting, build_gallery
from wsol.summary import MeasuredLines, summarize
from wsol.supervision import LEDGER_COLUMNS, VAL_BOXES, VAL_LABELS, ledger_lines, supervision_of
from wsol.tuning import LOCALIZATION

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
    shown = list(_settings_shown(lines))
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


def _settings_shown(lines: Mapping[tuple[str, str], Sequence[ScoredMap]]) -> Iterator[tuple[str, str]]:
    """Every pooling with the first maps, as many as a figure holds."""
    poolings = list(dict.fromkeys(pooling for pooling, _ in lines if pooling != NONE))
    maps = list(dict.fromkeys(name for pooling, name in lines if pooling != NONE))
    each = max(MOST_SETTINGS // max(len(poolings), 1), 1)
    for name in maps[: min(each, 2)]:
        for pooling in poolings[:MOST_SETTINGS]:
            if (pooling, name) in lines:
                yield pooling, name


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
    for (pooling, _), seeds in lines.items():
        if pooling != NONE and seeds[0].evaluation:
            ledger, chosen = {}, _chosen_by(load_or_none(seeds[0].folder.settings_file, read_json) or {})
            for name, score in scores_of(seeds[0]).items():
                if name in shown:
                    ledger[name] = supervision_of(score, seeds[0].protocol, **chosen)
                    if ledger[name].oracle:
                        at_val = replace(score, threshold="held_out")
                        ledger[held_out(name)] = supervision_of(at_val, seeds[0].protocol, **chosen)
            rows = [[Cell(text) for text in line] for line in ledger_lines(ledger)]
            notes = [
                "Which annotations chose what. Training reads image labels alone, beside those that pretrained weights "
                "were made with; where nothing chose the checkpoint, it is the last epoch's; where nothing chose the "
                "hyper-parameters, they were fixed beforehand, and tuning outside of these runs cannot be seen. Test "
                "labels: the map is made for the true class. An oracle's threshold was chosen by the boxes that it is "
                "scored on."
            ]
            return Table("Supervision", [Column(name) for name in LEDGER_COLUMNS], rows, notes)
    return None


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
