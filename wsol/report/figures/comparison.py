"""Draw the figures of a comparison from its records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wsol.comparison.diagnosis import (
    IOU_THRESHOLDS,
    OBJECT_COUNTS,
    OBJECT_SIZES,
    accuracy_by_iou,
    accuracy_by_threshold,
    area_ratios,
    by_group,
    error_shares,
)
from wsol.comparison.summary import FLATTERY
from wsol.report.figures.curves import ON_VAL, ORACLE, draw_accuracy_by_iou, draw_accuracy_by_threshold
from wsol.report.figures.diagnosis import draw_area_ratios, draw_breakdown, draw_differences, draw_error_types
from wsol.report.score_table import heading
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score import NO_BOX

MOST_SETTINGS = 6  # in one figure


class Drawn(NamedTuple):
    """A figure with its file name, title and caption."""

    name: str  # file name without suffix
    title: str
    figure: Figure
    caption: str


class Groups(NamedTuple):
    """Labels that group the images of a comparison, (N,) each."""

    sizes: NDArray[np.str_]
    counts: NDArray[np.str_]
    classes: NDArray[np.str_]


def draw_comparison(
    records: Mapping[str, Sequence[LocalizationRecord]], groups: Groups | None, summary: pd.DataFrame
) -> Iterator[Drawn]:
    """Draw all figures of a comparison.

    Args:
        records: name of the setting -> the record of each seed, of the box rule `largest` at the threshold chosen on
            val.
        groups: groups of the images; None if unknown.
        summary: a table of `summarize`.
    """
    if records:
        yield from _curves(records)
        shares = {name: error_shares(seeds) for name, seeds in records.items()}
        yield Drawn(
            "error_types",
            "Types of error",
            draw_error_types(shares),
            "At the τ chosen on val and IoU 0.5. Too small: the box lies mostly inside the object; too large: it "
            "covers the object and background; wrong place: it does neither by half. Means over seeds.",
        )
        yield Drawn(
            "area_ratios",
            "Size of the boxes",
            draw_area_ratios({name: area_ratios(seeds) for name, seeds in records.items()}),
            "Area of the predicted box over that of the true box, at the τ chosen on val; all images of all seeds.",
        )
    for name, title, labels, order in _breakdowns(groups) if groups is not None and records else ():
        frames = {setting: by_group(seeds, labels, order=order) for setting, seeds in records.items()}
        yield Drawn(
            f"by_{name}", f"By {title}", draw_breakdown(frames, title), "GT-known localization at the τ chosen on val."
        )
    differences = summary[summary["pooling"].str.contains(" - ") & (summary["kind"] != FLATTERY)]
    differences = differences[differences["mean"].notna() & differences["protocol"].ne(NO_BOX)]
    if len(differences):
        yield _difference_figure(differences)


def _curves(records: Mapping[str, Sequence[LocalizationRecord]]) -> Iterator[Drawn]:
    curves = {name: accuracy_by_threshold(seeds) for name, seeds in records.items()}
    thresholds = next(iter(records.values()))[0].thresholds
    points = {
        name: {
            ON_VAL: [thresholds[record.operating_point] for record in records[name]],
            ORACLE: [thresholds[index] for index in curve.argmax(axis=1)],
        }
        for name, curve in curves.items()
    }
    fixed = 0.2 if np.isclose(thresholds, 0.2, atol=1e-9).any() else None
    yield Drawn(
        "accuracy_by_threshold",
        "Accuracy against the score-map threshold",
        draw_accuracy_by_threshold(curves, thresholds, points, fixed),
        "Share of images whose box reaches IoU 0.5 at each τ: mean over seeds, range over seeds as a band.",
    )
    by_iou = {name: accuracy_by_iou(seeds) for name, seeds in records.items()}
    yield Drawn(
        "accuracy_by_iou",
        "Accuracy against the IoU threshold",
        draw_accuracy_by_iou(by_iou, IOU_THRESHOLDS),
        "At the τ chosen on val for IoU 0.5.",
    )


def _breakdowns(groups: Groups) -> Iterator[tuple[str, str, NDArray[np.str_], Sequence[str] | None]]:
    yield "size", "size of the object", groups.sizes, OBJECT_SIZES
    if len(set(groups.counts)) > 1:
        yield "count", "number of objects", groups.counts, OBJECT_COUNTS
    if len(set(groups.classes)) > 1:
        yield "class", "class", groups.classes, None


def _difference_figure(differences: pd.DataFrame) -> Drawn:
    several = differences["pooling"].nunique() > 1
    names = [
        f"{line['map']}: {heading(line['score'], line['protocol'])}" + (f", {line['pooling']}" if several else "")
        for line in differences.to_dict("records")
    ]
    title = ", ".join(dict.fromkeys(differences["pooling"])).replace(" - ", " − ")
    values, lows, highs = (differences[column].to_numpy(float) for column in ("mean", "low", "high"))
    return Drawn(
        "differences",
        f"Differences: {title}",
        draw_differences(names, values, lows, highs, title=title),
        "Points, with the 95 % interval of seeds and images, not corrected for their number. τ on test: oracles.",
    )
