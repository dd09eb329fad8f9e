"""Draw one explanation: the image with its most probable classes, then each method's map and box."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from wsol.explain.explainer import Explanation, Finding
from wsol.geometry import Size, resize_boxes
from wsol.report.pictures.panels import PREDICTED_COLOR, PictureText, draw_box, plain, save_figure

# In inches. The code places the panels: they have the image's aspect, which leaves gaps in any automatic layout.
_WIDTH, _GAP, _MARGIN = 2.1, 0.1, 0.1
_HEADING, _LINE, _TITLE = 0.4, 0.135, 0.3
_TALLEST, _FLATTEST = 2.0, 0.1  # limits of a panel's height over width; images beyond have white margins
_PIXELS = 600  # longer side of the drawn image
_NAME = 30  # characters that fit on a panel
_ACROSS = 6  # panels per line


def draw_explanation(
    path: Path,
    image: NDArray[np.uint8],
    explanation: Explanation,
    size: Size,
    text: PictureText,
) -> None:
    """Draw a row for each explained class, wrapped if there are many methods, in the image's own aspect.

    Args:
        path: a .png file, written whole or not at all.
        image: (H, W, 3) uint8, the original image.
        explanation: explanation of this image.
        size: (height, width) of the network's input, in whose pixels the boxes are.
        text: title, names, and a caption about the maps and boxes.
    """
    shown = _at_most(image, _PIXELS)
    panels = 1 + len(explanation.findings)
    columns, lines = min(panels, _ACROSS), -(-panels // _ACROSS)
    rows = len(explanation.class_ids) * lines
    panel = _WIDTH * float(np.clip(shown.shape[0] / shown.shape[1], _FLATTEST, _TALLEST))
    width = columns * (_WIDTH + _GAP) - _GAP + 2 * _MARGIN
    top5 = [f"{probability:.2f}  {plain(text.class_names[index], _NAME)}" for index, probability in explanation.top()]
    wrapped = [part for line in text.caption for part in textwrap.wrap(plain(line, 1000), int(width * 17))]
    below = (len(top5) + len(wrapped) + 1.5) * _LINE
    height = _TITLE + rows * (_HEADING + panel) + below
    figure = Figure(figsize=(width, height))

    def write(x: float, y: float, words: str, fontsize: float, **how: Any) -> None:
        figure.text(x / width, 1 - y / height, words, fontsize=fontsize, parse_math=False, **how)

    write(width / 2, 0.06, plain(text.title, int(width * 12)), 9, ha="center", va="top")
    for row, class_id in enumerate(explanation.class_ids):
        probability = explanation.probabilities[class_id]
        headings = [f"{plain(text.class_names[class_id], _NAME)}\np = {probability:.2f}"]
        for name, findings in explanation.findings.items():
            headings.append(plain(name) + ("" if findings[row].box.any() else "\nno box: nothing above the threshold"))
        for place, heading in enumerate(headings):
            line, column = row * lines + place // _ACROSS, place % _ACROSS
            top = _TITLE + (line + 1) * _HEADING + line * panel
            left = _MARGIN + column * (_WIDTH + _GAP)
            axes = figure.add_axes((left / width, 1 - (top + panel) / height, _WIDTH / width, panel / height))
            axes.imshow(shown)
            axes.set_axis_off()
            if place > 0:
                finding = list(explanation.findings.values())[place - 1][row]
                _overlay(axes, finding, (shown.shape[0], shown.shape[1]), size)
            write(left + _WIDTH / 2, top - 0.05, heading, 8, ha="center", va="bottom")
    bottom = height - below
    write(_MARGIN, bottom + 0.06, "\n".join(top5), 7, va="top")
    write(_MARGIN, bottom + (len(top5) + 1) * _LINE, "\n".join(wrapped), 7, va="top", color="0.3")
    save_figure(figure, path, dpi=150)


def _at_most(image: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    scale = pixels / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _overlay(axes: Axes, finding: Finding, shown: Size, size: Size) -> None:
    height, width = shown
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(finding.score_map, cmap="inferno", alpha=0.5, vmin=0, vmax=1, extent=edges, aspect="equal")
    draw_box(axes, resize_boxes(finding.box[None], size, shown)[0], PREDICTED_COLOR, "-")
