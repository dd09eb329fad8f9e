"""Figures as files and as SVG text: the same drawing is always the same bytes."""

import hashlib
import io
import re
from pathlib import Path

from matplotlib.figure import Figure

from wsol.figure_style import any_signs, in_style
from wsol.whole_files import whole_file

DPI = 200


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
