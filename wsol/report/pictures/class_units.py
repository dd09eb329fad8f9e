"""Draw a class's units: a row for each unit, with crops of the images that excite it most."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from wsol.data.sample import Sample
from wsol.explain.class_units import CROP_TEXT, ClassUnit, Excited
from wsol.report.pictures.panels import PictureText, plain, save_figure


def draw_units(
    path: Path,
    units: Sequence[ClassUnit],
    excited: Mapping[int, Sequence[Excited]],
    sample_at: Callable[[int], Sample],
    text: PictureText,
) -> None:
    """Draw the crops, each with the class of its image and the unit's peak there.

    Args:
        path: a .png file, written whole or not at all.
        units: R units of a class, one for each row.
        excited: unit -> the images that excite it, one for each column.
        sample_at: index in the image set -> the prepared image.
        text: title and names; its caption follows the description of the crops.
    """
    columns = max(len(excited[unit.unit]) for unit in units)
    figure = Figure(figsize=(1.5 * columns + 1.1, 1.75 * len(units) + 1.0), layout="constrained")
    below = [*CROP_TEXT.split("; "), *text.caption]
    below = [part for line in below for part in textwrap.wrap(plain(line, 1000), 25 * columns + 15)]
    figure.suptitle(plain(text.title, 24 * columns), fontsize=9, parse_math=False)
    axes = figure.subplots(len(units), columns, squeeze=False)
    for row, unit in enumerate(units):
        for column, panel in enumerate(axes[row]):
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
            if column >= len(excited[unit.unit]):
                continue
            image = excited[unit.unit][column]
            sample = sample_at(image.index)
            x0, y0, x1, y1 = np.rint(image.box).astype(int)
            panel.set_title(
                f"{plain(text.class_names[sample.class_id], 21)}\n{image.peak:.3g}", fontsize=7, parse_math=False
            )
            if x1 > x0 and y1 > y0:
                panel.imshow(sample.image[y0:y1, x0:x1])
            else:
                panel.text(0.5, 0.5, "does not fire", fontsize=7, ha="center", transform=panel.transAxes)
        axes[row, 0].set_ylabel(f"unit {unit.unit}\nweight {unit.weight:+.3g}", fontsize=8, rotation=0, ha="right")
    figure.supxlabel("\n".join(below), fontsize=7, parse_math=False)
    save_figure(figure, path, dpi=150)
