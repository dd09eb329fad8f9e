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
_HANDLE = 0.43  # width in inches of a legend's column without its text

# Okabe and Ito's palette, with a grey in place of its yellow, which is too pale for a thin line on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9", "#7F7F7F")
# One line style for each colour, for readers who cannot distinguish the colours.
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
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # matplotlib contains the first; browsers use the others
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
    "svg.fonttype": "none",  # text stays text: it is searchable, and browsers have signs that the font lacks
    "svg.hashsalt": "wsol",  # the same drawing is the same file
    "pdf.fonttype": 42,  # TrueType; publishers refuse type 3
    "path.simplify": True,
}

DPI = 200


def in_style(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a function with the settings `STYLE` of matplotlib in place of the user's."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.style.context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return drawn


@contextmanager
def any_signs() -> Iterator[None]:
    """Draw signs that the font lacks as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def look_of(place: int) -> dict[str, Any]:
    """Return colour and line style of the setting with this index."""
    return {"color": COLORS[place], "linestyle": DASHES[place]}


def check_settings(names: Iterable[str], most: int | None = len(COLORS)) -> None:
    """Raise ValueError if there is no setting, or if there are more than a reader can distinguish."""
    count = len(list(names))
    if count == 0:
        raise ValueError("There is nothing to draw.")
    if most is not None and count > most:
        raise ValueError(f"One figure can show at most {most} settings, got {count}. Filter the runs.")


def short_names(names: Iterable[str], length: int = 28) -> list[str]:
    """Shorten names to one line of at most `length` characters, all different: the second of equal names gets (2)."""
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
    """Return the number of characters of a row's name that a figure of this width, in inches, has room for."""
    return int(6 * width)


def title_above(figure: Figure, lines: Sequence[str]) -> None:
    """Write a title above a figure, each line cut to the figure's width; no title if all lines are empty."""
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
    """Return the length of a line of text in inches."""
    with any_signs():
        font = FontProperties(family="DejaVu Sans", size=size)
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def legend_columns(texts: Sequence[str], width: float) -> int:
    """Return the number of a legend's columns that fit a figure of this width, in inches."""
    needed = max(map(inches_of, texts)) + _HANDLE
    return max(1, min(len(texts), int((width - 0.1) / needed)))


def legend_below(figure: Figure, entries: Sequence[tuple[Artist, str]]) -> None:
    """Add a legend below the axes, where it hides nothing, and make the figure higher by the legend's height."""
    width, height = figure.get_size_inches()
    texts = [text for _, text in entries]
    columns = legend_columns(texts, width)
    figure.set_size_inches(width, height + LEGEND_ROW * -(-len(texts) // columns))
    legend = figure.legend(
        [handle for handle, _ in entries],
        [" "] * len(entries),  # matplotlib leaves out names that start with an underscore, so the texts are set later
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
        figure: result of a `draw_...` function.
        stem: the path without a suffix; a dot in its name is part of the name.
        about: the command and the commit; written as the PNG's description and the PDF's subject.

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
    """Convert a figure to an SVG element, for a file of its own or inside a page.

    Text stays text: a browser without DejaVu Sans takes another font, and lines keep their anchors. All ids begin with
    a digest of the drawing, so that one page can contain several drawings: with equal ids, a browser would look for the
    patterns of one drawing in another, which may be hidden.
    """
    buffer = io.StringIO()
    with any_signs():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    own = "d" + hashlib.sha256(svg.encode()).hexdigest()[:10]
    # Replace inside tags alone, not in text; matplotlib writes the > of an attribute as an entity.
    tags = re.sub(r"<[^>]*>", lambda tag: re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", tag[0]), svg)
    return tags[tags.index("<svg") :].rstrip() + "\n"
