"""Draw and write figures in one style."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter

from wsol.atomic_files import whole_file
from wsol.report.pictures.panels import plain

P = ParamSpec("P")
T = TypeVar("T")

COLUMN, PAGE = 3.4, 7.0  # inches: widths of one and of two columns of a paper
FONT = 7.0  # points, nothing is smaller
LEGEND_ROW = 0.15  # inches
_HANDLE = 0.43  # inches that a column of a legend takes beside its text

# Okabe and Ito's palette, with a grey in place of its yellow, which is too pale for a thin line on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9", "#7F7F7F")
# One for each colour, for those who do not see colours.
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (2.5, 1)),
    (0, (5, 1.5, 1, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (1, 2.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

STYLE: dict[str, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # matplotlib brings the first; the others are for browsers
    "font.size": FONT,
    "axes.labelsize": FONT,
    "axes.titlesize": FONT + 1,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": FONT,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "axes.unicode_minus": True,
    "svg.fonttype": "none",  # text stays text: it can be searched, and browsers have signs that the font lacks
    "svg.hashsalt": "wsol",  # the same drawing is the same file
    "pdf.fonttype": 42,  # TrueType; publishers refuse type 3
    "path.simplify": True,
}

DPI = 200


def in_style(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a function with these settings of matplotlib and no others, whatever the user's are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.style.context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return drawn


@contextmanager
def any_signs() -> Iterator[None]:
    """A sign that the font lacks becomes a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def look_of(place: int) -> dict[str, Any]:
    """Colour and dashes of the setting at this place."""
    return {"color": COLORS[place], "linestyle": DASHES[place]}


def check_settings(names: Iterable[str], most: int | None = len(COLORS)) -> None:
    """Raise ValueError if there is no setting, or more than can be told apart."""
    count = len(list(names))
    if count == 0:
        raise ValueError("There is nothing to draw.")
    if most is not None and count > most:
        raise ValueError(f"At most {most} settings can be told apart in one figure, got {count}.")


def short_names(names: Iterable[str], length: int = 28) -> list[str]:
    """One line for each name, at most so long, and all different: of equal ones the second gets (2), and so on."""
    shown: list[str] = []
    for name in names:
        text, number = plain(name, length) or "(no name)", 1
        while text in shown:
            number += 1
            suffix = f" ({number})"
            text = plain(name, length - len(suffix)) + suffix
        shown.append(text)
    return shown


def percent_axis(axis: Axis) -> None:
    """Print fractions as percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def name_length(width: float) -> int:
    """How many characters of a row's name a figure of so many inches has room for."""
    return int(6 * width)


def title_above(figure: Figure, lines: Sequence[str]) -> None:
    """A title over the whole width, each line cut to it; none where all lines are empty."""
    size, room = FONT + 1, figure.get_size_inches()[0] - 0.1
    shown = []
    for line in filter(None, lines):
        length = len(line)
        while inches_of(plain(line, length), size) > room:
            length -= 1
        shown.append(plain(line, length))
    if shown:
        figure.suptitle("\n".join(shown), x=0.01, ha="left", fontsize=size)


def inches_of(text: str, size: float = FONT) -> float:
    """How long a line of text is."""
    with any_signs():
        font = FontProperties(family="DejaVu Sans", size=size)
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def legend_columns(texts: Sequence[str], width: float) -> int:
    """How many columns of a legend fit a figure of so many inches."""
    needed = max(map(inches_of, texts)) + _HANDLE
    return max(1, min(len(texts), int((width - 0.1) / needed)))


def legend_below(figure: Figure, entries: Sequence[tuple[Artist, str]]) -> None:
    """A legend under the axes, where it hides nothing; makes the figure higher by what it needs."""
    width, height = figure.get_size_inches()
    texts = [text for _, text in entries]
    columns = legend_columns(texts, width)
    figure.set_size_inches(width, height + LEGEND_ROW * -(-len(texts) // columns))
    legend = figure.legend(
        [handle for handle, _ in entries],
        [" "] * len(entries),  # matplotlib leaves out names that start with an underscore, so they come later
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.2,
        handlelength=2.6,
        handletextpad=0.5,
        borderaxespad=0.2,
    )
    for line, text in zip(legend.get_texts(), texts, strict=True):
        line.set_text(text)


@in_style
def save_drawing(figure: Figure, stem: Path, about: str) -> dict[str, Path]:
    """Write a figure as PNG for screens and as PDF for papers, each whole or not at all.

    Args:
        figure: of a `draw_...` function.
        stem: the path without a suffix; a dot in its name is part of the name.
        about: the command and the commit that made it; kept as the PNG's description and the PDF's subject.

    Returns:
        "png" and "pdf" with their paths.
    """
    paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "pdf")}
    with any_signs():
        with whole_file(paths["png"]) as aside:
            figure.savefig(aside, dpi=DPI, metadata={"Description": about, "Software": None})
        with whole_file(paths["pdf"]) as aside:
            undated = {"Subject": about, "CreationDate": None, "Creator": None, "Producer": None}
            figure.savefig(aside, metadata=undated)
    return paths


@in_style
def svg_of(figure: Figure) -> str:
    """A figure as an SVG element, for a page of its own or inside one.

    Text stays text: a browser without DejaVu Sans takes another font, and lines keep their anchors. All ids begin with
    a digest of the drawing, so that several fit into one page, where a hidden one's patterns would not be drawn.
    """
    buffer = io.StringIO()
    with any_signs():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    own = "d" + hashlib.sha256(svg.encode()).hexdigest()[:10]
    # Inside tags alone, not in text; matplotlib writes the > of an attribute as an entity.
    tags = re.sub(r"<[^>]*>", lambda tag: re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", tag[0]), svg)
    return tags[tags.index("<svg") :].rstrip() + "\n"
