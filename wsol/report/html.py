"""Write a report's page as one HTML file, which needs no network and no second file."""

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wsol.atomic_files import write_text
from wsol.report.content import Answer, Cell, Column, Gallery, Page, Shown, Table

K = TypeVar("K")

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("report.js", "gallery.js")
# Verdict -> sign.
VERDICTS = {"supported": "✓", "reversed": "⇄", "equivalent": "=", "inconclusive": "~", "not testable": "–"}
SIZES = ("small", "medium", "large")  # in the order to show
ENLARGED = 1.35  # a drawing's letters have 7 points, as papers require, which is too small on a screen
PIXELS = {"pt": 96 / 72, "px": 1.0, "in": 96.0, "": 1.0}  # CSS pixels of a length's unit


def write_page(page: Page, path: Path) -> None:
    """Write the page, whole or not at all.

    Names in the page may be any text from outside. The file loads nothing: styles, scripts and pictures are inside, and
    its content security policy forbids everything else, so that a name that was taken for markup would not run.

    Args:
        page: the content.
        path: an .html file.

    Raises:
        ValueError: if a row does not have one cell for each column, or an image one view for each setting; if an order
            names an image twice or an unknown one; if a picture is no data URI; if a box or an aspect is no number; if
            a verdict is none of `VERDICTS`; or if two sections or two runs have one name, so that links would be
            ambiguous.
    """
    _check(page)
    sections = _anchors("section", [section.anchor for section in page.sections])
    runs = _anchors("run", [run.name for run in page.runs])
    cells = [cell for section in page.sections for table in section.tables for row in table.rows for cell in row]
    style = _source("report.css")
    scripts = [_source(name) for name in SCRIPTS]
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            policy=_policy(style, scripts),
            style=style,
            scripts=scripts,
            claims=_by_claim(page.answers),
            tally=_tally(page.answers),
            section_anchors=sections,
            run_anchors=runs,
            run_lists=_numbered("runs", (tuple(cell.runs) for cell in cells if len(cell.runs) > 1)),
            commands=_numbered("command", (cell.command for cell in cells if is_missing(cell))),
        )
    )
    # A file name that is not UTF-8 is decoded with lone surrogates, which cannot be written as UTF-8.
    write_text(path, html.encode("utf-8", "backslashreplace").decode("utf-8"))


def island(data: object) -> Markup:
    """Return JSON for a script element: nothing in it ends the element or opens a comment, whatever the names are.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON cannot represent.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def is_missing(cell: Cell) -> bool:
    """Return whether a cell has no number but a command that makes it."""
    return cell.value is None and bool(cell.command)


def missing_text(cell: Cell) -> str:
    """Return the text of a missing cell, with the word `missing` added if the cell's text lacks it."""
    if "missing" in cell.text.lower():
        return cell.text
    return f"{cell.text} missing" if any(character.isalnum() for character in cell.text) else "missing"


def sort_value(cell: Cell) -> str | None:
    """Return the sort key of a cell as JavaScript reads it; None for a missing cell, which is always last."""
    if isinstance(cell.value, str) or cell.value is None:
        return cell.value
    if math.isinf(cell.value):
        return "Infinity" if cell.value > 0 else "-Infinity"
    return None if math.isnan(cell.value) else repr(float(cell.value))


def numeric_columns(table: Table) -> list[bool]:
    """Return for each column whether it contains numbers, and nothing else but missing cells."""
    known = [[row[place].value for row in table.rows] for place in range(len(table.columns))]
    known = [[value for value in column if value is not None] for column in known]
    return [bool(column) and not any(isinstance(value, str) for value in column) for column in known]


def column_groups(columns: Sequence[Column]) -> list[tuple[str, int, int]]:
    """Join neighbouring columns of one group: (group, index of the first, count). A column without a group is alone."""
    groups: list[tuple[str, int, int]] = []
    for place, column in enumerate(columns):
        if groups and column.group and groups[-1][0] == column.group:
            group, first, count = groups[-1]
            groups[-1] = (group, first, count + 1)
        else:
            groups.append((column.group, place, 1))
    return groups


def is_oracle(column: Column) -> bool:
    """Return whether a column's numbers use annotations that a method does not have, so that the page marks them."""
    return "oracle" in column.group.lower()


def has_runs(table: Table) -> bool:
    """Return whether any cell names the runs that it was read from."""
    return any(cell.runs for row in table.rows for cell in row)


def is_command(text: str) -> bool:
    """Return whether a text is a command line."""
    return text.startswith(("python ", "python3 ", "make "))


def p_value(text: str) -> str:
    """Format a p-value: `p = 0.03` for "0.03", `p < 0.001` for "< 0.001"."""
    return text if text.startswith("p") else f"p {text}" if text[:1] in "<>=≤≥" else f"p = {text}"


def svg_uri(svg: str) -> str:
    """Return an SVG as the address of an image: a browser runs and loads nothing inside an image."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8", "backslashreplace")).decode("ascii")


def drawing_width(svg: str) -> int | None:
    """Return the width in CSS pixels to show a drawing at; None if the drawing states no size."""
    root = re.search(r"<svg\b[^>]*>", svg)
    width = root and re.search(r'\swidth="([0-9.]+)(pt|px|in|)"', root[0])
    return round(float(width[1]) * PIXELS[width[2]] * ENLARGED) if width else None


def gallery_choices(gallery: Gallery) -> dict[str, list[tuple[str, int]]]:
    """List the gallery's orders and filters: order, class, size and error -> (name, number of images)."""
    classes = Counter(image.class_name for image in gallery.images)
    sizes = Counter(image.size for image in gallery.images)
    errors = Counter(error for image in gallery.images for error in {view.error for view in image.views})
    known = [size for size in SIZES if size in sizes]
    return {
        "order": [(name, len(order)) for name, order in _orders(gallery).items()],
        "class": sorted(classes.items()),
        "size": [(size, sizes[size]) for size in [*known, *sorted(set(sizes) - set(known))]],
        "error": sorted(errors.items(), key=lambda item: (-item[1], item[0])),  # the commonest first
    }


def gallery_data(gallery: Gallery) -> dict[str, object]:
    """Return the data for gallery.js: lists of names, and each image with indices into these lists."""
    names = {kind: [name for name, _ in choices] for kind, choices in gallery_choices(gallery).items()}
    place = {kind: {name: index for index, name in enumerate(listed)} for kind, listed in names.items()}
    return {
        "settings": list(gallery.settings),
        "classes": names["class"],
        "sizes": names["size"],
        "errors": names["error"],
        "orders": [[int(index) for index in order] for order in _orders(gallery).values()],
        "images": [
            {
                "id": image.image_id,
                "class": place["class"][image.class_name],
                "size": place["size"][image.size],
                "aspect": float(image.aspect),
                "boxes": [[float(edge) for edge in box] for box in image.true_boxes],
                "photo": image.photo,
                "views": [
                    {
                        "box": None if view.box is None else [float(edge) for edge in view.box],
                        "iou": f"{view.iou:.2f}" if math.isfinite(view.iou) else "–",
                        "top1": None if view.top1 is None else bool(view.top1),
                        "error": place["error"][view.error],
                        "map": view.score_map,
                    }
                    for view in image.views
                ],
            }
            for image in gallery.images
        ],
    }


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        signs=VERDICTS,
        as_tuple=tuple,
        is_missing=is_missing,
        missing_text=missing_text,
        sort_value=sort_value,
        numeric_columns=numeric_columns,
        column_groups=column_groups,
        has_runs=has_runs,
        is_oracle=is_oracle,
        is_command=is_command,
        p_value=p_value,
        svg_uri=svg_uri,
        drawing_width=drawing_width,
        gallery_data=gallery_data,
        gallery_choices=gallery_choices,
        island=island,
    )
    return environment


def _orders(gallery: Gallery) -> dict[str, Sequence[int]]:
    return dict(gallery.orders) or {"as stored": range(len(gallery.images))}


def _source(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _policy(style: str, scripts: Iterable[str]) -> str:
    """Return a content security policy that allows the page's own style and scripts by hash, and data URIs."""
    hashes = " ".join(_hash(script) for script in scripts)
    own = f"style-src {_hash(style)}; script-src {hashes}; img-src data:"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _anchors(prefix: str, names: Sequence[str]) -> dict[str, str]:
    """Return the id of each name's element: letters, digits and hyphens, no two alike.

    A name that is a valid anchor stays unchanged, so that links from outside last when the page is made again.
    """
    anchors: dict[str, str] = {}
    taken = set()
    for name in names:
        if name in anchors:
            raise ValueError(f"Two {prefix}s are called {name!r}; a link could mean either. Rename one of them.")
        slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "unnamed"
        anchor, number = f"{prefix}-{slug}", 1
        while anchor in taken:
            number += 1
            anchor = f"{prefix}-{slug}-{number}"
        taken.add(anchor)
        anchors[name] = anchor
    return anchors


def _numbered(prefix: str, keys: Iterable[K]) -> dict[K, str]:
    return {key: f"{prefix}-{number}" for number, key in enumerate(dict.fromkeys(keys), start=1)}


def _by_claim(answers: Iterable[Answer]) -> list[list[Answer]]:
    claims: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        claims.setdefault((answer.claim, answer.source), []).append(answer)
    return list(claims.values())


def _tally(answers: Sequence[Answer]) -> list[tuple[str, str, int]]:
    """Count answers by badge: (verdict, badge, how many), in the order of `VERDICTS`, those of few seeds last."""
    counts = Counter((answer.verdict, answer.badge) for answer in answers)
    ordered = sorted(counts, key=lambda key: (list(VERDICTS).index(key[0]), len(key[1])))
    return [(verdict, badge, counts[verdict, badge]) for verdict, badge in ordered]


def _check(page: Page) -> None:
    for answer in page.answers:
        if answer.verdict not in VERDICTS:
            raise ValueError(f"A verdict must be one of {list(VERDICTS)}, got {answer.verdict!r}.")
    for section in page.sections:
        for table in section.tables:
            for row in table.rows:
                if len(row) != len(table.columns):
                    raise ValueError(f"{table.title!r} has {len(table.columns)} columns, got a row of {len(row)}.")
        if section.gallery:
            _check_gallery(section.gallery)


def _check_gallery(gallery: Gallery) -> None:
    count = len(gallery.images)
    for name, order in gallery.orders.items():
        if len(set(order)) != len(order) or not all(0 <= index < count for index in order):
            raise ValueError(f"The order {name!r} must name each of {count} images at most once, and no others.")
    for image in gallery.images:
        if len(image.views) != len(gallery.settings):
            raise ValueError(
                f"{image.image_id!r} needs a view for each of {len(gallery.settings)} settings, got {len(image.views)}."
            )
        if not (math.isfinite(image.aspect) and image.aspect > 0):
            raise ValueError(f"{image.image_id!r} has the aspect {image.aspect}; expected width / height, above 0.")
        if not all(math.isfinite(edge) for edge in _edges(image)):
            raise ValueError(f"{image.image_id!r} has a box with NaN or infinity; expected finite edges.")
        for picture in (image.photo, *(view.score_map for view in image.views)):
            if picture and not picture.startswith("data:image/"):
                raise ValueError(f"{image.image_id!r} has a picture that is no data URI: {picture[:40]!r}.")


def _edges(image: Shown) -> Iterator[float]:
    for box in (*image.true_boxes, *(view.box for view in image.views if view.box is not None)):
        yield from box
