"""Draw the report's figures of errors, sizes, groups and differences; names may be any text from outside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from wsol.comparison.diagnosis import (
    ERROR_TYPES,
    NO_BOX,
    RIGHT,
    TOO_LARGE,
    TOO_SMALL,
    WRONG_CLASS,
    WRONG_PLACE,
)
from wsol.report.figures.style import (
    COLORS,
    COLUMN,
    MARKERS,
    PAGE,
    check_settings,
    in_style,
    legend_below,
    name_length,
    percent_axis,
    short_names,
    title_above,
)

# The colours are light enough for black numbers; each has a hatch for black-and-white printers.
_ERROR_LOOK: dict[str, tuple[str, str]] = {
    RIGHT: ("#009E73", ""),
    WRONG_CLASS: ("#F0E442", "||||"),  # dots would be a quarter of a megabyte of SVG
    TOO_SMALL: ("#56B4E9", "////"),
    TOO_LARGE: ("#E69F00", "\\\\\\\\"),
    WRONG_PLACE: ("#CC79A7", "xxxx"),
    NO_BOX: ("#FFFFFF", ""),
}


@in_style
def draw_error_types(shares: Mapping[str, pd.DataFrame], width: float = PAGE) -> Figure:
    """Draw the types of error of each setting as a bar of 100 %, the mean over seeds.

    Args:
        shares: name of the setting -> table of `error_shares`.
        width: inches.

    Raises:
        ValueError: if there are no settings.
    """
    check_settings(shares, most=None)
    figure = Figure(figsize=(width, 0.55 + 0.27 * len(shares)), layout="constrained")
    axes = figure.subplots()
    numbers = 0.025 * PAGE / width  # the share that a number of two digits needs
    for row, frame in enumerate(shares.values()):
        left = 0.0
        share_of = dict(zip(frame["error"], frame["share"], strict=True))
        for error in ERROR_TYPES:
            share, (color, hatch) = float(share_of.get(error, 0)), _ERROR_LOOK[error]
            axes.barh(row, share, left=left, height=0.7, color=color, hatch=hatch, edgecolor="#333333", linewidth=0.5)
            text = f"{100 * share:.0f}"
            if share > numbers * len(text):
                box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
                axes.text(left + share / 2, row, text, ha="center", va="center", bbox=box)
            left += share
    _rows(axes, short_names(shares, name_length(width)))
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    percent_axis(axes.xaxis)
    axes.set_xlabel("images (%)")
    entries = [
        (Patch(facecolor=color, hatch=hatch, edgecolor="#333333", linewidth=0.5), error)
        for error, (color, hatch) in _ERROR_LOOK.items()
    ]
    legend_below(figure, entries)
    return figure


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    """Give the axes one row for each label, the first on top."""
    axes.set_yticks(range(len(labels)), labels=labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


@in_style
def draw_area_ratios(ratios: Mapping[str, NDArray[np.floating]], width: float = COLUMN) -> Figure:
    """Draw the distribution and the median of the predicted box's area over the true box's, for each setting.

    Args:
        ratios: name of the setting -> log2 of the ratio of each image that has a box; see `area_ratios`.
        width: inches.

    Raises:
        ValueError: if there are no settings.
    """
    check_settings(ratios, most=None)
    every = np.concatenate([np.asarray(values, float) for values in ratios.values()])
    reach = float(np.quantile(np.abs(every), 0.995)) if len(every) else 1.0
    limit = next(octaves for octaves in (1, 2, 3, 4, 6) if octaves >= min(reach, 6))
    edges = np.linspace(-limit, limit, 12 * limit + 1 if limit < 3 else 8 * limit + 1)
    figure = Figure(figsize=(width, 0.6 + 0.42 * len(ratios)), layout="constrained")
    axes = figure.subplots()
    for row, values in enumerate(ratios.values()):
        foot = row + 0.45
        axes.axhline(foot, color="#999999", linewidth=0.5)
        text = "no box"
        if len(values):
            counts, _ = np.histogram(np.clip(values, -limit, limit), edges)
            axes.stairs(foot - 0.8 * counts / counts.max(), edges, baseline=foot, fill=True, color="#BBD9EA")
            axes.stairs(foot - 0.8 * counts / counts.max(), edges, baseline=foot, color="#0072B2", linewidth=0.8)
            median = float(np.median(values))
            at = float(np.clip(median, -limit, limit))
            axes.plot([at, at], [foot, foot - 0.85], color="#D55E00", linewidth=1.6, zorder=3)
            text = f"{2**median:.2f}"
        beside = blended_transform_factory(axes.transAxes, axes.transData)
        axes.text(1.02, row + 0.15, text, transform=beside, va="center")
    _rows(axes, short_names(ratios, name_length(width)))
    axes.axvline(0, color="#000000", linewidth=0.8)
    axes.set_xlim(-limit, limit)
    ticks = range(-limit, limit + 1, 1 if limit < 4 else 2)
    labels = [str(2**tick) if tick >= 0 else f"1/{2**-tick}" for tick in ticks]
    if (np.abs(every) > limit).any():  # the last bins contain all ratios beyond the limit
        labels[0], labels[-1] = f"≤ {labels[0]}", f"≥ {labels[-1]}"
    axes.set_xticks(ticks, labels=labels)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("area of predicted / true box")
    axes.text(1.02, 1, "median", transform=axes.transAxes, va="bottom", color="#D55E00")
    return figure


@in_style
def draw_breakdown(
    frames: Mapping[str, pd.DataFrame], title: str = "", most: int = 20, width: float = COLUMN
) -> Figure:
    """Draw GT-known Loc by group: a dot for each setting, with the standard deviation over seeds to both sides.

    Args:
        frames: name of the setting -> table of `by_group`, all with the same groups.
        title: what the images are grouped by.
        most: number of groups to show, or fewer where they would not fit a page. If there are more, the figure shows
            those with the lowest and the highest mean over settings, and the title states it.
        width: inches.

    Raises:
        ValueError: if there are no settings or groups, if there are more than eight settings, or if they have different
            groups.
    """
    check_settings(frames)
    first = next(iter(frames.values()))
    for name, frame in frames.items():
        if list(frame["group"]) != list(first["group"]):
            raise ValueError(f"{name!r} has other groups than {next(iter(frames))!r}.")
    if len(first) == 0:
        raise ValueError("There is no group to draw.")
    step = 0.075  # inches between the dots of one group
    high = max(0.17, 0.06 + step * len(frames))
    shown, note = _extremes(frames, min(most, int(7.5 / high)))
    figure = Figure(figsize=(width, 0.65 + high * len(shown)), layout="constrained")
    axes = figure.subplots()
    entries: list[tuple[Artist, str]] = []
    for place, (text, frame) in enumerate(zip(short_names(frames), frames.values(), strict=True)):
        rows = np.arange(len(shown)) + (place - (len(frames) - 1) / 2) * step / high
        some = frame.iloc[shown]
        look: dict[str, Any] = {"color": COLORS[place], "marker": MARKERS[place], "markersize": 3.5}
        spread = some["std"].fillna(0).to_numpy()
        axes.hlines(rows, some["gt_known_loc"] - spread, some["gt_known_loc"] + spread, color=COLORS[place], lw=0.9)
        axes.plot(some["gt_known_loc"], rows, linestyle="none", zorder=3, clip_on=False, **look)
        entries.append((Line2D([], [], linestyle="none", **look), text))
    names = short_names((str(group) for group in first["group"].iloc[shown]), name_length(width))
    images = first["images"].iloc[shown]
    _rows(axes, [f"{name} ({count})" for name, count in zip(names, images, strict=True)])
    for row in range(1, len(shown)):
        between = bool(note) and row == len(shown) // 2  # the border of the lowest and the highest groups
        axes.axhline(row - 0.5, color="#000000" if between else "#EEEEEE", linewidth=0.5, zorder=0.5)
    axes.grid(visible=False, axis="y")
    low, high_end = axes.get_xlim()
    axes.set_xlim(max(low, 0), min(high_end, 1))  # bars of standard deviations may leave [0, 1], accuracies cannot
    percent_axis(axes.xaxis)
    axes.set_xlabel("GT-known localization (%)")
    if any(frame["std"].notna().any() for frame in frames.values()):
        entries.append((Line2D([], [], color="#000000", linewidth=0.9), "± std over seeds"))
    title_above(figure, [title, note])
    legend_below(figure, entries)
    return figure


def _extremes(frames: Mapping[str, pd.DataFrame], most: int) -> tuple[NDArray[np.int64], str]:
    """Choose the groups to show, (G,) indices, and describe the choice; an empty text if all are shown."""
    mean = np.mean([frame["gt_known_loc"].to_numpy(dtype=float) for frame in frames.values()], axis=0)
    if len(mean) <= most:
        return np.arange(len(mean)), ""
    order = np.argsort(mean, kind="stable")
    half = max(1, most // 2)
    return np.concatenate([order[:half], order[-half:]]), f"the {half} lowest and {half} highest of {len(mean)} groups"


@in_style
def draw_differences(
    names: Sequence[str],
    values: Sequence[float] | NDArray[np.floating],
    lows: Sequence[float] | NDArray[np.floating],
    highs: Sequence[float] | NDArray[np.floating],
    title: str = "",
    width: float = PAGE,
) -> Figure:
    """Draw differences with their intervals: a filled dot where the interval excludes zero, an open dot elsewhere.

    Args:
        names: name of each difference, R rows, the first on top.
        values: (R,) fractions, printed as points.
        lows: (R,) lower ends of the 95 % intervals; NaN if unknown.
        highs: (R,) upper ends of the 95 % intervals; NaN if unknown.
        title: the minuend and the subtrahend.
        width: inches.

    Raises:
        ValueError: if there are no rows, or if the arguments have different numbers of rows.
    """
    check_settings(names, most=None)
    if not len(names) == len(values) == len(lows) == len(highs):
        raise ValueError(
            "Every difference needs a name, a value and both ends of its interval, got "
            f"{len(names)} names, {len(values)} values, {len(lows)} lows and {len(highs)} highs."
        )
    value, low, high = (100 * np.asarray(numbers, dtype=float) for numbers in (values, lows, highs))
    figure = Figure(figsize=(width, 0.65 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#000000", linewidth=0.8, zorder=1)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for row in range(len(names)):
        apart = bool((low[row] > 0 and high[row] > 0) or (low[row] < 0 and high[row] < 0))
        axes.plot([low[row], high[row]], [row, row], color=COLORS[0], linewidth=1.2, zorder=2)
        axes.plot(value[row], row, zorder=3, **_difference(apart))
        axes.text(1.02, row, _printed(value[row], low[row], high[row]), transform=beside, va="center")
    entries: list[tuple[Artist, str]] = [
        (Line2D([], [], linestyle="none", **_difference(True)), "95 % interval excludes 0"),
        (Line2D([], [], linestyle="none", **_difference(False)), "interval contains 0, or is unknown"),
    ]
    _rows(axes, short_names(names, name_length(width)))
    ends = np.abs(np.concatenate([value, low, high, [0]]))
    reach = float(ends[np.isfinite(ends)].max()) or 1.0
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    axes.set_xlabel("difference (points)")
    title_above(figure, [title])
    axes.grid(visible=False, axis="y")
    legend_below(figure, entries)
    return figure


def _difference(apart: bool) -> dict[str, Any]:
    face = COLORS[0] if apart else "white"
    return {"marker": "o", "markersize": 4, "markerfacecolor": face, "markeredgecolor": COLORS[0]}


def _printed(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "not measured"
    interval = "" if np.isnan([low, high]).any() else f" [{low:+.1f}, {high:+.1f}]"
    return f"{value:+.1f}{interval}".replace("-", "−")
