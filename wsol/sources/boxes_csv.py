"""Annotations in a CSV file of one's own."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsol.decode import read_size
from wsol.geometry import Size, as_boxes, from_inclusive
from wsol.truth import Truth

_COLUMNS = ("image", "x0", "y0", "x1", "y1")


def read_csv(path: Path, split: str | None, images: Path | None = None, inclusive: bool = False) -> Truth:
    """A line for each box: `image,x0,y0,x1,y1[,label][,width,height][,split]`, named in the first line.

    Args:
        path: UTF-8, any line endings; boxes in pixels of the original image, several lines for several boxes.
        split: the lines to read, where there is a column `split`.
        images: a folder that image sizes are read from, where there are no columns `width` and `height`.
        inclusive: the pixel (x1, y1) lies inside its box; otherwise x1 and y1 are edges.

    Returns:
        Labels that are all whole numbers are class ids; other labels are numbered in alphabetical order.

    Raises:
        FileNotFoundError: if the file is missing, or an image whose size is needed.
        ValueError: naming file and line of what is malformed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No CSV file at {path}.")
    boxes: dict[str, list[list[float]]] = {}
    labels: dict[str, str] = {}
    sizes: dict[str, Size] = {}
    for origin, row in _rows(path):
        if split is not None and row.get("split", split) != split:
            continue
        image = row["image"]
        box = _numbers(origin, row, _COLUMNS[1:])
        widest = 1 if inclusive else 0
        if box[2] + widest <= box[0] or box[3] + widest <= box[1]:
            raise ValueError(f"{origin}: the box {box} (x0, y0, x1, y1) is empty; correct the line.")
        boxes.setdefault(image, []).append(box)
        if labels.setdefault(image, row.get("label") or "") != (row.get("label") or ""):
            raise ValueError(f"{origin}: image {image!r} had the label {labels[image]!r} before; it can have one only.")
        if "width" in row and "height" in row:
            width, height = _numbers(origin, row, ("width", "height"))
            if width < 1 or height < 1 or sizes.setdefault(image, (int(height), int(width))) != (height, width):
                raise ValueError(f"{origin}: width and height must be at least 1, and one and the same for an image.")
        elif images is None:
            raise ValueError(f"{path} has no columns width and height; add them, or give --images FOLDER to read them.")
        elif image not in sizes:
            sizes[image] = read_size(images / image)
    if not boxes:
        raise ValueError(f"{path} holds no box" + (f" of the split {split!r}." if split else "."))
    names = sorted(set(labels.values()))
    known = all(names)
    numbered = known and all(name.isdecimal() for name in names)
    class_of = {name: int(name) if numbered else (index if known else -1) for index, name in enumerate(names)}
    convert = from_inclusive if inclusive else as_boxes
    return Truth(
        image_ids=np.array(list(boxes)),
        class_ids=np.array([class_of[labels[image]] for image in boxes], np.int64),
        boxes=[convert(one) for one in boxes.values()],
        sizes=np.array([sizes[image] for image in boxes], np.int64),
        class_names=tuple(names) if known and not numbered else (),
    )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        header = [name.strip().lower() for name in reader.fieldnames or []]
        missing = [name for name in _COLUMNS if name not in header]
        if missing:
            raise ValueError(
                f"{path}: the first line must name the columns {', '.join(_COLUMNS)}; {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing."
            )
        reader.fieldnames = header
        for row in reader:
            origin = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{origin}: expected {len(header)} fields as in the first line; correct the line.")
            yield origin, {name: text.strip() for name, text in row.items()}


def _numbers(origin: str, row: dict[str, str], columns: tuple[str, ...]) -> list[float]:
    try:
        values = [float(row[name]) for name in columns]
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{origin}: expected numbers in {', '.join(columns)}, got {[row[name] for name in columns]}.")
    return values
