"""The picture of a class's units: a row for each, with crops of the images that excite it most."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from wsol.data.sample import Sample
from wsol.explain.class_units import CROP_TEXT, ClassUnit, Excited
from wsol.report.pictures.panels import plain, save_figure


def draw_units(
    path: Path,
    units: Sequence[ClassUnit],
    excited: Mapping[int, Sequence[Excited]],
    sample_at: Callable[[int], Sample],
    class_names: Sequence[str],
    title: str,
    caption: str = "",
) -> None:
    """Draw the crops, each with the class of its image and the unit's peak there.

    Args:
        path: a .png, written whole or not at all.
        units: R units of a class, one a row.
        excited: unit -> the images that excite it, one a column.
        sample_at: index in the image set -> the prepared image.
        class_names: K names, by class id.
        title: above the picture.
        caption: below it, after what the crops are.
    """
    columns = max(len(excited[one.unit]) for one in units)
    figure = Figure(figsize=(1.5 * columns + 1.1, 1.75 * len(units) + 1.0), layout="constrained")
    below = [*CROP_TEXT.split("; "), caption]
    below = [part for line in below for part in textwrap.wrap(plain(line, 1000), 25 * columns + 15)]
    figure.suptitle(plain(title, 24 * columns), fontsize=9, parse_math=False)
    axes = figure.subplots(len(units), columns, squeeze=False)
    for row, one in enumerate(units):
        for column, place in enumerate(axes[row]):
            place.set_xticks([])
            place.set_yticks([])
            place.spines[:].set_visible(False)
            if column >= len(excited[one.unit]):
                continue
            found = excited[one.unit][column]
            sample = sample_at(found.index)
            x0, y0, x1, y1 = np.rint(found.box).astype(int)
            place.set_title(
                f"{plain(class_names[sample.class_id], 21)}\n{found.peak:.3g}", fontsize=7, parse_math=False
            )
            if x1 > x0 and y1 > y0:
                place.imshow(sample.image[y0:y1, x0:x1])
            else:
                place.text(0.5, 0.5, "does not fire", fontsize=7, ha="center", transform=place.transAxes)
        axes[row, 0].set_ylabel(f"unit {one.unit}\nweight {one.weight:+.3g}", fontsize=8, rotation=0, ha="right")
    figure.supxlabel("\n".join(below), fontsize=7, parse_math=False)
    save_figure(figure, path, dpi=150)
