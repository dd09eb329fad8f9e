"""Draw the figures of the pooling axis: localization against the sharpness of heads, and against classification."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from wsol.report.figures.style import (
    COLORS,
    FONT,
    PAGE,
    any_signs,
    check_settings,
    in_style,
    inches_of,
    legend_below,
    percent_axis,
    title_above,
)
from wsol.report.pictures.panels import plain

_COLORS = {"gap": COLORS[0], "gmp": COLORS[1], "lse": COLORS[2]}  # both ends of the axis, and the line between them
_OTHER = "#444444"
_LONGEST = 40  # characters of a label
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of cells
_CLOSE = 0.2  # decades between two ticks; closer ticks have numbers that touch

# Candidate places of a label: directions around its point, and gaps from the point, in points (1/72 inch).
_DIRECTIONS = [np.array([math.cos(turn), math.sin(turn)]) for turn in np.linspace(0, 2 * math.pi, 16, endpoint=False)]
_GAPS = (5.0, 9.0, 15.0, 23.0, 33.0, 45.0)
_SWEEPS = 4  # rounds over all labels; each moves the label to its best place among the others


@dataclass(frozen=True)
class Interval:
    """A value in [0, 1] with its interval."""

    value: float
    low: float = math.nan  # NaN: not known
    high: float = math.nan


@dataclass(frozen=True)
class AxisPoint:
    """One head on the pooling axis.

    Attributes:
        label: text beside the point.
        pooling: the pooling that was trained, which gives the colour.
        localization: mean over seeds.
        classification: top-1 accuracy, mean over seeds.
        share: the effective share of cells that the head reads, mean over seeds; NaN if unknown.
        on_scores: whether class scores are pooled, and not features.
        swapped: whether the head was tested with another pooling than it was trained with.
        sharpness: place on the line that joins the heads of this pooling and site; None if on no line.
    """

    label: str
    pooling: str
    localization: Interval
    classification: Interval
    share: float = math.nan
    on_scores: bool = False
    swapped: bool = False
    sharpness: float | None = None


@in_style
def draw_localization_by_sharpness(
    points: Sequence[AxisPoint], cells: int, score: str, title: str = "", width: float = PAGE
) -> Figure:
    """Draw localization against the effective share of cells, on a logarithmic axis from one cell to all cells.

    Args:
        points: heads; those without a share or a localization are left out.
        cells: number n of cells of a map, so that one cell is a share of 1 / n.
        score: name of the localization score.
        title: text above the axes.
        width: inches.

    Raises:
        ValueError: if no point is left, or if a share lies outside [1 / n, 1].
    """
    known = [point for point in points if not math.isnan(point.share + point.localization.value)]
    for point in known:
        if not 0.999 / cells <= point.share <= 1.001:  # rounding
            raise ValueError(f"The share of {point.label!r} must lie in [1 / {cells}, 1], got {point.share:g}.")
    figure, axes = _axes(known, score, title, width)
    axes.set_xscale("log")
    beside = cells**0.06 if cells > 1 else 1.1
    axes.set_xlim(1 / cells / beside, beside)
    entries = _join(axes, known)
    entries += _mark(axes, known, [Interval(point.share) for point in known])
    between = [tick for tick in _TICKS if math.log10(tick * cells) > _CLOSE]
    first = [1 / cells] if cells > 1 else []
    axes.set_xticks([*first, *between, 1], labels=[f"{100 * share:.2g}" for share in [*first, *between]] + ["100"])
    axes.xaxis.set_minor_locator(NullLocator())
    for at, text, side in ((0, "1 cell (maximum)", "left"), (1, "all cells (mean)", "right")):
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(text, (at, 0), xytext=(0, -17), ha=side, va="top", **place)
    axes.set_xlabel("effective share of cells read (%)", labelpad=3)
    legend_below(figure, entries)
    _write_labels(figure, axes, known, [point.share for point in known])
    return figure


@in_style
def draw_localization_by_classification(
    points: Sequence[AxisPoint], score: str, title: str = "", width: float = PAGE
) -> Figure:
    """Draw localization against top-1 accuracy, with the intervals of both as a cross.

    A network that is tested with another pooling may have an accuracy near chance. If its point would press all other
    points together, it is drawn at the edge of the axes without an interval, and its label contains its accuracy.

    Args:
        points: heads; those without an accuracy or a localization are left out.
        score: name of the localization score.
        title: text above the axes.
        width: inches.

    Raises:
        ValueError: if no point is left.
    """
    known = [point for point in points if not math.isnan(point.classification.value + point.localization.value)]
    figure, axes = _axes(known, score, title, width)
    limits = _limits(known)
    shown = [_at_the_edge(point, limits) for point in known]
    entries = _mark(axes, shown, [point.classification for point in shown])
    axes.set_xlim(*limits)
    percent_axis(axes.xaxis)
    axes.set_xlabel("top1_cls (%)")
    legend_below(figure, entries)
    _write_labels(figure, axes, shown, [point.classification.value for point in shown])
    return figure


def _limits(points: Sequence[AxisPoint]) -> tuple[float, float]:
    """Return limits of the accuracies that include the trained heads, and all heads within once more their range."""
    trained = [end for point in points if not point.swapped for end in _ends(point.classification)]
    low, high = (min(trained), max(trained)) if trained else (0.0, 1.0)
    span = max(high - low, 0.02)
    near = [end for point in points for end in _ends(point.classification) if low - span <= end <= high + span]
    low, high = min(low, *near), max(high, *near)
    margin = 0.12 * max(high - low, 0.02)
    return low - margin, high + margin


def _ends(interval: Interval) -> list[float]:
    return [end for end in (interval.value, interval.low, interval.high) if not math.isnan(end)]


def _at_the_edge(point: AxisPoint, limits: tuple[float, float]) -> AxisPoint:
    """Move a point beyond the limits to the nearer limit, and add its accuracy to its label."""
    value = point.classification.value
    edge = min(max(value, limits[0]), limits[1])
    if edge == value:
        return point
    label = f"{'←' if value < edge else '→'} {point.label}, top-1 {100 * value:.0f} %"
    return replace(point, classification=Interval(edge), label=label)


def _axes(points: Sequence[AxisPoint], score: str, title: str, width: float) -> tuple[Figure, Axes]:
    check_settings([point.label for point in points], most=None)
    figure = Figure(figsize=(width, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.margins(x=0.1, y=0.12)
    percent_axis(axes.yaxis)
    axes.set_ylabel(f"{score} (%)")
    title_above(figure, [title])
    return figure, axes


def _join(axes: Axes, points: Sequence[AxisPoint]) -> list[tuple[Artist, str]]:
    """Draw a line through the heads that differ in their sharpness alone, and return its entries of the legend."""
    entries: list[tuple[Artist, str]] = []
    sharp = [point for point in points if point.sharpness is not None]
    for pooling, on_scores in sorted({(point.pooling, point.on_scores) for point in sharp}):
        joined = [point for point in sharp if (point.pooling, point.on_scores) == (pooling, on_scores)]
        joined = sorted(joined, key=lambda point: point.sharpness or 0)
        if len(joined) > 1:
            look: dict[str, Any] = {"color": _color(pooling), "linestyle": "--" if on_scores else "-", "linewidth": 0.9}
            at = [point.share for point in joined], [point.localization.value for point in joined]
            axes.plot(*at, zorder=2, label=f"line {pooling}", **look)
            of_scores = " of class scores" if on_scores else ""
            entries.append((Line2D([], [], **look), f"{pooling}{of_scores}, in order of its sharpness"))
    return entries


def _mark(axes: Axes, points: Sequence[AxisPoint], across: Sequence[Interval]) -> list[tuple[Artist, str]]:
    """Draw markers and intervals, and return their entries of the legend."""
    looks: dict[str, dict[str, Any]] = {}
    for point, x in zip(points, across, strict=True):
        y, color = point.localization, _color(point.pooling)
        for ends in (([x.low, x.high], [y.value, y.value]), ([x.value, x.value], [y.low, y.high])):
            if not math.isnan(ends[0][0] + ends[1][0]):
                axes.plot(*ends, color=color, linewidth=0.7, alpha=0.6, zorder=2.5)
                looks["95 % interval"] = {"color": _OTHER, "linewidth": 0.7, "alpha": 0.6}
        look = _look(point)
        axes.plot([x.value], [y.value], zorder=3, clip_on=False, label=point.label, **look)
        site = "class scores pooled" if point.on_scores else "features pooled"
        text = f"{site}, by another pooling than trained" if point.swapped else site
        face = "white" if point.swapped else _OTHER
        looks.setdefault(text, {**look, "markersize": 4.5, "markeredgecolor": _OTHER, "markerfacecolor": face})
    last = [text for text in looks if text.startswith("95 %")]
    ordered = sorted(set(looks) - {*last}, key=lambda text: (", by" in text, "class scores" in text)) + last
    return [(Line2D([], [], **looks[text]), text) for text in ordered]


def _look(point: AxisPoint) -> dict[str, Any]:
    color = _color(point.pooling)
    return {
        "linestyle": "none",
        "marker": "s" if point.on_scores else "o",
        "markersize": 6.0 if point.pooling in ("gap", "gmp") else 4.5,
        "markeredgecolor": color,
        "markerfacecolor": "white" if point.swapped else color,
        "markeredgewidth": 1.0,
    }


def _color(pooling: str) -> str:
    return _COLORS.get(pooling, _OTHER)


def _write_labels(figure: Figure, axes: Axes, points: Sequence[AxisPoint], across: Sequence[float]) -> None:
    """Write each head's name beside its point, where it hides least; a thin line joins a distant name to its point."""
    with any_signs():
        figure.draw_without_rendering()  # which moves the axes to their final place
    scale = 72 / figure.dpi
    data = [(x, point.localization.value) for x, point in zip(across, points, strict=True)]
    at = axes.transData.transform(data) * scale
    texts = [plain(point.label, _LONGEST) for point in points]
    bold = [point.pooling in ("gap", "gmp") and not point.swapped for point in points]
    sizes = [
        (72 * inches_of(text) * (1.15 if heavy else 1) + 2, FONT + 1) for text, heavy in zip(texts, bold, strict=True)
    ]
    places = _places(at, sizes, np.array(axes.get_window_extent().extents) * scale, _lines_of(axes, scale))
    for n, place in enumerate(places):
        leader = {"arrowstyle": "-", "linewidth": 0.5, "color": "#999999", "shrinkA": 0, "shrinkB": 3}
        note = axes.annotate(
            texts[n],
            data[n],
            xytext=tuple((place[:2] + place[2:]) / 2 - at[n]),
            textcoords="offset points",
            ha="center",
            va="center",
            color=_color(points[n].pooling),
            fontweight="bold" if bold[n] else "normal",
            zorder=4,
            annotation_clip=False,  # at the edge too
            arrowprops=leader if _distance(at[n], place) > _GAPS[1] else None,
        )
        note.set_in_layout(False)  # otherwise the layout would move the axes again


def _lines_of(axes: Axes, scale: float) -> NDArray[np.float64]:
    """Return the drawn lines as boxes with sides of two points, (B, 4)."""
    boxes = [np.empty((0, 4))]
    for line in axes.get_lines():
        corners = axes.transData.transform(np.column_stack(line.get_data())) * scale
        for start, end in pairwise(corners):
            steps = max(1, int(np.hypot(*(end - start)) / 2))
            middles = start + np.linspace(0, 1, steps + 1)[:, None] * (end - start)
            boxes.append(np.hstack([middles - 1, middles + 1]))
    return np.concatenate(boxes)


def _places(
    at: NDArray[np.float64],
    sizes: Sequence[tuple[float, float]],
    inside: NDArray[np.float64],
    lines: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Choose a box for each label, (N, 4): each label in turn takes its best candidate, for a few rounds.

    Args:
        at: (N, 2) the points of the labels.
        sizes: (N, 2) width and height of the labels.
        inside: (4,) box of the axes.
        lines: (B, 4) boxes of drawn lines.
    """
    marks = np.hstack([at - 4, at + 4])
    boxes, leaders, costs = [], [], []  # for each label and candidate; the cost without the other labels
    for own, (point, size) in enumerate(zip(at, np.asarray(sizes), strict=True)):
        tried = [(gap, point + direction * (gap + size / 2)) for gap, direction in product(_GAPS, _DIRECTIONS)]
        candidates = np.array([[*(middle - size / 2), *(middle + size / 2)] for _, middle in tried])
        towards = np.array([_leader(point, box) for box in candidates])
        cost = 2.5 * np.array([gap for gap, _ in tried]) + 3 * _overlap(candidates, lines)
        cost += 4 * _overlap(candidates, marks) + 4 * _overlaps(towards, np.delete(marks, own, axis=0))
        cost += 50 * (size.prod() - _overlap(candidates, inside[None]))
        boxes.append(candidates)
        leaders.append(towards)
        costs.append(cost)
    chosen = [int(cost.argmin()) for cost in costs]
    for _, own in product(range(_SWEEPS), range(len(at))):
        others = [other for other in range(len(at)) if other != own]
        theirs = np.array([boxes[other][chosen[other]] for other in others]).reshape(-1, 4)
        led = np.array([leaders[other][chosen[other]] for other in others]).reshape(-1, 4)
        among = 8 * _overlap(boxes[own], theirs) + 8 * _overlap(boxes[own], led) + 8 * _overlaps(leaders[own], theirs)
        chosen[own] = int((costs[own] + among).argmin())
    return np.array([candidates[index] for candidates, index in zip(boxes, chosen, strict=True)])


def _leader(point: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return small boxes along the line to a label, (8, 4); without an area if the label needs no line."""
    nearest = np.clip(point, box[:2], box[2:])
    middles = point + np.linspace(0.1, 0.9, 8)[:, None] * (nearest - point)
    half = 1.0 if _distance(point, box) > _GAPS[1] else 0.0
    return np.hstack([middles - half, middles + half])


def _overlaps(several: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area that each group of K boxes shares with all others, added up: (N, K, 4), (M, 4) -> (N,)."""
    return _overlap(several.reshape(-1, 4), others).reshape(several.shape[:2]).sum(axis=1)


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area that each box shares with all others, added up: (N, 4), (M, 4) -> (N,)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(min=0).prod(axis=2).sum(axis=1)


def _distance(point: NDArray[np.float64], box: NDArray[np.float64]) -> float:
    """Return the distance from a point to a box."""
    return float(np.hypot(*np.maximum(np.maximum(box[:2] - point, point - box[2:]), 0)))
