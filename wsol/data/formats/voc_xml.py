"""Parse one annotation in the XML of Pascal VOC, which ImageNet and ILSVRC use too."""

import math
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from wsol.geometry import Size

_OBJECT = re.compile(r"<object[\s>]")


@dataclass(frozen=True)
class VocObject:
    """One `<object>`.

    Attributes:
        name: of its class: a word in VOC, a wnid in ImageNet.
        box: (xmin, ymin, xmax, ymax) as written; the reader of the data set decides which pixel
            is the first, and whether the last one counts.
        difficult: what VOC leaves out of its scores.
        line: its first line in the text, counted from 1; None if comments hide it.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool = False
    line: int | None = None


@dataclass(frozen=True)
class VocImage:
    """Contents of one file.

    Attributes:
        filename: as written, with or without a suffix; "" where it is not.
        size: (height, width); None where it is not written, or written as 0.
        objects: in the order of the text; there may be none.
    """

    filename: str
    size: Size | None
    objects: tuple[VocObject, ...]


def parse_voc(text: bytes, origin: str) -> VocImage:
    """Parse the text of one annotation file.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, and its development kit.

    Args:
        text: UTF-8, any line endings. A document type is refused: annotations have none, and its entities could make a
            small file fill the memory.
        origin: the file, for messages.

    Raises:
        ValueError: naming origin, line and element of what is not XML, missing, no number, or a box whose second
            corner lies before its first.
    """
    root, starts = _root(text, origin)
    elements = root.findall("object")
    lines: list[int] | list[None] = starts if len(starts) == len(elements) else [None] * len(elements)
    size = root.find("size")
    return VocImage(
        (root.findtext("filename") or "").strip(),
        None if size is None else _size(size, origin),
        tuple(_object(element, line, origin) for element, line in zip(elements, lines, strict=True)),
    )


def _root(text: bytes, origin: str) -> tuple[ElementTree.Element, list[int]]:
    """Return the element `annotation`, and the lines on which objects start."""
    try:
        written = text.decode("utf-8-sig")  # and parsed as a str, so that no declaration can choose an encoding
    except UnicodeDecodeError:
        raise _error(origin, "is not UTF-8 text.") from None
    if not written.strip():
        raise _error(origin, "is empty.")
    if "<!DOCTYPE" in written or "<!ENTITY" in written:
        raise ValueError(f"{origin}: has a document type or entities, as no annotation does; download the file again.")
    try:
        root = ElementTree.fromstring(written)  # without a document type, nothing can expand
    except ElementTree.ParseError as error:
        raise _error(f"{origin}, line {error.position[0]}", f"is not XML ({error}).") from None
    if root.tag != "annotation":
        raise _error(origin, f"expected the element <annotation>, got <{root.tag}>.")
    starts, line, after = [], 1, 0
    for match in _OBJECT.finditer(written):
        line += written.count("\n", after, match.start())
        after = match.start()
        starts.append(line)
    return root, starts


def _size(element: ElementTree.Element, origin: str) -> Size | None:
    width, height = (_number(element, name, f"{origin}, <size>") for name in ("width", "height"))
    if width != int(width) or height != int(height) or width < 0 or height < 0:
        raise _error(origin, f"<size> expected whole numbers of pixels, got {width:g} x {height:g}.")
    return (int(height), int(width)) if width and height else None


def _object(element: ElementTree.Element, line: int | None, origin: str) -> VocObject:
    where = f"{origin}, line {line}, <object>" if line else f"{origin}, <object>"
    name = (element.findtext("name") or "").strip()
    if not name:
        raise _error(where, "has no <name>.")
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        raise _error(where, f"expected one <bndbox>, got {len(boxes)}.")
    x0, y0, x1, y1 = (_number(boxes[0], name_of_edge, where) for name_of_edge in ("xmin", "ymin", "xmax", "ymax"))
    if x1 < x0 or y1 < y0:
        raise _error(where, f"expected xmin <= xmax and ymin <= ymax, got {x0:g}, {y0:g}, {x1:g}, {y1:g}.")
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise _error(where, f"<difficult> expected 0 or 1, got {difficult!r}.")
    return VocObject(name, (x0, y0, x1, y1), difficult == "1", line)


def _number(element: ElementTree.Element, name: str, where: str) -> float:
    text = element.findtext(name)
    if text is None:
        raise _error(where, f"<{name}> is missing.")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _error(where, f"<{name}> expected a number, got {text.strip()!r}.")
    return value


def _error(where: str, message: str) -> ValueError:
    return ValueError(f"{where}: {message} Correct the file, or unpack its archive again.")
