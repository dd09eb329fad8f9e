"""Read boxes in the JSON of COCO, which most annotation tools write."""

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsol.geometry import Size

log = logging.getLogger(__name__)

Xywh = tuple[float, float, float, float]


@dataclass
class CocoImage:
    """One image.

    Attributes:
        file_name: as written.
        origin: file and image id, for messages.
        size: (height, width); None where it is not written.
        labels: for each box the name of its category.
        boxes: (x0, y0, width, height) in pixels, x0 and y0 from the image's left and top edge.
        box_origins: for each box the file and its annotation id.
    """

    file_name: str
    origin: str
    size: Size | None
    labels: list[str] = field(default_factory=list)
    boxes: list[Xywh] = field(default_factory=list)
    box_origins: list[str] = field(default_factory=list)


def read_coco(path: Path) -> list[CocoImage]:
    """Read the images of a file with their boxes; polygons and masks are ignored.

    Annotations of crowds (iscrowd=1), whose box contains many objects, are left out, and so are boxes without area, of
    which COCO itself has some; the log reports their numbers.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; its format "object detection".

    Raises:
        FileNotFoundError: if there is no such file.
        PermissionError: if it may not be read.
        ValueError: naming the file, and the id of what is malformed, given twice, or refers to nothing.
    """
    document = _load(path)
    names: dict[Any, str] = {}
    for place, record in _records(document, "categories", path):
        where = f"{path}, category {record.get('id', f'number {place}')!r}"
        name = record.get("name")
        if not isinstance(name, str) or not name:
            raise _error(where, "has no name.")
        if name in names.values():
            raise _error(where, f"has the name {name!r} of another category.")
        _add(names, record, name, where)
    images: dict[Any, CocoImage] = {}
    files: set[str] = set()
    for place, record in _records(document, "images", path):
        where = f"{path}, image {record.get('id', f'number {place}')!r}"
        file_name = record.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            raise _error(where, "has no file_name.")
        if file_name in files:
            raise _error(where, f"has the file_name {file_name!r} of another image.")
        files.add(file_name)
        _add(images, record, CocoImage(file_name, where, _size(record, where)), where)
    seen: dict[Any, None] = {}
    crowds, flat = 0, list[str]()
    for place, record in _records(document, "annotations", path):
        where = f"{path}, annotation {record.get('id', f'number {place}')!r}"
        if "id" in record:  # some tools leave it out, and nothing refers to it
            _add(seen, record, None, where)
        image, label = _find(images, record, "image_id", where), _find(names, record, "category_id", where)
        if record.get("iscrowd"):
            crowds += 1
            continue
        box = _box(record, where)
        if not box[2] or not box[3]:
            flat.append(where)
            continue
        image.labels.append(label)
        image.boxes.append(box)
        image.box_origins.append(where)
    if crowds:
        log.info("%s: %d annotations of crowds (iscrowd=1) are left out.", path, crowds)
    if flat:
        log.warning("%d boxes without area are left out, the first is that of %s.", len(flat), flat[0])
    return list(images.values())


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"No COCO file at {path}.")
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except PermissionError:
        raise PermissionError(f"{path} may not be read; change its permissions.") from None
    except (ValueError, RecursionError) as error:  # of the JSON, or of its encoding
        raise ValueError(f"{path} is not JSON ({error}); export it again.") from None
    if not isinstance(document, dict):
        hint = "; a list of boxes alone is a file of results" if isinstance(document, list) else ""
        raise ValueError(f"{path}: expected an object with images, annotations and categories{hint}; export it again.")
    return document


def _records(document: dict[str, Any], key: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    records = document.get(key)
    if not isinstance(records, list) or not records:
        what = "is missing" if key not in document else "is empty" if records == [] else "is no list"
        raise ValueError(f"{path}: the list {key!r} {what}; export it again, as COCO's object detection.")
    for place, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise ValueError(f"{path}: number {place} of {key!r} is no object, but {record!r}; export it again.")
        yield place, record


def _add(table: dict[Any, Any], record: dict[str, Any], value: Any, where: str) -> None:
    key = record.get("id")
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise _error(where, f"expected an id, a number or text, got {key!r}.")
    if key in table:
        raise _error(where, "the id is given a second time.")
    table[key] = value


def _find(table: dict[Any, Any], record: dict[str, Any], key: str, where: str) -> Any:
    value = record.get(key)
    if not isinstance(value, int | str) or value not in table:
        kind = {"image_id": "images", "category_id": "categories"}[key]
        raise _error(where, f"its {key} {value!r} is not among the {kind}.")
    return table[value]


def _size(record: dict[str, Any], where: str) -> Size | None:
    width: Any = record.get("width")
    height: Any = record.get("height")
    if not width and not height:
        return None
    if not all(_is_number(value) and value >= 1 and value == int(value) for value in (width, height)):
        raise _error(where, f"expected width and height in whole pixels, got {width!r} and {height!r}.")
    return int(height), int(width)


def _box(record: dict[str, Any], where: str) -> Xywh:
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        raise _error(where, f"expected bbox [x, y, width, height] in finite numbers, got {box!r}.")
    x, y, width, height = (float(value) for value in box)
    if width < 0 or height < 0:
        raise _error(where, f"its bbox {box} [x, y, width, height] has a negative side.")
    return x, y, width, height


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _error(where: str, message: str) -> ValueError:
    return ValueError(f"{where}: {message} Correct the file, or export it again.")
