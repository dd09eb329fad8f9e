"""Make one comparison's section of the report's page."""

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
from wsol.comparison.normalizations import NORMALIZATIONS, TAU, by_normalization
from wsol.comparison.saved_maps import ScoredMap, held_out
from wsol.comparison.summary import MeasuredLines, summarize
from wsol.data.ground_truth import truth_of
from wsol.data.preparation import share_of_test
from wsol.report.content import Cell, Column, Drawing, Gallery, Section, Table
from wsol.report.figures.comparison import MOST_SETTINGS, Drawn, Groups, draw_comparison
from wsol.report.figures.style import svg_of
from wsol.report.image_gallery import Setting, build_gallery, class_name, largest_true_boxes
from wsol.report.score_table import difference_table
from wsol.report.table_files import full_table
from wsol.runs.as_is import AS_IS
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
    ELSEWHERE,
    HELD_OUT_OF_TEST,
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
    """Images of a data set that is available on this machine."""

    class_names: Sequence[str]
    photo: Callable[[int], Image.Image]  # index of a test image -> the prepared image


@dataclass(frozen=True)
class Written:
    """One comparison's section, with the tables and figures that are also written as files."""

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
    """Make the tables, figures and gallery of one comparison.

    Args:
        results: the folder that contains `runs`.
        comparison: the rows.
        lines: (pooling, map) -> the scored map of each seed.
        measured: (pooling, map) -> name of the score -> its values.
        pictures: the data set; None: the gallery has no photographs, and classes have numbers for names.
        gallery: number of images to show; 0 for no gallery.
    """
    summary = summarize(comparison.rows, measured)
    table = full_table(results, comparison, summary)
    shown = _settings_shown(lines)
    records = {_label(line): seeds for line in shown if (seeds := _records(lines[line]))}
    predictions = _predictions(lines)
    groups = None if predictions is None else groups_of(predictions, [] if pictures is None else pictures.class_names)
    if groups is not None and any(len(seeds[0].image_ids) != len(groups.sizes) for seeds in records.values()):
        groups = None
    drawn = list(draw_comparison(records, groups, summary))
    tables = [
        table,
        difference_table(summary),
        _ledger(lines, set(comparison.rows["score"])),
        *_diagnosis(records, groups, any(lines[line][0].trained for line in shown)),
        *_normalizations(shown, lines, predictions),
    ]
    return Written(
        Section(
            anchor=comparison.name,
            title=comparison.name,
            about=[],
            tables=[_without_markdown(part) for part in tables if part is not None],
            drawings=[Drawing(drawing.title, svg_of(drawing.figure), drawing.caption) for drawing in drawn],
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
    """Choose the settings of a figure: every head with the first maps, then networks that boxes trained."""
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
    """Read the record of every seed that has one on disk."""
    records = (scored.record(_BOXES) for scored in sorted(seeds, key=lambda scored: scored.seed))
    return [record for record in records if record is not None]


def _predictions(lines: Mapping[tuple[str, str], Sequence[ScoredMap]]) -> pd.DataFrame | None:
    """Read predictions with the true boxes of every image; None if not on disk, or if the data have masks alone."""
    for (pooling, _), seeds in lines.items():
        for scored in seeds if pooling != NONE else ():
            predictions = scored.predictions()
            if predictions is not None and all(len(boxes) for boxes in predictions["boxes"]):
                return predictions
    return None


def groups_of(predictions: pd.DataFrame, class_names: Sequence[str]) -> Groups:
    """Group the images of a run by the size of their largest object, the number of objects, and the class.

    Args:
        predictions: a row per image.
        class_names: names by class id; a class beyond them is named by its number.
    """
    ground_truth = truth_of(predictions)
    names = [class_name(class_id, class_names) for class_id in ground_truth.class_ids]
    return Groups(
        object_sizes(largest_true_boxes(ground_truth), ground_truth.size(0)),
        object_counts(np.array([len(boxes) for boxes in ground_truth.boxes])),
        np.array(names, dtype=np.str_),
    )


def _ledger(lines: Mapping[tuple[str, str], Sequence[ScoredMap]], shown: set[str]) -> Table | None:
    """Make the table of supervision: a row per score of the heads, then of the networks that boxes trained."""
    ledger: dict[str, Supervision] = {}
    for kind, has_kind in _KINDS_OF_LINES.items():
        of_kind = [seeds[0] for line, seeds in lines.items() if line[0] != NONE and has_kind(line)]
        for scored in [scored for scored in of_kind if scored.evaluation][:1]:
            settings = load_or_none(scored.folder.settings_file, read_json) or {}
            chosen = _chosen_by(settings)
            suffix = f", {kind}" if kind else ""
            for name, score in scores_of(scored).items():
                if name not in shown or not _has_value(score, kind):
                    continue
                supervision = _with_val(_supervision(score, scored.protocol, kind, chosen), settings)
                ledger[name + suffix] = supervision
                if score.threshold == "oracle":
                    at_val = replace(score, threshold="held_out")
                    on_val = _supervision(at_val, scored.protocol, kind, chosen)
                    ledger[held_out(name) + suffix] = _with_val(on_val, settings)
    if not ledger:
        return None
    rows = [[Cell(text) for text in line] for line in ledger_lines(ledger)]
    notes = [
        "The table lists which annotations chose what. Unless it says otherwise, training reads image labels alone, "
        "beside those that pretrained weights were made with; a network as it is was trained elsewhere, by what its "
        "authors had. Where nothing chose the checkpoint, it is the last "
        "epoch's; where nothing chose the hyper-parameters, they were fixed beforehand, and tuning outside of these "
        "runs cannot be seen. Test labels: the map is made for the true class. The boxes that an oracle is scored on "
        "chose its threshold. Box choice: of all boxes of a map (rule every), the one that fits the test boxes best is "
        "scored."
    ]
    return Table("Supervision", [Column(name) for name in LEDGER_COLUMNS], rows, notes)


_FEW_SHOT = "few-shot"
_KINDS_OF_LINES: dict[str, Callable[[tuple[str, str]], bool]] = {
    "": lambda line: not _trained_with_boxes(line),
    PSOL: lambda line: line[1] == PSOL,
    _FEW_SHOT: lambda line: few_shot_count(line[0]) is not None,
}


def _has_value(score: Score, kind: str) -> bool:
    """Return whether a kind of line has a value of this score.

    A few-shot network predicts no class. PSOL makes no map, and its class is its head's, whose line already states it.
    """
    if kind == _FEW_SHOT:
        return score.protocol != NO_BOX and not score.needs_class
    return kind != PSOL or (score.protocol != NO_BOX and score.boxes != PIXELS)


def _supervision(score: Score, protocol: Protocol, kind: str, chosen: Mapping[str, Any]) -> Supervision:
    if kind == _FEW_SHOT:
        return few_shot_supervision(score, protocol)
    if kind == PSOL:  # val's boxes chose something, whatever else did
        supervision = psol_supervision(score, protocol)
        return replace(supervision, checkpoint=chosen.get("checkpoint", supervision.checkpoint))
    return supervision_of(score, protocol, **chosen)


def _with_val(supervision: Supervision, settings: Mapping[str, Any]) -> Supervision:
    """Name the images that chose τ, where val is held out of test."""
    if share_of_test((settings.get("reader") or {}).get("val")) is None or supervision.threshold != VAL_BOXES:
        return supervision
    return replace(supervision, threshold=HELD_OUT_OF_TEST)


def _chosen_by(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what chose the hyper-parameters and the epoch of a run; empty if they were fixed beforehand."""
    identity = settings.get("identity", {})
    if settings.get("backbone") == AS_IS:
        return {"training": ELSEWHERE, "checkpoint": ELSEWHERE, "hyper_parameters": ELSEWHERE}
    chosen = {}
    if "tuning" in identity:
        boxes = identity["tuning"]["select"] == LOCALIZATION
        chosen["hyper_parameters"] = VAL_BOXES if boxes else VAL_LABELS
    if identity.get("train", {}).get("select") == "best":
        chosen["checkpoint"] = VAL_LABELS
    return chosen


def _diagnosis(
    records: Mapping[str, Sequence[LocalizationRecord]], groups: Groups | None, trained: bool
) -> Iterator[Table]:
    if not records:
        return
    shares = {name: error_shares(seeds).set_index("error")["share"] for name, seeds in records.items()}
    first = next(iter(shares.values()))
    rows = [
        [Cell(error, error), *(Cell(f"{100 * share[error]:.1f}", float(share[error])) for share in shares.values())]
        for error in first.index
    ]
    columns = [Column("outcome"), *(Column(name) for name in shares)]
    note = "At the τ chosen on val; means over seeds." if trained else "At the τ chosen on val."
    yield Table("Types of error, percent of images", columns, rows, [note])
    if groups is None:
        return
    yield from _by("size of the object", groups.sizes, records, OBJECT_SIZES, note)
    yield from _by("number of objects", groups.counts, records, OBJECT_COUNTS, note)
    yield from _by("class", groups.classes, records, None, note)


def _by(
    title: str,
    labels: NDArray[np.str_],
    records: Mapping[str, Sequence[LocalizationRecord]],
    order: Sequence[str] | None,
    note: str,
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
    yield Table(f"GT-known localization by {title}, percent", columns, rows, [note])


def _normalizations(
    shown: Sequence[tuple[str, str]],
    lines: Mapping[tuple[str, str], Sequence[ScoredMap]],
    predictions: pd.DataFrame | None,
) -> Iterator[Table]:
    """Yield the table of both normalizations at 20 %, of the settings that have maps on disk."""
    rows = []
    for line in shown if predictions is not None else ():
        scored = min(lines[line], key=lambda scored: scored.seed)
        maps = scored.maps()
        if maps is None or predictions is None or maps.image_ids.tolist() != predictions["image_id"].tolist():
            continue
        numbers = by_normalization(maps, truth_of(predictions), scored.protocol)
        cells = (Cell(f"{100 * value:.1f}", value) for pair in numbers.values() for value in pair)
        rows.append([Cell(f"{_label(line)}, seed {scored.seed}"), *cells])
    if rows:
        columns = [Column("setting")]
        for text in NORMALIZATIONS.values():
            columns += [Column("GT-known", text), Column("boxes over 95 % of the frame", text)]
        note = (
            f"One seed, the largest component above τ {TAU}: of the range of the map (min-max), and of its maximum. "
            "Where many boxes cover the frame, a score is that of the frame itself."
        )
        yield Table("Normalizations at 20 %, percent of images", columns, rows, [note])


def _gallery(
    shown: Sequence[tuple[str, str]],
    lines: Mapping[tuple[str, str], Sequence[ScoredMap]],
    predictions: pd.DataFrame | None,
    pictures: Pictures | None,
    limit: int,
) -> Gallery | None:
    settings: dict[str, Setting] = {}
    for line in shown[:_GALLERY_SETTINGS] if limit else ():
        scored = min(lines[line], key=lambda scored: scored.seed)
        record = scored.record(_BOXES)
        if record is not None:
            label = f"{_label(line)}, seed {scored.seed}" if scored.trained else _label(line)
            settings[label] = Setting(record, scored.maps(), scored.protocol)
    if not settings or predictions is None:
        return None
    names = [] if pictures is None else pictures.class_names
    photo = None if pictures is None else pictures.photo
    one_seed = "One seed, at" if any(scored.trained for line in shown for scored in lines[line]) else "At"
    return build_gallery(settings, predictions, names, photo, limit, f"{one_seed} the τ chosen on val.")
