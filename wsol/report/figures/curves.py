"""Draw accuracy against a threshold from plain arrays by name of setting; names may be any text from outside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from wsol.report.figures.style import (
    COLORS,
    COLUMN,
    check_settings,
    in_style,
    legend_below,
    look_of,
    percent_axis,
    short_names,
)
from wsol.scoring.thresholds import find_threshold

ON_VAL, ORACLE = "val", "oracle"  # keys of the operating points
_POINT_TEXT = {ON_VAL: "τ chosen on val", ORACLE: "best τ on test (oracle)"}
_MEAN_TEXT = {ON_VAL: "mean τ chosen on val", ORACLE: "mean best τ (oracle)"}
_MOST_CORNERS = 200  # corners along a band, which matplotlib writes in full, while it simplifies lines
_MOST_POINTS = 12  # points of one kind; with more seeds, each setting has one point at the mean


@in_style
def draw_accuracy_by_threshold(
    curves: Mapping[str, NDArray[np.floating]],
    thresholds: NDArray[np.floating],
    points: Mapping[str, Mapping[str, Sequence[float]]],
    fixed: float | None = 0.2,
    iou_threshold: float = 0.5,
    width: float = COLUMN,
) -> Figure:
    """Draw accuracy against the score-map threshold τ: mean and range over seeds, with the operating points.

    Args:
        curves: name of the setting -> (S, T) fractions of `accuracy_by_threshold`.
        thresholds: (T,).
        points: name of the setting -> `ON_VAL` ("val") and `ORACLE` ("oracle") -> the τ of each seed; either may be
            missing. A mark lies on the curve of its seed, and so beside the mean line. If there would be too many
            marks, the means of τ and of accuracy are marked, and the legend states it.
        fixed: a τ to mark for all settings; None for no mark.
        iou_threshold: δ, for the label.
        width: inches.

    Raises:
        ValueError: if there are no settings or more than eight, or if the points have other settings, kinds, seeds or
            thresholds than the curves.
    """
    unknown = {*points} - {*curves} | {kind for of_kind in points.values() for kind in of_kind} - {*_POINT_TEXT}
    if unknown:
        raise ValueError(
            f"Points must have the name of a curve and the kind {ON_VAL!r} or {ORACLE!r}, got {sorted(unknown)}."
        )
    figure, axes, entries = _curves(curves, np.asarray(thresholds), width)
    if fixed is not None:
        axes.axvline(fixed, color="#555555", linewidth=0.7, zorder=1)
        entries.append((Line2D([], [], color="#555555", linewidth=0.7), f"fixed τ = {fixed:g}"))
    kinds = [kind for kind in _POINT_TEXT if any(kind in of_kind for of_kind in points.values())]
    averaged = sum(len(np.atleast_2d(curve)) for curve in curves.values()) > _MOST_POINTS
    for place, (name, curve) in enumerate(curves.items()):
        for kind, taus in points.get(name, {}).items():
            at, height = _places(
                np.atleast_2d(curve), np.asarray(thresholds, np.float64), taus, f"{kind!r} of {name!r}"
            )
            if averaged:
                at, height = at.mean(keepdims=True), height.mean(keepdims=True)
            axes.plot(at, height, linestyle="none", clip_on=False, zorder=4, **_point(kind, COLORS[place]))
    entries += [
        (Line2D([], [], linestyle="none", **_point(kind, "#000000")), (_MEAN_TEXT if averaged else _POINT_TEXT)[kind])
        for kind in kinds
    ]
    axes.set_xlim(0, 1)
    axes.set_xlabel("score-map threshold τ")
    axes.set_ylabel(f"images with IoU ≥ {iou_threshold:g} (%)")
    legend_below(figure, entries)
    return figure


def _places(
    seeds: NDArray[np.floating], thresholds: NDArray[np.float64], taus: Sequence[float], what: str
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return each seed's τ and its accuracy at that τ, both (S,)."""
    if len(taus) != len(seeds):
        raise ValueError(f"The points {what} are {len(taus)}, but there are {len(seeds)} seeds; expected one for each.")
    columns = [find_threshold(thresholds, tau, f"The point {what}") for tau in taus]
    return thresholds[columns], seeds[np.arange(len(seeds)), columns]


def _point(kind: str, color: str) -> dict[str, Any]:
    # A ring around a dot, so that both are visible where they coincide.
    size, face = (3.2, color) if kind == ON_VAL else (5.5, "none")
    return {
        "marker": "o",
        "markersize": size,
        "markeredgewidth": 0.9,
        "markerfacecolor": face,
        "markeredgecolor": color,
    }


@in_style
def draw_accuracy_by_iou(
    curves: Mapping[str, NDArray[np.floating]],
    iou_thresholds: Sequence[float] | NDArray[np.floating],
    width: float = COLUMN,
) -> Figure:
    """Draw accuracy against the IoU that counts as a hit: mean over seeds, range over seeds as a band.

    Args:
        curves: name of the setting -> (S, D) fractions of `accuracy_by_iou`.
        iou_thresholds: (D,).
        width: inches.

    Raises:
        ValueError: if there are no settings or more than eight.
    """
    figure, axes, entries = _curves(curves, np.asarray(iou_thresholds), width)
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU threshold δ")
    axes.set_ylabel("images with IoU ≥ δ (%)")
    legend_below(figure, entries)
    return figure


def _curves(
    curves: Mapping[str, NDArray[np.floating]], x: NDArray[np.floating], width: float
) -> tuple[Figure, Axes, list[tuple[Artist, str]]]:
    """Draw mean lines with bands, and return them with the entries of the legend."""
    check_settings(curves)
    figure = Figure(figsize=(width, 2.3), layout="constrained")
    axes = figure.subplots()
    entries: list[tuple[Artist, str]] = []
    bands, alpha = False, 0.15 if len(curves) < 4 else 0.08
    for place, (text, curve) in enumerate(zip(short_names(curves), curves.values(), strict=True)):
        seeds = np.atleast_2d(curve)
        if seeds.shape[1] != len(x):
            raise ValueError(f"{text!r} has a curve of {seeds.shape[1]} values over {len(x)} thresholds.")
        axes.plot(x, seeds.mean(axis=0), zorder=3, **look_of(place))
        if len(seeds) > 1:
            bands = True
            some = np.unique(np.linspace(0, len(x) - 1, _MOST_CORNERS).round().astype(int))
            low, high = seeds.min(axis=0)[some], seeds.max(axis=0)[some]
            axes.fill_between(x[some], low, high, color=COLORS[place], alpha=alpha, linewidth=0)
        entries.append((Line2D([], [], **look_of(place)), text))
    if bands:
        entries.append((Patch(color="#000000", alpha=0.15, linewidth=0), "range over seeds"))
    axes.set_ylim(0, max(0.05, min(1.0, 1.08 * max(float(np.max(curve)) for curve in curves.values()))))
    percent_axis(axes.yaxis)
    return figure, axes, entries
