"""Class ids out of the label columns of several splits."""

import logging
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wsol.hub.rows import HubSplit

log = logging.getLogger(__name__)


def class_ids_of(
    splits: Mapping[str, HubSplit], train_split: str, check: bool
) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    """The names of the classes that are there; split -> (N,) class ids.

    Args:
        splits: all that are read.
        train_split: the one that has to have every class.
        check: raise where it has not.
    """
    labels = {name: split.labels() for name, split in splits.items()}
    train_names = labels[train_split][1]
    for name, (array, names) in labels.items():
        if names != train_names or array.type != labels[train_split][0].type:
            raise ValueError(
                f"{splits[name].path}: the splits {train_split!r} and {name!r} have other classes or types in "
                f"{splits[name].columns.label!r}; cast_column() makes them alike."
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
    ids = {name: _places(array, values) for name, (array, _) in labels.items()}
    trained = np.isin(np.arange(len(class_names)), ids[train_split])
    if check and not trained.all():
        lost = int(np.flatnonzero(~trained)[0])
        split = next(name for name, one in ids.items() if (one == lost).any())
        raise ValueError(
            f"{splits[split].path}: class {class_names[lost]!r} of split {split!r} has no row in split "
            f"{train_split!r}; name another train_split, or choose with classes=[...]."
        )
    return class_names, ids


def _places(array: pa.Array, values: pa.Array) -> NDArray[np.int64]:
    return pc.index_in(array, value_set=values).to_numpy(zero_copy_only=False).astype(np.int64)
