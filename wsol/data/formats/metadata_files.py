"""Read labels, sizes, boxes and masks of a split from the text files of the field's evaluation.

The files are those of github.com/clovaai/wsolevaluation, released with Choe et al., "Evaluating Weakly Supervised
Object Localization Methods Right", CVPR 2020.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from wsol.data.disk_cache import cached_table
from wsol.data.formats.box_format import refuse_fractions
from wsol.data.formats.text_lines import Line
from wsol.data.shared_strings import Strings
from wsol.geometry import as_boxes

_VERSION = 1
_CACHED_FROM = 8 * 2**20  # bytes of image_ids.txt; a smaller one is parsed as fast as the cache is read
_LARGEST_LABEL = 9  # digits
# A file from elsewhere must not make this program open any file that it names.
_OUTSIDE = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:"
# The unit separator is in no path: what is read as a table of one column are the lines.
_WHOLE_LINES = csv.ParseOptions(delimiter="\x1f", quote_char=False, escape_char=False, ignore_empty_lines=False)


@dataclass(frozen=True, eq=False)
class MetadataSplit:
    """N images in the order of `image_ids.txt`, in columns.

    Attributes:
        folder: that contains the files.
        image_ids: each of them once; paths below the folder of the images.
        class_ids: (N,) int64, 0 or more.
        sizes: (N, 2) int64 height and width in pixels; None: `image_sizes.txt` is empty.
        boxes: (M, 4) float32 edges in pixels of the original images, those of image i at ends[i] ... ends[i + 1].
        masks: M paths of masks instead, below the folder of the masks; at most one of `boxes` and `masks` has some.
        ends: (N + 1,) int64.
        ignored: N paths of regions that scores of pixels leave out, "" for none; None without masks.
        lines: (N,) int64, the first line of `localization.txt` that is about the image; 0: none is.
        box_lines: (M,) int64, the line of each box or mask.
    """

    folder: Path
    image_ids: Strings
    class_ids: NDArray[np.int64]
    sizes: NDArray[np.int64] | None
    boxes: NDArray[np.float32]
    masks: Strings
    ends: NDArray[np.int64]
    ignored: Strings | None
    lines: NDArray[np.int64]
    box_lines: NDArray[np.int64]

    @property
    def localization(self) -> Path:
        """Path of the file that contains the boxes or masks."""
        return self.folder / "localization.txt"

    def origin(self, place: int) -> str:
        """Return file and line of an image's first box, for messages; empty if it has none."""
        return f"{self.localization}, line {self.lines[place]}" if self.lines[place] else ""

    def box_origin(self, place: int) -> str:
        """Return file and line of a box or mask, for messages."""
        return f"{self.localization}, line {self.box_lines[place]}"


def read_split(folder: Path, located: bool = True) -> MetadataSplit:
    """Read one split: `image_ids.txt`, `class_labels.txt`, `image_sizes.txt`, `localization.txt`.

    Lines are `id`; `id,class`; `id,width,height`; and `id,x0,y0,x1,y1` in pixels of the original image, several for an
    image with several boxes. Boxes are edges, without conversion: those of CUB are x, y, x + width, y + height. With
    masks (OpenImages30k) `localization.txt` has `id,mask,ignore`, the last one empty but in one line of an image, and
    `image_sizes.txt` is empty. Text is UTF-8 with any line endings; labels and sizes of other images are ignored,
    since lists of fewer images (`image_ids_proxy.txt`) are used with the labels of all.

    Args:
        folder: of the split, for instance `metadata/CUB/test`.
        located: every image must have a box or a mask; False: the two last files may also be missing or empty, as
            those of training images are.

    Raises:
        FileNotFoundError: naming a missing file.
        ValueError: naming file and line of what is malformed, or missing for an image.
    """
    ids = folder / "image_ids.txt"
    labels_alone = not any(_has_text(folder / f"{name}.txt") for name in ("image_sizes", "localization"))
    if not located and labels_alone and ids.is_file() and ids.stat().st_size >= _CACHED_FROM:
        table = cached_table("metadata", _VERSION, [folder], lambda: _labels_table(folder))
        return _unlocated(folder, Strings.from_arrow(table["image_id"]), table["class_id"].to_numpy())
    image_ids, class_ids = _labels(folder)
    sizes = _sizes(folder / "image_sizes.txt", image_ids, optional=not located)
    return _localize(folder, image_ids, class_ids, sizes, located)


def _has_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _labels_table(folder: Path) -> tuple[pa.Table, Iterable[Path]]:
    image_ids, class_ids = _labels(folder)
    read = [folder, *folder.glob("*.txt")]  # the folder too: a file of boxes may be added later
    return pa.table({"image_id": image_ids, "class_id": class_ids}), read


def _unlocated(
    folder: Path, image_ids: Strings, class_ids: NDArray[np.int64], sizes: NDArray[np.int64] | None = None
) -> MetadataSplit:
    count = len(image_ids)
    nothing = np.zeros(count + 1, np.int64), None, np.zeros(count, np.int64), np.zeros(0, np.int64)
    return MetadataSplit(folder, image_ids, class_ids, sizes, as_boxes([]), Strings.of([]), *nothing)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The lines of a file, each cut into the same number of fields."""

    path: Path
    numbers: NDArray[np.int64]  # (L,) of the lines, blank ones counted
    columns: list[pa.Array]  # L strings each

    def line(self, place: int) -> Line:
        return Line(self.path, int(self.numbers[place]), [column[place].as_py() for column in self.columns])

    def refuse(self, bad: NDArray[np.bool_], message: str) -> None:
        """Name the first line that is bad, if any is."""
        if bad.any():
            line = self.line(int(np.argmax(bad)))
            raise line.error(f"{message}, got {','.join(line.fields[1:])!r}.")

    def refuse_paths_outside(self, column: int, may_be_empty: bool = False) -> None:
        """Name the first path that is absolute or leaves its folder, or is empty and may not be."""
        paths = self.columns[column]
        pattern = _OUTSIDE if may_be_empty else rf"{_OUTSIDE}|^$"
        bad = pc.match_substring_regex(paths, pattern).to_numpy(zero_copy_only=False)
        if bad.any():
            first = int(np.argmax(bad))
            raise self.line(first).error(f"expected a path below a folder, without '..', got {paths[first].as_py()!r}.")

    def refuse_repeated_ids(self, also: str = "") -> None:
        codes = self.columns[0].dictionary_encode()
        if len(codes.dictionary) < len(codes):
            repeated = np.ones(len(codes), bool)
            repeated[np.unique(codes.indices.to_numpy(), return_index=True)[1]] = False
            line = self.line(int(np.argmax(repeated)))
            raise line.error(f"{line.fields[0]!r} is given a second time{also}.")

    def numeric(self) -> NDArray[np.float64]:
        """Return (L, F - 1) all fields but the first, finite."""
        try:
            values = np.stack([column.cast(pa.float64()).to_numpy() for column in self.columns[1:]], axis=1)
        except pa.ArrowInvalid:
            values = np.array([self.line(place).numbers(1) for place in range(len(self.numbers))])
        if not np.isfinite(values).all():
            self.line(int(np.argmin(np.isfinite(values).all(axis=1)))).numbers(1)
        return values


def _rows(path: Path, *allowed: int) -> _Rows:
    """Return the lines that are not blank, cut at commas into as many fields as the first line has."""
    lines = _whole_lines(path)
    (places,) = np.nonzero(pc.not_equal(lines, "").to_numpy(zero_copy_only=False))
    if len(places) < len(lines):
        lines = lines.take(pa.array(places))
    fields = pc.split_pattern(lines, ",")
    counts = pc.list_value_length(fields).to_numpy(zero_copy_only=False)
    count = int(counts[0]) if len(counts) and counts[0] in allowed else allowed[0]
    wrong = counts != count
    if wrong.any():
        first = int(np.argmax(wrong))
        line = Line(path, int(places[first]) + 1, fields[first].as_py())
        expected = " or ".join(map(str, allowed)) if first == 0 else str(count)
        raise line.error(f"expected {expected} fields, got {counts[first]}: {lines[first].as_py()!r}.")
    columns = [pc.ascii_trim_whitespace(pc.list_element(fields, place)) for place in range(count)]
    return _Rows(path, places + 1, columns)


def _whole_lines(path: Path) -> pa.Array:
    if not path.is_file():
        raise FileNotFoundError(f"Annotation file {path} is missing; unpack the data set's archive again.")
    nothing = pa.array([], pa.large_string())
    if path.stat().st_size == 0:
        return nothing
    try:
        table = csv.read_csv(
            path,
            csv.ReadOptions(column_names=["line"]),
            _WHOLE_LINES,
            csv.ConvertOptions(column_types={"line": pa.large_string()}),
        )
    except PermissionError:
        raise PermissionError(f"Annotation file {path} may not be read; change its permissions.") from None
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):  # nothing but a byte order mark
            return nothing
        raise ValueError(f"Annotation file {path} is no UTF-8 text ({error}); unpack the archive again.") from None
    return pc.ascii_trim_whitespace(table["line"].combine_chunks())


def _labels(folder: Path) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the image ids, and (N,) their class ids."""
    ids = _rows(folder / "image_ids.txt", 1)
    every_once = "it must name at least one image, and each of them once"
    if not len(ids.numbers):
        raise ValueError(f"{ids.path} is empty; {every_once}.")
    ids.refuse_paths_outside(0)
    ids.refuse_repeated_ids(f"; {every_once}")
    labels = _rows(folder / "class_labels.txt", 2)
    labels.refuse_repeated_ids()
    decimal = pc.match_substring_regex(labels.columns[1], rf"^[0-9]{{1,{_LARGEST_LABEL}}}$")
    labels.refuse(~decimal.to_numpy(zero_copy_only=False), "expected a class id, a number from 0 up")
    places = _places_of_all(ids.columns[0], labels)
    return ids.columns[0], labels.columns[1].cast(pa.int64()).to_numpy()[places]


def _places_of_all(image_ids: pa.Array, rows: _Rows) -> NDArray[np.int64]:
    """Return (N,) the place of each image among the rows."""
    if image_ids.equals(rows.columns[0]):
        return np.arange(len(image_ids))
    places = pc.index_in(image_ids, value_set=rows.columns[0])
    if places.null_count:
        _refuse_unknown(rows.path, image_ids, places)
    return places.to_numpy().astype(np.int64)


def _refuse_unknown(path: Path, image_ids: pa.Array, places: pa.Array) -> None:
    first = int(np.argmax(places.is_null().to_numpy(zero_copy_only=False)))
    raise ValueError(
        f"{path} says nothing of image {image_ids[first].as_py()!r}, which image_ids.txt names; download both again."
    )


def _sizes(path: Path, image_ids: pa.Array, optional: bool) -> NDArray[np.int64] | None:
    if optional and not path.is_file():
        return None
    rows = _rows(path, 3)
    if not len(rows.numbers):
        return None
    rows.refuse_repeated_ids()
    sizes = rows.numeric()
    rows.refuse(np.any((sizes < 1) | (sizes % 1 != 0), axis=1), "expected width and height in whole pixels")
    return sizes.astype(np.int64)[_places_of_all(image_ids, rows)][:, ::-1].copy()


def _localize(
    folder: Path, ids: pa.Array, class_ids: NDArray[np.int64], sizes: NDArray[np.int64] | None, located: bool
) -> MetadataSplit:
    """Group boxes or masks by image, those of an image in the order of their lines."""
    path, image_ids = folder / "localization.txt", Strings.from_arrow(ids)
    unlocated = _unlocated(folder, image_ids, class_ids, sizes)
    if not located and not path.is_file():
        return unlocated
    rows = _rows(path, 5, 3)
    if not len(rows.numbers):
        if located:
            raise ValueError(f"{path} is empty; it must have a box or a mask for every image. Download it again.")
        return unlocated
    indices = pc.index_in(rows.columns[0], value_set=ids)
    if indices.null_count:
        line = rows.line(int(np.argmax(indices.is_null().to_numpy(zero_copy_only=False))))
        raise line.error(f"image {line.fields[0]!r} is not in image_ids.txt.")
    places = indices.to_numpy().astype(np.int64)
    counts = np.bincount(places, minlength=len(ids))
    if located and not counts.all():
        _refuse_unknown(path, ids, pc.index_in(ids, value_set=rows.columns[0]))
    order = np.argsort(places, kind="stable")
    ends = np.concatenate([[0], np.cumsum(counts)])
    lines = np.zeros(len(ids), np.int64)
    lines[places[::-1]] = rows.numbers[::-1]
    if len(rows.columns) == 3:
        masks = Strings.from_arrow(rows.columns[1].take(pa.array(order)))
        return MetadataSplit(
            folder,
            image_ids,
            class_ids,
            sizes,
            as_boxes([]),
            masks,
            ends,
            _ignored(rows, places, len(ids)),
            lines,
            rows.numbers[order],
        )
    boxes = _boxes(rows, None if sizes is None else sizes[places])[order]
    return MetadataSplit(
        folder, image_ids, class_ids, sizes, boxes, Strings.of([]), ends, None, lines, rows.numbers[order]
    )


def _boxes(rows: _Rows, sizes: NDArray[np.int64] | None) -> NDArray[np.float32]:
    boxes = rows.numeric()
    rows.refuse(np.any(boxes[:, 2:] < boxes[:, :2], axis=1), "expected x0,y0,x1,y1 with x0 <= x1 and y0 <= y1")
    if sizes is None or sizes.max() > 1:
        refuse_fractions(boxes, str(rows.path))
    return as_boxes(boxes)


def _ignored(rows: _Rows, places: NDArray[np.int64], count: int) -> Strings:
    """Return the ignored region of each image, which one of its lines names."""
    rows.refuse_paths_outside(1)
    rows.refuse_paths_outside(2, may_be_empty=True)
    (given,) = np.nonzero(pc.not_equal(rows.columns[2], "").to_numpy(zero_copy_only=False))
    paths = [""] * count
    for row in given:
        if paths[places[row]]:
            raise rows.line(int(row)).error("the image has an ignored region already; it may have one.")
        paths[places[row]] = rows.columns[2][int(row)].as_py()
    return Strings.of(paths)
