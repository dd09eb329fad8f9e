"""Annotations in the text files of the field's evaluation (github.com/clovaai/wsolevaluation)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsol.annotations import Line, read_lines, read_table
from wsol.decode import read_size
from wsol.geometry import as_boxes
from wsol.sources.masks import MaskFiles
from wsol.truth import Truth

T = TypeVar("T")


def read_metadata(folder: Path, mask_root: Path | None = None) -> Truth:
    """One split: `image_ids.txt`, `class_labels.txt`, `image_sizes.txt`, `localization.txt`.

    Lines are `id`; `id,class`; `id,width,height`; and `id,x0,y0,x1,y1` in pixels of the original image, several for an
    image with several boxes. Boxes are read as edges, as they stand there. With masks (OpenImages30k)
    `localization.txt` has `id,mask,ignore` instead, paths below `mask_root`, the last one empty but in the first line
    of an image; `image_sizes.txt` is then empty, and sizes are those of the masks.

    Args:
        folder: of the split, `metadata/CUB/test` say.
        mask_root: where mask paths start.

    Raises:
        FileNotFoundError: naming a missing file.
        ValueError: naming file and line of what is malformed, or missing for an image.
    """
    ids = [line.fields[0] for line in read_lines(folder / "image_ids.txt", 1, separator=",")]
    if not ids or len(set(ids)) != len(ids):
        raise ValueError(f"{folder / 'image_ids.txt'} must name at least one image, and each of them once.")
    classes = read_table(read_lines(folder / "class_labels.txt", 2, separator=","), _class_id)
    class_ids = np.array([_of(classes, one, folder / "class_labels.txt") for one in ids], np.int64)
    localization = folder / "localization.txt"
    if _names_masks(localization):
        return _with_masks(localization, ids, class_ids, mask_root)
    boxes: dict[str, list[list[float]]] = {}
    for line in read_lines(localization, 5, separator=","):
        box = line.numbers(1)
        if box[2] < box[0] or box[3] < box[1] or min(box) < 0:
            raise line.error(f"expected x0,y0,x1,y1 with 0 <= x0 <= x1 and 0 <= y0 <= y1, got {box}.")
        boxes.setdefault(line.fields[0], []).append(box)
    sizes = read_table(read_lines(folder / "image_sizes.txt", 3, separator=","), _size)
    return Truth(
        image_ids=np.array(ids),
        class_ids=class_ids,
        boxes=[as_boxes(_of(boxes, one, localization)) for one in ids],
        sizes=np.array([_of(sizes, one, folder / "image_sizes.txt") for one in ids], np.int64),
    )


def _with_masks(path: Path, ids: list[str], class_ids: NDArray[np.int64], mask_root: Path | None) -> Truth:
    if mask_root is None:
        raise ValueError(f"{path} names masks, not boxes; say with --masks where they lie.")
    objects: dict[str, list[Path]] = {}
    ignored: dict[str, Path] = {}
    for line in read_lines(path, 3, separator=","):
        image_id, mask, ignore = line.fields
        objects.setdefault(image_id, []).append(mask_root / mask)
        if ignore:
            ignored[image_id] = mask_root / ignore
    files = MaskFiles([_of(objects, one, path) for one in ids], [ignored.get(one) for one in ids], above=0.5)
    return Truth(
        image_ids=np.array(ids),
        class_ids=class_ids,
        boxes=[as_boxes([])] * len(ids),
        sizes=np.array([read_size(one[0]) for one in files.objects], np.int64),
        read_mask=files.read,
    )


def _names_masks(path: Path) -> bool:
    if not path.is_file():
        raise FileNotFoundError(f"Annotation file {path} is missing.")
    with path.open(encoding="utf-8-sig") as file:
        return file.readline().count(",") == 2


def _class_id(line: Line) -> int:
    if not line.fields[1].isdecimal():
        raise line.error(f"expected a class id, got {line.fields[1]!r}.")
    return int(line.fields[1])


def _size(line: Line) -> tuple[int, int]:
    width, height = line.numbers(1)
    if width < 1 or height < 1:
        raise line.error(f"expected width and height, got {line.fields[1:]}.")
    return int(height), int(width)


def _of(table: Mapping[str, T], image_id: str, path: Path) -> T:
    if image_id not in table:
        raise ValueError(f"{path} says nothing of image {image_id!r}, which image_ids.txt names; get both anew.")
    return table[image_id]
