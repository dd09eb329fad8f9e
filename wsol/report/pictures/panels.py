"""Draw maps and boxes side by side on the same images."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from wsol.atomic_files import whole_file
from wsol.data.sample import Sample

# Okabe and Ito's colour-blind safe palette.
TRUE_COLOR, PREDICTED_COLOR = "#009E73", "#D55E00"
DRAWN_FROM = "wsol drawn from"  # the PNG text entry that names what a picture shows


@dataclass(frozen=True)
class Panel:
    """One map on one image."""

    score_map: NDArray[np.floating]  # (H, W) in [0, 1]
    box: NDArray[np.float32]  # (4,) predicted; zeros for no box
    iou: float
    top1: bool  # whether the class was right


@dataclass(frozen=True)
class PictureText:
    """The text of a picture.

    Attributes:
        title: above the picture.
        class_names: K names, by class id.
        caption: lines below the picture.
    """

    title: str
    class_names: Sequence[str]
    caption: Sequence[str] = ()


def draw_side_by_side(
    path: Path,
    samples: Sequence[Sample],
    columns: Mapping[str, Sequence[Panel]],
    title: str,
    class_names: Sequence[str],
    drawn_from: str,
) -> None:
    """Draw a row per image: the image with its true boxes, then each column's map with predicted and true boxes.

    Args:
        path: a .png file, written whole or not at all.
        samples: R prepared images.
        columns: heading -> R panels.
        title: text above the picture, with the protocol that chose the boxes.
        class_names: names by class id, for the captions.
        drawn_from: key of the content, which the file stores, so that the next run need not draw the same picture.
    """
    figure = Figure(figsize=(1.9 * (1 + len(columns)), 2.15 * len(samples) + 0.8), layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(len(samples), 1 + len(columns), squeeze=False)
    for row, sample in enumerate(samples):
        _draw_image(axes[row, 0], sample)
        axes[row, 0].set_title(plain(class_names[sample.class_id]), fontsize=8, parse_math=False)
        for column, (heading, panels) in enumerate(columns.items(), start=1):
            panel = panels[row]
            _draw_image(axes[row, column], sample)
            axes[row, column].imshow(panel.score_map, cmap="inferno", alpha=0.5, vmin=0, vmax=1)
            draw_box(axes[row, column], panel.box, PREDICTED_COLOR, "-")
            verdict = "class right" if panel.top1 else "class wrong"
            axes[row, column].set_title(f"{heading}\nIoU {panel.iou:.2f}, {verdict}", fontsize=8)
    save_figure(figure, path, metadata={DRAWN_FROM: drawn_from})


def plain(text: str, length: int = 24) -> str:
    """Shorten text from outside, such as a class or file name, to one line of at most `length` characters.

    Draw it with `parse_math=False`, so that a dollar sign is a dollar sign.
    """
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def save_figure(figure: Figure, path: Path, dpi: float = 110, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .png file, whole or not at all; a sign that the font lacks becomes a box, without a warning."""
    with whole_file(path) as aside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(aside, dpi=dpi, metadata=dict(metadata or {}))


def _draw_image(axes: Axes, sample: Sample) -> None:
    axes.imshow(sample.image)
    axes.set_axis_off()
    for box in sample.boxes:
        draw_box(axes, box, TRUE_COLOR, "--")


def draw_box(axes: Axes, box: NDArray[np.float32], color: str, style: str) -> None:
    """Outline a box (4,) with edges in pixels of the shown image; an empty box is not drawn."""
    x0, y0, x1, y1 = box
    if x1 > x0 and y1 > y0:  # imshow puts pixel centres at whole numbers, so edges lie half a pixel before them
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=color, ls=style, lw=1.6))
