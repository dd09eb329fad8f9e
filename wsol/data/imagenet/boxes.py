"""Read boxes of ImageNet's images from XML (folders, tars), Kaggle's CSV, and the field's metadata.

Coordinates are read as edges without conversion, as in the field's metadata, whose lists were made from the same files
(Choe et al., CVPR 2020), and numbers then agree with it.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.atomic_files import regular_file
from wsol.data.disk_cache import cached_table
from wsol.data.formats.box_format import refuse_fractions
from wsol.data.formats.metadata_files import read_split
from wsol.data.formats.text_lines import Line, read_lines
from wsol.data.formats.voc_xml import parse_voc
from wsol.data.imagenet.files import is_tar, read_members, xml_files
from wsol.data.imagenet.labels import imagenet_wnids
from wsol.data.index import Index
from wsol.data.shared_strings import Strings

_VERSION = 1
_THREADS = 16  # a network drive serves one file slowly, and many at once no slower
_AT_ONCE = 4096
_LARGEST = 2**20  # an annotation is below 10 KiB; a forged tar must not fill the memory

# A row is a box: image key, wnid as written, x0, y0, x1, y1, width, height (0: unknown), place in the source, problem.
_Row = tuple[str, str, float, float, float, float, int, int, str, str]
_SCHEMA = pa.schema(
    [("image", pa.large_string()), ("wnid", pa.large_string())]
    + [(name, pa.float32()) for name in ("x0", "y0", "x1", "y1")]
    + [(name, pa.int32()) for name in ("width", "height")]
    + [(name, pa.large_string()) for name in ("origin", "problem")]
)


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """The boxes of G images from one source.

    Attributes:
        source: the file or folder.
        images: (G,) their keys, unique: the file name without suffix, or `<class>/<file>` of ImageNetV2.
        ends: (G + 1,) int64: the boxes of image g are ends[g] ... ends[g + 1].
        boxes: (M, 4) float32 edges.
        wnids: (M,) name of each box's object, as written.
        sizes: (G, 2) int32 height and width; 0, 0 where the source states none.
        box_origins: (M,) place of each box, below or in the source.
        problems: (G,) what is wrong with an image's annotation, as a message; empty: nothing.
    """

    source: Path
    images: pa.Array
    ends: NDArray[np.int64]
    boxes: NDArray[np.float32]
    wnids: pa.Array
    sizes: NDArray[np.int32]
    box_origins: pa.Array
    problems: pa.Array

    @property
    def counts(self) -> NDArray[np.int64]:
        """(G,) number of boxes of each image."""
        return np.diff(self.ends)

    def find(self, keys: pa.Array) -> NDArray[np.int64]:
        """Return the place of each key; -1 for an image that the source does not name."""
        places = pc.index_in(keys, value_set=self.images)
        return pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    def first_wnids(self) -> pa.Array:
        """Return (G,) the name of each image's first object."""
        return self.wnids.take(pa.array(self.ends[:-1]))

    def differs(self, wnids: pa.Array) -> NDArray[np.bool_]:
        """Return (M,) whether an object's name differs from its image's, from (G,) wnids of those; null: unknown."""
        wanted = wnids.take(pa.array(np.repeat(np.arange(len(self.images)), self.counts)))
        return pc.fill_null(pc.not_equal(self.wnids, wanted), False).to_numpy(zero_copy_only=False)

    def any_of(self, of_boxes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (G,) whether any box of an image is marked, from (M,) marks."""
        sums = np.concatenate([[0], np.cumsum(of_boxes)])
        return sums[self.ends[1:]] > sums[self.ends[:-1]]

    def origin(self, place: int) -> str:
        """Return file and line of the first of an image's boxes."""
        return self.box_origin(int(self.ends[place]))

    def box_origin(self, place: int) -> str:
        """Return file and line of one of the M boxes."""
        return _prefix(self.source) + self.box_origins[place].as_py()

    def index(self, places: NDArray[np.int64], files: Index) -> Index:
        """Return the images of `files` with their boxes.

        Args:
            places: (N,) of each of its images, none -1.
            files: N images without boxes.
        """
        keys = Strings.from_arrow(self.images)
        boxed = Index(
            image_ids=keys,
            class_ids=torch.zeros(len(keys), dtype=torch.int64),
            folder="",
            paths=keys,
            boxes=torch.from_numpy(self.boxes),
            box_ends=torch.from_numpy(self.ends),
            box_origins=Strings.from_arrow(self.box_origins),
        ).select(places)
        assert boxed.box_origins is not None
        origins = prefixed(_prefix(self.source), boxed.box_origins.to_arrow())
        return Index(
            image_ids=files.image_ids,
            class_ids=files.class_ids,
            folder=files.folder,
            paths=files.paths,
            boxes=boxed.boxes,
            box_ends=boxed.box_ends,
            sizes=torch.from_numpy(self.sizes[places]) if self.sizes[places].any() else None,
            origins=Strings.from_arrow(origins.take(pa.array(boxed.box_ends.numpy()[:-1]))),
            box_origins=Strings.from_arrow(origins),
        )


def read_image_boxes(source: Path) -> ImageBoxes:
    """Read the boxes of a folder or tar of XML, a solution .csv, or a folder of the field's metadata.

    What is parsed is kept until the source changes; of a folder, until a file is added, removed or renamed. An
    annotation that is malformed is a `problem` of its image: the caller decides whether that image is wanted.

    Raises:
        FileNotFoundError: naming a missing file of the metadata.
        ValueError: if the source as a whole cannot be read, an image occurs twice, or its boxes are fractions.
    """
    table = cached_table("imagenet-boxes", _VERSION, [source], lambda: _build(source))
    image, wnid, origin, problem = (_column(table, name) for name in ("image", "wnid", "origin", "problem"))
    codes = image.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts, len(table)).astype(np.int64)
    boxes = np.stack([_column(table, name).to_numpy() for name in ("x0", "y0", "x1", "y1")], axis=1)
    sizes = np.stack([_column(table, name).to_numpy() for name in ("height", "width")], axis=1)[starts]
    firsts = pa.array(starts)
    if boxes.any():  # a malformed annotation has zeros
        refuse_fractions(boxes, str(source), "multiply them, or download the published file again")
    return ImageBoxes(source, image.take(firsts), ends, boxes, wnid, sizes, origin, problem.take(firsts))


def prefixed(prefix: str, strings: pa.Array) -> pa.Array:
    """Return each string after a prefix; a million take milliseconds."""
    return pc.binary_join_element_wise(pa.scalar(prefix, pa.large_string()), strings, pa.scalar("", pa.large_string()))


def _build(source: Path) -> tuple[pa.Table, list[Path]]:
    if source.is_dir() and (source / "localization.txt").is_file():
        names = ("image_ids", "class_labels", "image_sizes", "localization")
        return _table(_metadata_rows(source)), [source / f"{name}.txt" for name in names]
    if source.is_dir():
        files = sorted(xml_files(source))
        table = _table(_xml_rows(_read_files(files, source), source, len(files)))
        # A malformed file may be put right in place, which leaves the folder's time as it is.
        bad = set(pc.unique(table.filter(pc.not_equal(table["problem"], ""))["image"]).to_pylist())
        folders = [folder for folder in source.iterdir() if folder.is_dir()]  # also those without XML files yet
        return table, [source, *folders, *(file for file in files if file.stem in bad)]
    rows = _xml_rows(read_members(source, _is_xml, _LARGEST), source) if is_tar(source) else _csv_rows(source)
    return _table(rows), [source]


def _table(rows: Iterable[_Row]) -> pa.Table:
    """Collect rows in batches: Python's own objects for half a million files would take a gigabyte."""
    batches, batch = [], list[_Row]()
    for row in rows:
        if len(batch) >= _AT_ONCE and row[0] != batch[-1][0]:
            batches.append(_batch(batch))
            batch = []
        batch.append(row)
    return pa.Table.from_batches([*batches, _batch(batch)], _SCHEMA).combine_chunks()


def _batch(rows: list[_Row]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)


def _prefix(source: Path) -> str:
    # In a folder an origin starts with a file below it, in a file with a line or a member.
    return f"{source}/" if source.is_dir() else f"{source}, "


def _bad(image: str, origin: str, problem: str) -> _Row:
    return (image, "", 0, 0, 0, 0, 0, 0, origin, problem)


def _xml_rows(texts: Iterable[tuple[str, bytes]], source: Path, total: int | None = None) -> Iterator[_Row]:
    """Yield the rows of annotation files, each given with its name in the source."""
    seen: dict[str, str] = {}
    title = f"reading boxes of {source.name}"
    for name, text in tqdm(texts, desc=title, total=total, unit="file", delay=2, leave=False, disable=None):
        image, origin = PurePosixPath(name).stem, _prefix(source) + name
        if image in seen:
            raise ValueError(f"{source} annotates {image} twice, in {seen[image]} and {name}; delete one of them.")
        seen[image] = name
        try:
            annotation = parse_voc(text, origin)
        except ValueError as error:
            yield _bad(image, name, str(error))
            continue
        if not annotation.objects:
            yield _bad(image, name, f"{origin}: holds no <object>, so no box; unpack its archive again.")
        height, width = annotation.size or (0, 0)
        for thing in annotation.objects:
            where = name if thing.line is None else f"{name}, line {thing.line}"
            yield (image, thing.name, *thing.box, width, height, where, "")


def _read_files(files: list[Path], folder: Path) -> Iterator[tuple[str, bytes]]:
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), _AT_ONCE):
            chunk = files[start : start + _AT_ONCE]
            for path, text in zip(chunk, pool.map(_read, chunk), strict=True):
                yield path.relative_to(folder).as_posix(), text


def _read(path: Path) -> bytes:
    try:
        return regular_file(path).read_bytes()
    except PermissionError:
        raise PermissionError(f"Annotation file {path} may not be read; change its permissions.") from None


def _is_xml(member: str) -> bool:
    name = PurePosixPath(member)
    return name.suffix == ".xml" and not name.name.startswith(".")


def _csv_rows(path: Path) -> Iterator[_Row]:
    seen: dict[str, str] = {}
    for line in read_lines(path, 2, ",", maxsplit=1):
        image, text = line.fields
        if not seen:
            if (image, text) != ("ImageId", "PredictionString"):
                raise line.error(f"expected the header ImageId,PredictionString, got {image},{text}.")
            seen[image] = ""
            continue
        if image in seen:
            raise line.error(f"{image!r} is given a second time, after {seen[image]}.")
        where = seen[image] = f"line {line.number}"
        try:
            objects = _objects(line, text.split())
        except ValueError as error:
            yield _bad(image, where, str(error))
            continue
        for wnid, (x0, y0, x1, y1) in objects:
            yield (image, wnid, x0, y0, x1, y1, 0, 0, where, "")


def _objects(line: Line, words: list[str]) -> list[tuple[str, list[float]]]:
    if not words or len(words) % 5:
        raise line.error(f"expected wnid x0 y0 x1 y1, once or more, got {' '.join(words)!r}.")
    objects = []
    for start in range(0, len(words), 5):
        box = Line(line.path, line.number, words[start + 1 : start + 5]).numbers(0)
        if box[2] < box[0] or box[3] < box[1]:
            raise line.error(f"expected x0 <= x1 and y0 <= y1, got {' '.join(words[start : start + 5])}.")
        objects.append((words[start], box))
    return objects


def _metadata_rows(folder: Path) -> Iterator[_Row]:
    """Yield the rows of the field's four text files; class ids are places among the 1,000 sorted wnids."""
    wnids, split = imagenet_wnids(), read_split(folder)
    if len(split.masks):
        raise ValueError(f"{split.localization} names masks, but ImageNet has boxes; download the files again.")
    seen: dict[str, str] = {}
    for place, (image_id, class_id) in enumerate(zip(split.image_ids, split.class_ids.tolist(), strict=True)):
        if class_id >= len(wnids):
            labels = read_lines(folder / "class_labels.txt", 2, ",")
            line = next(line for line in labels if line.fields[0].strip() == image_id)
            raise line.error(f"expected a class id in 0 ... {len(wnids) - 1}, got {class_id}.")
        key = _metadata_key(image_id)
        if key in seen:
            raise ValueError(
                f"{folder / 'image_ids.txt'}: {image_id!r} and {seen[key]!r} are one image; take one of them out."
            )
        seen[key] = image_id
        height, width = (0, 0) if split.sizes is None else split.sizes[place].tolist()
        for box in range(split.ends[place], split.ends[place + 1]):
            where = f"localization.txt, line {split.box_lines[box]}"
            x0, y0, x1, y1 = split.boxes[box].tolist()
            yield (key, wnids[class_id], x0, y0, x1, y1, width, height, where, "")


def _metadata_key(image_id: str) -> str:
    path = PurePosixPath(image_id)
    return path.stem if path.parts[0] == "val" else image_id.removeprefix("val2/")
