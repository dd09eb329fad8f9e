"""Reader of a user's images and boxes: a folder and a CSV file."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.data.custom.image_files import check_present, inside, read_sizes
from wsol.data.custom.labels import Labelled
from wsol.data.custom.splits import HeldOut, Layout, SplitName, find_layout, own_indices, split_name
from wsol.data.formats.box_format import MEANING, BoxFormat, check_numbers, refuse_fractions, to_edges
from wsol.data.formats.boxes_csv import BoxesTable, ImageRows, by_image, read_boxes_table
from wsol.data.image_tree import list_images
from wsol.data.preparation import Indices, Preparation, reader
from wsol.geometry import Size, as_boxes

log = logging.getLogger(__name__)

_HELP = (
    "Set data.images=FOLDER to the folder of your images (FOLDER/CLASS/IMAGE, FOLDER/train/CLASS/IMAGE with test and "
    "val beside train, or FOLDER/IMAGE) and data.boxes=FILE.csv to the file of their boxes, whose first line is "
    "image,label,x0,y0,x1,y1."
)


@reader()
def folder(
    images: str | Path,
    boxes: str | Path,
    box_format: BoxFormat | None = None,
    *,
    held_out: HeldOut,
    name: str = "folder",
    preparation: Preparation,
) -> Indices:
    """Read images in a folder, with their boxes in a CSV file.

    The column `label` contains the labels; without one the folders do, `CLASS/IMAGE` or `train/CLASS/IMAGE`. Images
    without boxes are trained on: lines whose box fields are empty, and images that the file does not name, if their
    folders give the label.

    The column `split` gives the splits, or else the folders at the top, if their names are train, val and test.
    Otherwise `test_fraction` and `val_fraction` of each class's images with boxes are held out at random. If train and
    test are given but no val, val is held out of train's images with boxes.

    Args:
        images: folder of the images.
        boxes: the CSV file, see `read_boxes_table`; paths start from `images`.
        box_format: the convention of the boxes, if the file does not state it: `edges` (x1, y1 outside the box, the
            default), `inclusive` (the pixel (x1, y1) inside), `xywh` (x0, y0, width, height) or `normalized`
            (fractions of the image).
        held_out: the images that are held out where a split is not given.
        name: name of the data set in tables and in the names of runs.
        preparation: whether `val` is held out of test, and whether training images may be missing.

    Raises:
        FileNotFoundError: for a missing folder or file, with what to do, and for missing images, with their number.
        ValueError: for a malformed line, naming file and line; and for boxes that follow another convention.
    """
    root, path = Path(images), Path(boxes)
    if not root.is_dir() or not path.is_file():
        missing = f"folder of images at {root}" if not root.is_dir() else f"CSV file at {path}"
        raise FileNotFoundError(f"No {missing}. {_HELP}")
    table = read_boxes_table(path)
    named = by_image(replace(row, image=inside(row.image, row.origin)) for row in table.rows)
    listed = list(list_images(root).files)
    present = set(listed)
    check_present(root, ((file, lines.origin) for file, lines in named.items()), present, str(path))
    _check_names(root, named, present)
    layout = find_layout(root, sorted({file.partition("/")[0] if "/" in file else "" for file in listed}))
    edges, sizes = _edges(root, table, named, box_format)
    labels = _Labels(named, layout)
    splits_stated = "split" in table.columns or layout.by_split
    parts: dict[SplitName, list[Labelled]] = {"train": [], "val": [], "test": []}
    for file, lines in named.items():
        origin = lines.origins[0] if lines.origins else lines.origin
        split = _split(file, lines, layout, "split" in table.columns) if splits_stated else "train"
        label, origins = labels.of(file, lines), tuple(lines.origins)
        parts[split].append(Labelled(file, root / file, label, edges[file], origin, sizes[file], origins))
    unnamed = [file for file in listed if file not in named]
    left_out = 0
    for file in unnamed:
        label, folder_split = labels.of_folder(file), layout.split_of(file)
        if not label or (layout.by_split and folder_split is None):
            left_out += 1
        else:
            parts[folder_split or "train"].append(Labelled(file, root / file, label))
    log.info(
        "%s: %s; labels are %s; %d images, of which %s names %d.",
        root,
        "folders of splits" if layout.by_split else "no folders of splits",
        labels.source,
        len(present | set(named)),
        path.name,
        len(named),
    )
    if len(unnamed) > left_out:
        log.info("%d images that it does not name have the labels of their folders.", len(unnamed) - left_out)
    if left_out:
        log.warning("%d images that it does not name are left out: no folder gives their label or split.", left_out)
    return own_indices(name, parts if splits_stated else parts["train"], str(path), held_out, preparation)


def _check_names(root: Path, named: dict[str, ImageRows], present: set[str]) -> None:
    """Raise ValueError if the file names an image by another path than its listed one."""
    others = [file for file in named if file not in present]
    if not others:
        return
    listed = {_inode(root / file): file for file in sorted(present)}
    for file in others:
        same = listed.get(_inode(root / file))
        if same is not None:
            raise ValueError(
                f"{named[file].origin}: image {file!r} is {same!r} by another path; write it as it is listed there."
            )


def _inode(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


class _Labels:
    """Labels of images: that of the file, else that of the folder."""

    def __init__(self, named: dict[str, ImageRows], layout: Layout) -> None:
        self._layout = layout
        both = [(file, lines) for file, lines in named.items() if lines.label and layout.label_of(file)]
        differ = [(file, lines) for file, lines in both if lines.label != layout.label_of(file)]
        if differ and len(differ) < len(both):
            file, lines = differ[0]
            raise ValueError(
                f"{lines.origin}: image {file!r} is labelled {lines.label!r} but lies in the folder "
                f"{layout.label_of(file)!r}, as {len(differ)} of {len(both)} do; correct the labels, or move "
                "the images."
            )
        self._folders_count = not differ
        self.source = "those of the folders" if self._folders_count else "those of the file alone, folders differ"
        if self._folders_count and any(lines.label for lines in named.values()):
            self.source = "those of the file"

    def of(self, file: str, lines: ImageRows) -> str:
        """Return the label of an image that the file names."""
        label = lines.label or self.of_folder(file)
        if not label:
            raise ValueError(
                f"{lines.origin}: image {file!r} has no label, and no folder gives one; fill in the column."
            )
        return label

    def of_folder(self, file: str) -> str:
        """Return the label that the folder gives; "" if it gives none."""
        return self._layout.label_of(file) if self._folders_count else ""


def _split(file: str, lines: ImageRows, layout: Layout, has_column: bool) -> SplitName:
    by_folder = layout.split_of(file)
    if not has_column or (by_folder and not lines.split):
        if by_folder is None:
            raise ValueError(f"{lines.origin}: image {file!r} is in none of the folders of splits; move it into one.")
        return by_folder
    stated = split_name(lines.split, lines.origin)
    if by_folder not in (None, stated):
        raise ValueError(
            f"{lines.origin}: image {file!r} is of split {stated} by the file, but lies in {by_folder}; correct it."
        )
    return stated


def _edges(
    root: Path, table: BoxesTable, named: dict[str, ImageRows], option: BoxFormat | None
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Size | None]]:
    """Return the boxes as edges by image, and the sizes of all images that have boxes or whose size is stated."""
    box_format = table.box_format(option)

    def statement(other: str) -> str:
        return f"set data.box_format={other}, or write '# boxes: {other}' as the first line of {table.path}"

    log.info("%s: boxes are %s (%s).", table.path, box_format, MEANING[box_format])
    boxed = [file for file, lines in named.items() if lines.numbers]
    numbers = np.array([box for file in boxed for box in named[file].numbers], np.float64).reshape(-1, 4)
    origins = [origin for file in boxed for origin in named[file].origins]
    check_numbers(numbers, origins, box_format, statement)
    stated = {file: lines.size for file, lines in named.items()}
    unsized = [file for file in boxed if stated[file] is None]
    sizes = {**stated, **dict(zip(unsized, read_sizes([root / file for file in unsized]), strict=True))}
    if box_format != "normalized" and any(max(sizes[file] or (0,)) > 1 for file in boxed):
        refuse_fractions(numbers, str(table.path), statement("normalized"))
    edges = {
        file: to_edges(lines.numbers, box_format, sizes[file]) if lines.numbers else as_boxes([])
        for file, lines in named.items()
    }
    return edges, sizes
