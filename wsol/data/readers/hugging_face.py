"""Reader of any image data set of Hugging Face `datasets`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from wsol.data.hugging_face.rows import Columns, HubSplit, class_ids_of, load_row
from wsol.data.hugging_face.splits import HubSource, open_splits
from wsol.data.hugging_face.streams import stored_stream
from wsol.data.index import Index
from wsol.data.preparation import Indices, reader
from wsol.data.shared_strings import Strings
from wsol.data.splits import hold_out_boxed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitNames:
    """Names of the splits in the set.

    Attributes:
        train_split: the set's name for train.
        val_split: the set's name for val; None: held out.
        test_split: the set's name for test.

    Raises:
        ValueError: if two are the same.
    """

    train_split: str = "train"
    val_split: str | None = None
    test_split: str = "test"

    def __post_init__(self) -> None:
        if len(set(self.wanted)) < len(self.wanted):
            raise ValueError(f"train_split, val_split and test_split must differ, got {', '.join(self.wanted)}.")

    @property
    def wanted(self) -> list[str]:
        """Names of the splits that are read."""
        return [split for split in (self.train_split, self.val_split, self.test_split) if split is not None]


@dataclass(frozen=True)
class Stream:
    """Whether the set is read as a stream.

    Attributes:
        streaming: read the set as a stream, not as whole files: of large files only the wanted columns are kept.
        max_stream_gib: bound on the size of a streamed set in the cache folder, in GiB.
    """

    streaming: bool = False
    max_stream_gib: float = 50


@reader()
def hugging_face(
    source: HubSource,
    names: SplitNames,
    columns: Columns,
    stream: Stream,
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> Indices:
    """Read a data set of Hugging Face `datasets`: a folder, Parquet files, images, or a name on the hub.

    Images stay on disk, in memory-mapped Arrow files, and are decoded on access. A streamed set cannot be read in any
    order, so it is written to the cache folder once and read from there; see `stored_stream`. Image ids are
    `<split>/<row>` if there is no column of ids.

    If `val_split` is None, val is held out of the training images that have boxes; if none has, it is held out of the
    test split. Every image of `val` and `test` needs a box. Classes without any image are left out.

    Args:
        source: where the set is.
        names: of its splits.
        columns: its columns.
        stream: how it is read.
        val_fraction: share of each class's images with boxes, if val is held out.
        split_seed: seed of the images that are held out.

    Raises:
        ImportError: if `datasets` is not installed.
        FileNotFoundError: for a missing folder or file.
        ConnectionError: for a hub name, if the hub cannot be reached and there is no copy.
        ValueError: for an unknown split, column or configuration, labels that are missing, and boxes that do not fit
            box_format, naming the row.
    """
    path, wanted, val_split = source.location, names.wanted, names.val_split
    train_split, test_split = names.train_split, names.test_split
    if stream.streaming:
        tables = stored_stream(source, wanted, columns.names, columns.image_column, stream.max_stream_gib)
    else:
        tables = open_splits(source, wanted)
    splits = {name: HubSplit(path, name, table, columns) for name, table in tables.items()}
    images = {name: split.images() for name, split in splits.items()}
    class_names, class_ids = class_ids_of(splits, train_split)
    indexes = {name: split.index(class_ids[name]) for name, split in splits.items()}
    _check_ids(indexes, columns.id_column)
    train, test = indexes[train_split], indexes[test_split]
    if val_split is not None:
        val = indexes[val_split]
    elif len(train.boxes):
        train, val = hold_out_boxed(train, val_fraction, split_seed)
    elif len(test.boxes):
        log.info("%s: no training image has boxes, so val is held out of split %s.", path, test_split)
        test, val = hold_out_boxed(test, val_fraction, split_seed)
    else:
        raise ValueError(_no_boxes(splits[test_split]))
    for name, index in ((val_split or "val", val), (test_split, test)):
        bare = np.flatnonzero(index.box_counts == 0)
        if not len(index.boxes):
            raise ValueError(_no_boxes(splits.get(name, splits[test_split])))
        if len(bare):
            raise ValueError(
                f"{path}: {len(bare)} of {len(index)} images of {name} have no box, first "
                f"{index.image_ids[int(bare[0])]}; an image that is scored needs one: take those out with filter()."
            )
    val, test = (_with_sizes(index, splits) for index in (val, test))
    for name, index in (("train", train), ("val", val), ("test", test)):
        log.info("%s: %s has %d images with %d boxes.", path, name, len(index), len(index.boxes))
    return Indices(
        source.title,
        class_names,
        train,
        val,
        test,
        load=partial(load_row, images, path),
        source=path,
        untrained=f"split {train_split!r} has no row of it; name another train_split, or choose with classes=[...]",
    )


def _check_ids(indexes: Mapping[str, Index], id_column: str | None) -> None:
    twice = Strings.from_arrow(pa.chunked_array([index.image_ids.to_arrow() for index in indexes.values()])).twice()
    if twice is not None:
        raise ValueError(
            f"id_column={id_column} contains {twice!r} twice; an image may be in one split, once: take it out, or, if "
            "ids start again in every split, let id_column=null number the rows."
        )


def _with_sizes(index: Index, splits: Mapping[str, HubSplit]) -> Index:
    """Add the sizes of the images, which scores of maps from elsewhere need and no file could give later."""
    if index.sizes is not None:
        return index
    split, rows = Path(index.paths[0]).parent.name, _rows(index)
    wanted = np.zeros(len(splits[split].rows), bool)
    wanted[rows] = True
    return replace(index, sizes=torch.from_numpy(splits[split].sizes(wanted)[rows]))


def _rows(index: Index) -> NDArray[np.int64]:
    """Return (N,) the rows of the split that the images are from."""
    return np.array([int(path.rpartition("/")[2]) for path in index.paths], np.int64)


def _no_boxes(split: HubSplit) -> str:
    columns, name = ", ".join(split.rows.column_names), split.columns.boxes_column
    what = "boxes_column=null" if name is None else f"column {name!r} has none, or is not there"
    return (
        f"{split.path}: there are no boxes to score with in split {split.name!r} ({what}). Name the column that holds "
        f"them with boxes_column=COLUMN, or outer.inner where it is nested, of {columns}; or name splits that have "
        "boxes with val_split and test_split."
    )
