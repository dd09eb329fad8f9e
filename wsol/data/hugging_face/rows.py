"""Read rows of a Hugging Face data set: images, labels, boxes and masks."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.clipping import clip
from wsol.data.decode import read_image, read_size
from wsol.data.disk_cache import cached_table
from wsol.data.formats.box_format import FARTHEST, FORMATS, BoxFormat, refuse_fractions, to_edges
from wsol.data.hugging_face.arrow_columns import (
    as_array,
    check_counts,
    field,
    first_null,
    numbered,
    read_boxes,
    split_name,
)
from wsol.data.hugging_face.splits import library
from wsol.data.index import Entry, Index
from wsol.data.sample import Sample
from wsol.data.shared_strings import Strings

log = logging.getLogger(__name__)

_SIZES_VERSION = 1


@dataclass(frozen=True)
class Columns:
    """The columns that are read, and the convention of the boxes.

    Attributes:
        image_column: column of type Image, or of encoded images as bytes.
        label_column: column of type ClassLabel, which names the classes, or integers or strings, whose values then name
            them.
        boxes_column: column of lists of boxes, or of the four numbers of a single box; `outer.inner` if it is nested,
            as for other columns; None: there are no boxes.
        id_column: column of strings or integers, unique over all splits; None: rows are numbered.
        box_format: `edges` or `inclusive` x0, y0, x1, y1 in pixels, `xywh` left and top edge, width and height in
            pixels (COCO), or `normalized` edges in [0, 1] of the image as it is shown, upright.

    Raises:
        ValueError: for an unknown box_format.
    """

    image_column: str = "image"
    label_column: str = "label"
    boxes_column: str | None = "objects.bbox"
    id_column: str | None = None
    box_format: BoxFormat = "edges"

    def __post_init__(self) -> None:
        if self.box_format not in FORMATS:
            raise ValueError(f"box_format must be one of {', '.join(FORMATS)}, got {self.box_format!r}.")

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        names = (self.image_column, self.label_column, self.boxes_column, self.id_column)
        return [name for name in names if name is not None]


@dataclass(frozen=True)
class HubSplit:
    """One split of the set as it is on disk."""

    path: str
    name: str
    rows: Any  # datasets.Dataset
    columns: Columns

    def place(self, row: int) -> str:
        """Return the name of a row in messages."""
        return f"{self.path}, split {self.name!r}, row {row}"

    def no_column(self, name: str, option: str) -> ValueError:
        """Return an error that lists the existing columns."""
        there = ", ".join(self.rows.column_names)
        return ValueError(
            f"{self.path}: split {self.name!r} has no column {name!r}, but {there}; name it with {option}=COLUMN."
        )

    def column(self, name: str, option: str) -> tuple[pa.Array, list[str]]:
        """Return a column, read without its images, and the fields inside it that complete the name."""
        parts = split_name(name, self.rows.column_names)
        if parts is None:
            raise self.no_column(name, option)
        table = self.rows.select_columns([parts[0]]).with_format("arrow")[:]
        return as_array(table[parts[0]]), parts[1]

    def values(self, name: str, option: str) -> pa.Array:
        """Return a column, or a field inside one."""
        array, inside = self.column(name, option)
        return field(array, inside, name)

    def images(self) -> "EncodedImages":
        """Return the encoded images alone."""
        datasets, name = library(), self.columns.image_column
        if name not in self.rows.column_names:
            raise self.no_column(name, "image_column")
        feature = self.rows.features[name]
        rows = self.rows.select_columns([name]).with_format(None)
        if isinstance(feature, datasets.Image):
            folder = Path(self.path) if Path(self.path).is_dir() else None
            return EncodedImages(rows.cast_column(name, datasets.Image(decode=False)), name, folder)
        encoded = isinstance(feature, dict) and "bytes" in feature
        if not encoded and getattr(feature, "dtype", "") not in ("binary", "large_binary"):
            raise ValueError(
                f"{self.path}: the column {name!r} holds {feature}, not images: make it one with "
                f"cast_column({name!r}, datasets.Image()), or name another with image_column=COLUMN."
            )
        return EncodedImages(rows, name)

    def labels(self) -> tuple[pa.Array, list[str] | None]:
        """Return the label of each row; and the names of the classes, where the set has some."""
        array = self.values(self.columns.label_column, "label_column")
        null = first_null(array)
        if null is not None:
            raise ValueError(
                f"{self.place(null)}: there is no label, as in {array.null_count} of {len(array)} rows; take them out "
                "with filter(), or name another split or label_column."
            )
        if pa.types.is_integer(array.type):
            (unlabeled,) = np.nonzero(array.to_numpy(zero_copy_only=False) == -1)
            if len(unlabeled):
                raise ValueError(
                    f"{self.place(int(unlabeled[0]))}: the label is -1, that is none, as in {len(unlabeled)} of "
                    f"{len(array)} rows; sets on the hub often keep the labels of their test split back: name one that "
                    "has labels, such as test_split=validation."
                )
        elif not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise ValueError(
                f"{self.path}: the column {self.columns.label_column!r} holds {array.type}; a label must be one "
                "ClassLabel, integer or string: name its column with label_column=COLUMN."
            )
        return array, _names_of(self.rows.features, self.columns.label_column)

    def index(self, class_ids: NDArray[np.int64]) -> Index:
        """Return all rows as an index."""
        paths = numbered(f"{self.name}/", len(self.rows))
        boxes, counts, sizes = self.boxes()
        return Index(
            image_ids=paths if self.columns.id_column is None else self.ids(self.columns.id_column),
            class_ids=torch.from_numpy(class_ids),
            folder="",
            paths=paths,  # no files: where load_row finds them
            boxes=torch.from_numpy(boxes),
            box_ends=torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
            sizes=sizes,
            origins=numbered(f"{self.path}, split {self.name!r}, row ", len(self.rows)) if len(boxes) else None,
        )

    def ids(self, name: str) -> Strings:
        """Return the column of ids."""
        array = self.values(name, "id_column")
        null = first_null(array)
        if null is not None:
            raise ValueError(f"{self.place(null)}: there is no id in {name!r}; id_column=null numbers the rows.")
        if not (
            pa.types.is_integer(array.type) or pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
        ):
            raise ValueError(f"{self.path}: id_column={name} holds {array.type}; ids must be strings or integers.")
        return Strings.from_arrow(array.cast(pa.large_string()))

    def boxes(self) -> tuple[NDArray[np.float32], NDArray[np.int64], torch.Tensor | None]:
        """Return (M, 4) edges in pixels, (N,) counts, and (N, 2) sizes where the conversion needs them."""
        nothing = np.zeros((0, 4), np.float32), np.zeros(len(self.rows), np.int64), None
        name, box_format = self.columns.boxes_column, self.columns.box_format
        # A split without the column may serve to train.
        if name is None or split_name(name, self.rows.column_names) is None:
            return nothing
        column, inside = self.column(name, "boxes_column")
        numbers, counts = read_boxes(field(column, inside, name), self.place)
        if inside:
            check_counts(field(column, inside[:-1], name), counts, name, self.place)
        if not len(numbers):
            return nothing
        rows = np.repeat(np.arange(len(counts)), counts)
        if box_format != "normalized":
            remedy = "convert them" if box_format == "xywh" else "set box_format=normalized"
            refuse_fractions(numbers, self.place(int(rows[0])), remedy)
            return to_edges(numbers, box_format), counts, None
        far = np.flatnonzero(np.abs(numbers).max(axis=1) > FARTHEST)
        if len(far):
            raise ValueError(
                f"{self.place(int(rows[far[0]]))}: the box {numbers[far[0]].tolist()} is not normalized, nor are "
                f"{len(far)} of {len(numbers)}; set box_format=edges, inclusive or xywh if they are in pixels."
            )
        sizes = self.sizes(counts > 0)
        return (numbers * sizes[rows][:, [1, 0, 1, 0]]).astype(np.float32), counts, torch.from_numpy(sizes)

    def sizes(self, wanted: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Return (N, 2) height and width of the wanted images, 0 for others, from the heads of their files."""
        images = self.images()
        files = [Path(cache_file["filename"]) for cache_file in images.rows.cache_files]

        def read() -> tuple[pa.Table, list[Path]]:
            sizes, opened = np.zeros((len(wanted), 2), np.int32), list(files)
            title = f"reading image sizes of {self.name}"
            for row in tqdm(np.flatnonzero(wanted).tolist(), title, unit="image", delay=2, leave=False, disable=None):
                data = images.data(row, self.place(row))
                if isinstance(data, Path):
                    opened.append(data)
                sizes[row] = read_size(data, self.place(row))
            return pa.table({"height": sizes[:, 0], "width": sizes[:, 1]}), opened

        sources = [*files, Path(self.columns.image_column, hashlib.sha256(wanted.tobytes()).hexdigest()[:16])]
        table = cached_table("hugging-face-sizes", _SIZES_VERSION, sources, read) if files else read()[0]
        return np.stack([table[side].to_numpy() for side in ("height", "width")], axis=1).astype(np.int32)


@dataclass(frozen=True)
class EncodedImages:
    """The encoded images of a split; pickled as the names of its files."""

    rows: Any  # datasets.Dataset of one column
    column: str
    folder: Path | None = None  # of the data set; None: it is not on this machine, so no row may name a file

    def data(self, row: int, place: str) -> bytes | Path:
        """Return an encoded image, or its file.

        Raises:
            ValueError: if the row has none, or names a file outside the data set's folder.
        """
        encoded = self.rows[row][self.column]
        if isinstance(encoded, dict):
            encoded = encoded.get("bytes") or (self._inside(encoded["path"], place) if encoded.get("path") else None)
        if not encoded:
            raise ValueError(f"{place}: there is no image; take the row out with filter().")
        return encoded

    def _inside(self, path: str, place: str) -> Path:
        """Return the file that a row names; a data set from somebody else must not choose any file to be read."""
        if self.folder is None or not Path(path).resolve().is_relative_to(self.folder.resolve()):
            where = "the data set contains no files" if self.folder is None else f"outside the folder {self.folder}"
            raise ValueError(
                f"{place}: the image is the file {path}, {where}; store the images' bytes in the table, with "
                "save_to_disk() or embed_table_storage()."
            )
        return Path(path)


def load_row(images: Mapping[str, EncodedImages], path: str, entry: Entry) -> Sample:
    """Decode a row's image and clip its boxes to it.

    Raises:
        ValueError: naming the row and the remedy.
    """
    split, row = str(entry.path.parent), int(entry.path.name)
    place = f"{path}, split {split!r}, row {row}"
    data = images[split].data(row, place)
    image = read_image(data, place)
    boxes = clip(entry.boxes, image.shape[:2], entry.box_origin, lambda place: entry.image_id)
    return Sample(image, entry.class_id, entry.image_id, boxes)


def _names_of(features: Any, name: str) -> list[str] | None:
    """Return the names of a ClassLabel, nested or not."""
    parts = split_name(name, list(features))
    feature = features[parts[0]] if parts else None
    for part in parts[1] if parts else []:
        feature = feature.get(part) if isinstance(feature, dict) else None
    return list(feature.names) if isinstance(feature, library().ClassLabel) else None


def class_ids_of(splits: Mapping[str, HubSplit], train_split: str) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    """Return the names of the classes that occur in any split, and split -> (N,) class ids.

    Raises:
        ValueError: if a split has other classes than train_split, or a label is none of the named classes.
    """
    labels = {name: split.labels() for name, split in splits.items()}
    train_names = labels[train_split][1]
    for name, (array, names) in labels.items():
        if names != train_names or array.type != labels[train_split][0].type:
            raise ValueError(
                f"{splits[name].path}: the splits {train_split!r} and {name!r} have other classes or types in "
                f"{splits[name].columns.label_column!r}; cast_column() makes them alike."
            )
    present = pc.unique(pa.chunked_array([array for array, _ in labels.values()]))
    values = present.take(pc.sort_indices(present))
    if train_names is not None:
        known = values.to_numpy(zero_copy_only=False)
        wrong = [value for value in known.tolist() if not 0 <= value < len(train_names)]
        if wrong:
            raise ValueError(f"{splits[train_split].path}: label {wrong[0]} is none of the {len(train_names)} classes.")
        if len(known) < len(train_names):
            log.info("%s: %d of %d classes are present.", splits[train_split].path, len(known), len(train_names))
        class_names = [train_names[value] for value in known]
    else:
        class_names = [str(value) for value in values.to_pylist()]
    return class_names, {name: _places(array, values) for name, (array, _) in labels.items()}


def _places(array: pa.Array, values: pa.Array) -> NDArray[np.int64]:
    return pc.index_in(array, value_set=values).to_numpy(zero_copy_only=False).astype(np.int64)
