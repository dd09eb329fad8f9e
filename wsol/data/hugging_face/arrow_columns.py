"""Read columns of Arrow tables as arrays: nested fields, boxes and texts, a million rows at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wsol.data.shared_strings import Strings

# Names that per-object lists beside the boxes have in object detection; one of another length is a damaged row.
_PER_BOX = ("id", "area", "category", "category_id", "label", "labels")


def split_name(name: str, columns: Sequence[str]) -> tuple[str, list[str]] | None:
    """Split a column's dotted name into the column of the table and the fields inside it.

    Returns:
        None: the table has no such column. A column whose own name contains dots is preferred to a nested one.
    """
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        top = ".".join(parts[:end])
        if top in columns:
            return top, parts[end:]
    return None


def as_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array of a plain type."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in chunks]
    if len(chunks) == 1:
        return chunks[0]
    return pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


def field(array: pa.Array, path: Sequence[str], name: str) -> pa.Array:
    """Return a field inside structs, or inside lists of structs, which give lists of it.

    Args:
        array: of the column.
        path: names of fields, outer first.
        name: of the whole, for messages.

    Raises:
        ValueError: naming the fields that there are.
    """
    for depth, part in enumerate(path):
        if _is_list(array.type) and pa.types.is_struct(array.type.value_type):
            counts = _counts(array)
            inner = field(pc.list_flatten(array), path[depth:], name)
            return pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)])), inner)
        names = [inner_field.name for inner_field in array.type] if pa.types.is_struct(array.type) else []
        if part not in names:
            there = f"the fields {', '.join(names)}" if names else f"{array.type}, without fields"
            raise ValueError(f"{name!r}: there is no {part!r}, but {there}.")
        array = pc.struct_field(array, part)
    return array


def read_boxes(array: pa.Array, place: Callable[[int], str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the four numbers of each box, as written.

    Args:
        array: N rows, each a list of boxes (lists of four numbers), or the four numbers of its single box; null and
            an empty list are no box.
        place: row -> its name in messages.

    Returns:
        (M, 4) numbers, all finite; (N,) how many boxes each row has.

    Raises:
        ValueError: naming the row, for a box of another length, a null, NaN or infinite number, or another type.
    """
    if pa.types.is_null(array.type):
        return np.zeros((0, 4)), np.zeros(len(array), np.int64)
    if _is_list(array.type) and pa.types.is_null(array.type.value_type):  # empty lists have no type inside
        array = array.cast(pa.large_list(pa.large_list(pa.float64())))
    number = array.type
    while _is_list(number):
        number = number.value_type
    depth_is_right = _is_list(array.type) and (
        array.type.value_type == number or getattr(array.type.value_type, "value_type", None) == number
    )
    if not depth_is_right or not (pa.types.is_integer(number) or pa.types.is_floating(number)):
        raise ValueError(f"{place(0)}: boxes must be lists of four numbers, but the column holds {array.type}.")
    if _is_list(array.type.value_type):
        counts = _counts(array)
        boxes = pc.list_flatten(array)
        rows = np.repeat(np.arange(len(array)), counts)
        wrong = np.flatnonzero(_counts(boxes) != 4)
    else:
        rows = np.arange(len(array))
        lengths, boxes = _counts(array), array
        counts = (lengths > 0).astype(np.int64)
        wrong = np.flatnonzero((lengths != 4) & (lengths != 0))
        rows = rows[lengths > 0] if not len(wrong) else rows
    if len(wrong):
        first = boxes[int(wrong[0])].as_py()
        raise ValueError(f"{place(int(rows[wrong[0]]))}: a box has four numbers, got {first}.")
    values = (
        pc.list_flatten(boxes).cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(-1, 4)
    )  # a null becomes NaN
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"{place(int(rows[bad[0]]))}: the box {values[bad[0]].tolist()} is not of finite numbers.")
    return values, counts


def check_counts(parent: pa.Array, counts: NDArray[np.int64], name: str, place: Callable[[int], str]) -> None:
    """Raise ValueError unless lists beside the boxes (categories, areas, ...) have one item for each box.

    Args:
        parent: the structs that contain the list of boxes and those beside it; other types are not checked.
        counts: (N,) boxes of each row.
        name: of the boxes' column.
        place: row -> its name in messages.

    Raises:
        ValueError: naming the row and both numbers.
    """
    if not pa.types.is_struct(parent.type):
        return
    for beside in parent.type:
        if beside.name in _PER_BOX and _is_list(beside.type):
            others = _counts(pc.struct_field(parent, beside.name))
            wrong = np.flatnonzero(others != counts)
            if len(wrong):
                row = int(wrong[0])
                raise ValueError(
                    f"{place(row)}: {counts[row]} boxes in {name!r}, but {others[row]} items in {beside.name!r} beside "
                    "it; correct the row."
                )


def numbered(prefix: str, count: int, suffix: str = "") -> Strings:
    """Return the strings `<prefix>0<suffix>`, `<prefix>1<suffix>`, ..."""
    numbers = pa.array(np.arange(count)).cast(pa.large_string())
    parts = [pa.scalar(text, pa.large_string()) for text in (prefix, suffix, "")]
    return Strings.from_arrow(pc.binary_join_element_wise(parts[0], numbers, parts[1], parts[2]))


def first_null(array: pa.Array) -> int | None:
    """Return the first place that is null; None if there is none."""
    return pc.index(array.is_null(), True).as_py() if array.null_count else None


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _counts(array: pa.Array) -> NDArray[np.int64]:
    return pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
