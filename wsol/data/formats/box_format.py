"""Convert a user's boxes from their convention to edges, and detect signs of another convention."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.geometry import Size, as_boxes, from_inclusive, from_xywh

BoxFormat = Literal["edges", "inclusive", "xywh", "normalized"]
FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)
MEANING = {
    "edges": "x0, y0, x1, y1 in pixels, x1 and y1 outside",
    "inclusive": "x0, y0, x1, y1 in pixels, the pixel (x1, y1) inside",
    "xywh": "x0, y0, width, height in pixels",
    "normalized": "x0, y0, x1, y1 as fractions of the image",
}

# Fractions reach a little out of their image; numbers of more than this were never normalized.
FARTHEST = 1.5
# From this share of crossed boxes on it is the convention that is wrong, and not a line.
_MANY = 0.05
_SCALE = "multiply x by the width, and y by the height of the image"


def to_edges(numbers: ArrayLike, box_format: BoxFormat, size: Size | None = None) -> NDArray[np.float32]:
    """Convert the boxes of one image to edges in pixels.

    Args:
        numbers: (B, 4) as written.
        box_format: their convention.
        size: (height, width) of the image; `normalized` needs it.

    Returns:
        (B, 4) float32 edges.

    Raises:
        ValueError: for an unknown convention, or a size that is missing.
    """
    if box_format == "edges":
        return as_boxes(numbers)
    if box_format == "inclusive":
        return from_inclusive(numbers)
    if box_format == "xywh":
        return from_xywh(numbers) if len(as_boxes(numbers)) else as_boxes([])
    if box_format != "normalized":
        raise ValueError(f"box_format must be one of {', '.join(FORMATS)}, got {box_format!r}.")
    if size is None:
        raise ValueError("Normalized boxes need the size of their image.")
    height, width = size
    return as_boxes(np.asarray(numbers, np.float64) * [width, height, width, height] if np.size(numbers) else [])


def check_numbers(
    numbers: NDArray[np.float64], origins: Sequence[str], box_format: BoxFormat, statement: Callable[[str], str]
) -> None:
    """Raise ValueError unless all boxes of a file fit the convention that they are read in.

    Args:
        numbers: (M, 4) as written, of the whole file.
        origins: M places in the file.
        box_format: what they are read as.
        statement: convention -> how a user states it.

    Raises:
        ValueError: naming the first line that is wrong, how many are, and the convention that they may follow.
    """
    if not len(numbers):
        return
    widest = 1 if box_format == "inclusive" else 0
    extent = numbers[:, 2:] + widest - (0 if box_format == "xywh" else numbers[:, :2])
    (empty,) = np.nonzero((extent <= 0).any(axis=1))
    (crossed,) = np.nonzero((numbers[:, 2:] < numbers[:, :2]).any(axis=1))
    if box_format in ("edges", "inclusive") and len(crossed) > max(1, _MANY * len(numbers)):
        raise ValueError(
            f"{origins[crossed[0]]}: x1 < x0 or y1 < y0 in {_of(crossed, numbers)}, first in "
            f"{_text(numbers[crossed[0]])}; if they are x0, y0, width, height, {statement('xywh')}."
        )
    if len(empty):
        first = int(empty[0])
        says = "x0, y0, width, height" if box_format == "xywh" else "x0, y0, x1, y1"
        hint = "" if box_format != "edges" else f", or, if pixel (x1, y1) is inside, {statement('inclusive')}"
        raise ValueError(
            f"{origins[first]}: the box {_text(numbers[first])} ({says}) is empty, as {_of(empty, numbers)}; "
            f"correct the line{hint}."
        )
    (wrong,) = np.nonzero(np.abs(numbers).max(axis=1) > FARTHEST)
    if box_format == "normalized" and len(wrong):
        raise ValueError(
            f"{origins[wrong[0]]}: the box {_text(numbers[wrong[0]])} is read as normalized but reaches far out of "
            f"[0, 1], as {_of(wrong, numbers)}; correct the line, or, if they are pixels, {statement('edges')}."
        )


def look_normalized(boxes: ArrayLike) -> bool:
    """Return whether there are boxes and no coordinate is above 1 in absolute value."""
    array = as_boxes(boxes)
    return len(array) > 0 and bool(np.abs(array).max() <= 1)


def refuse_fractions(boxes: ArrayLike, where: str, remedy: str = _SCALE) -> None:
    """Raise ValueError if boxes that should be in pixels look normalized.

    Args:
        boxes: (M, 4) as written, of the whole file.
        where: the file, and the line if known, for the message.
        remedy: what to do if the boxes are fractions.
    """
    if look_normalized(boxes):
        raise ValueError(
            f"{where}: all coordinates of all {len(as_boxes(boxes))} boxes lie in [0, 1], but are read as pixels; if "
            f"they are fractions of the images, {remedy}."
        )


def _of(places: NDArray[np.int64], numbers: NDArray[np.float64]) -> str:
    return f"{len(places)} of {len(numbers)} boxes"


def _text(box: ArrayLike) -> str:
    return f"({', '.join(f'{value:g}' for value in np.asarray(box))})"
