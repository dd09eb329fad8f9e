"""Read a user's CSV file of boxes, line by line."""

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from wsol.data.formats.box_format import FORMATS, BoxFormat
from wsol.geometry import Size

_BOX = ("x0", "y0", "x1", "y1")
_XYWH = ("x", "y", "w", "h")  # names that state the convention by themselves

Numbers = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxRow:
    """One line.

    Attributes:
        origin: file and line, for messages.
        image: as written.
        label: its class; "" where none is written.
        split: as written; "" where none is.
        numbers: the four numbers of the box, in the file's convention; None where all fields are empty.
        size: (height, width) of the image; None where it is not written.
    """

    origin: str
    image: str
    label: str
    split: str
    numbers: Numbers | None
    size: Size | None


@dataclass(frozen=True)
class BoxesTable:
    """A file.

    Attributes:
        path: the file.
        columns: their names.
        stated: the convention that the file states; None: it states none.
        rows: its lines.
    """

    path: Path
    columns: tuple[str, ...]
    stated: BoxFormat | None
    rows: list[BoxRow]

    def box_format(self, option: BoxFormat | None, option_name: str = "box_format") -> BoxFormat:
        """Return the convention of the boxes: that of the file, of the option, else edges.

        Raises:
            ValueError: if file and option contradict each other, or the option is unknown.
        """
        if option is not None and option not in FORMATS:
            raise ValueError(f"{option_name} must be one of {', '.join(FORMATS)}, got {option!r}.")
        if option and self.stated and option != self.stated:
            raise ValueError(
                f"{self.path} states that its boxes are {self.stated}, but {option_name} is {option}; leave out one."
            )
        return option or self.stated or "edges"


@dataclass
class ImageRows:
    """All lines of one image.

    Attributes:
        origin: its first line.
        label: of the image.
        split: of the image.
        size: of the image.
        numbers: its boxes, in the file's convention.
        origins: their lines.
    """

    origin: str
    label: str
    split: str
    size: Size | None
    numbers: list[Numbers] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)


def read_boxes_table(path: Path) -> BoxesTable:
    """Read a line for each box: `image,label,x0,y0,x1,y1`, with optional `split`, `width` and `height`.

    The first line names the columns, in any order; `label`, `split`, and `width` with `height` (of the image, in
    pixels) may be absent, and columns of other names are passed over. A line above it may state the convention of the
    boxes, `# boxes: edges`, `inclusive`, `xywh` or `normalized`; columns named `x,y,w,h` state `xywh`. An image without
    boxes has one line whose four box fields are empty.

    Args:
        path: UTF-8, any line endings, with or without a byte order mark; fields that contain commas are in quotes.

    Raises:
        FileNotFoundError: if there is no such file.
        PermissionError: if it may not be read.
        ValueError: naming file and line of what is malformed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No CSV file at {path}.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(file)  # not str.splitlines, which also cuts at characters that names may contain
    except PermissionError:
        raise PermissionError(f"{path} may not be read; change its permissions.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as CSV UTF-8.") from None
    stated, above = None, 0
    # A spreadsheet that saved the file fills the line with commas, and may quote it.
    while above < len(lines) and (text := lines[above].strip(" \t\r\n\"',;")).startswith("#"):
        stated = _stated(text, f"{path}, line {above + 1}") or stated
        above += 1
    reader = csv.reader(lines[above:], skipinitialspace=True)
    rows = []
    try:
        columns = tuple(name.strip().lower() for name in next(reader, []))
        box_columns, stated = _box_columns(path, columns, stated, lines[above] if above < len(lines) else "")
        for fields in reader:
            if not any(text_field.strip() for text_field in fields):
                continue
            origin = f"{path}, line {above + reader.line_num}"
            if len(fields) != len(columns):
                raise ValueError(
                    f"{origin}: expected {len(columns)} fields as in the first line, got {len(fields)}; correct the "
                    f"line (a field that contains a comma needs quotes)."
                )
            rows.append(
                _row(
                    origin, dict(zip(columns, (text_field.strip() for text_field in fields), strict=True)), box_columns
                )
            )
    except csv.Error as error:
        raise ValueError(f"{path}, line {above + reader.line_num}: is not CSV ({error}); correct the line.") from None
    return BoxesTable(path, columns, stated, rows)


def by_image(rows: Iterable[BoxRow]) -> dict[str, ImageRows]:
    """Group lines by image; images and boxes keep the order of the file.

    Raises:
        ValueError: naming the line, if an image's lines give two labels, splits or sizes.
    """
    images: dict[str, ImageRows] = {}
    for row in rows:
        image = images.setdefault(row.image, ImageRows(row.origin, row.label, row.split, row.size))
        for what, before, now in (("label", image.label, row.label), ("split", image.split, row.split)):
            if before != now:
                raise ValueError(
                    f"{row.origin}: image {row.image!r} had the {what} {before!r} before; it can have one only."
                )
        if image.size != row.size:
            raise ValueError(f"{row.origin}: width and height must be one and the same for all lines of an image.")
        if row.numbers is not None:
            image.numbers.append(row.numbers)
            image.origins.append(row.origin)
    return images


def _stated(comment: str, origin: str) -> BoxFormat | None:
    match = re.fullmatch(r"#\s*boxes\s*:\s*(.*)", comment, re.IGNORECASE)
    if match is None:
        return None
    if match[1].lower() not in FORMATS:
        raise ValueError(f"{origin}: boxes can be {', '.join(FORMATS)}, got {match[1]!r}; correct the line.")
    return cast(BoxFormat, match[1].lower())


def _box_columns(
    path: Path, columns: tuple[str, ...], stated: BoxFormat | None, header: str
) -> tuple[tuple[str, ...], BoxFormat | None]:
    """Return the columns of the box, and the convention that the first lines state."""
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: the first line names the column {twice[0]!r} twice.")
    named = _BOX
    if set(_XYWH) <= set(columns) and not set(_BOX) & set(columns):
        if stated not in (None, "xywh"):
            raise ValueError(f"{path}: columns x, y, w, h are xywh, but the line above them is '# boxes: {stated}'.")
        named, stated = _XYWH, "xywh"
    missing = [name for name in ("image", *named) if name not in columns]
    if missing:
        other = next((name for sign, name in ((";", "semicolons"), ("\t", "tabs")) if sign in header), None)
        hint = f" Its fields are separated by {other}; save it with commas." if other and "," not in header else ""
        raise ValueError(
            f"{path}: the first line must name the columns image, {', '.join(named)}; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing (width and height are of the image, not of the box).{hint}"
        )
    if ("width" in columns) != ("height" in columns):
        raise ValueError(f"{path}: the first line names one of width and height; name both, or none.")
    return named, stated


def _row(origin: str, row: dict[str, str], box_columns: tuple[str, ...]) -> BoxRow:
    if not row["image"]:
        raise ValueError(f"{origin}: names no image; correct the line.")
    numbers = _numbers(origin, row, box_columns)
    size = None
    wh = _numbers(origin, row, ("width", "height")) if "width" in row else None
    if wh is not None:
        width, height = wh
        if width < 1 or height < 1 or width != int(width) or height != int(height):
            raise ValueError(f"{origin}: width and height must be whole numbers of at least 1, got {width}, {height}.")
        size = (int(height), int(width))
    box = None if numbers is None else cast(Numbers, tuple(numbers))
    return BoxRow(origin, row["image"], row.get("label", ""), row.get("split", ""), box, size)


def _numbers(origin: str, row: dict[str, str], columns: tuple[str, ...]) -> list[float] | None:
    """Return finite numbers; None where all of the fields are empty."""
    texts = [row[name] for name in columns]
    if not any(texts):
        return None
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{origin}: expected numbers in {', '.join(columns)}, got {texts}; correct the line.")
    return values
