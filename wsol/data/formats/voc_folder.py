"""Read a folder of Pascal VOC annotations, one XML file per image, and find their images."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from wsol.atomic_files import regular_file
from wsol.data.custom.image_files import inside
from wsol.data.disk_cache import cached_table
from wsol.data.formats.voc_xml import parse_voc
from wsol.geometry import Size

_VERSION = 1

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VocFile:
    """Contents of one XML file.

    Attributes:
        stem: its path from the folder of annotations, without suffix.
        path: the file.
        filename: of its image, as written; "" where it is not.
        size: (height, width); None where it is not written.
        names: for each object its class.
        boxes: for each object (xmin, ymin, xmax, ymax) as written.
        difficult: for each object.
        lines: for each object its first line; 0 if unknown.
    """

    stem: str
    path: Path
    filename: str
    size: Size | None
    names: tuple[str, ...]
    boxes: tuple[Box, ...]
    difficult: tuple[bool, ...]
    lines: tuple[int, ...]

    def origin(self, place: int) -> str:
        """Return file and line of an object, for messages."""
        return f"{self.path}, line {self.lines[place]}" if self.lines[place] else str(self.path)


def read_voc_folder(folder: Path) -> list[VocFile]:
    """Read all XML files below a folder, sorted by name, hidden ones excepted; cached until one changes.

    Raises:
        FileNotFoundError: if there is none.
        PermissionError: naming a file or folder that may not be read.
        ValueError: naming file and line of what is malformed.
    """
    table = cached_table("voc", _VERSION, [folder], lambda: _parse_all(folder))
    if not len(table):
        raise FileNotFoundError(f"No XML file is in {folder}.")
    files = []
    for row in table.to_pylist():
        numbers = row["boxes"]
        files.append(
            VocFile(
                stem=row["file"].removesuffix(".xml"),
                path=folder / row["file"],
                filename=row["filename"],
                size=(row["height"], row["width"]) if row["height"] else None,
                names=tuple(row["names"]),
                boxes=tuple(tuple(numbers[start : start + 4]) for start in range(0, len(numbers), 4)),
                difficult=tuple(row["difficult"]),
                lines=tuple(row["lines"]),
            )
        )
    return files


def find_images(files: Sequence[VocFile], listed: Sequence[str]) -> dict[str, str]:
    """Return stem of an XML file -> path of its image; stems whose image does not exist are absent.

    The image is the file that `<filename>` names, in the folder that the XML file is in, or the one with the name of
    the XML file.

    Args:
        files: the annotations.
        listed: paths of all images.

    Raises:
        ValueError: naming the XML file, if name and `<filename>` are those of two images, or several images have its
            name.
    """
    by_stem: dict[str, list[str]] = {}
    for path in listed:
        by_stem.setdefault(path.rpartition(".")[0], []).append(path)
    present, image_of = set(listed), dict[str, str]()
    for file in files:
        named = list[str]()
        if file.filename:
            above = file.stem.rpartition("/")[0]
            name = inside(f"{above}/{file.filename}" if above else file.filename, str(file.path))
            inside(file.filename, str(file.path))  # an absolute one would hide behind the folder
            named = [name] if name in present else by_stem.get(name, [])
        beside = by_stem.get(file.stem, [])
        if named and beside and not set(named) & set(beside):
            raise ValueError(
                f"{file.path}: its <filename> is {file.filename!r}, but {beside[0]} has its own name; it is the "
                "annotation of one of them: correct or rename it."
            )
        candidates = named or beside
        if len(candidates) > 1:
            raise ValueError(f"{file.path}: {' and '.join(candidates)} could be its image; take one of them out.")
        if candidates:
            image_of[file.stem] = candidates[0]
    return image_of


def _parse_all(folder: Path) -> tuple[pa.Table, list[Path]]:
    files, read = list[str](), list[Path]()
    for top, names in _walk(folder):
        read.append(top)
        files += [(top / name).relative_to(folder).as_posix() for name in names if name.lower().endswith(".xml")]
    rows = []
    for name in tqdm(sorted(files), desc="reading annotations", unit="file", delay=2, leave=False, disable=None):
        path = folder / name
        read.append(path)
        try:
            text = regular_file(path).read_bytes()
        except PermissionError:
            raise PermissionError(f"{path} may not be read; change its permissions.") from None
        annotation = parse_voc(text, str(path))
        height, width = annotation.size or (0, 0)
        rows.append(
            {
                "file": name,
                "filename": annotation.filename,
                "height": height,
                "width": width,
                "names": [thing.name for thing in annotation.objects],
                "boxes": [value for thing in annotation.objects for value in thing.box],
                "difficult": [thing.difficult for thing in annotation.objects],
                "lines": [thing.line or 0 for thing in annotation.objects],
            }
        )
    schema = {
        "file": pa.string(),
        "filename": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "names": pa.list_(pa.string()),
        "boxes": pa.list_(pa.float64()),
        "difficult": pa.list_(pa.bool_()),
        "lines": pa.list_(pa.int32()),
    }
    return pa.Table.from_pylist(rows, pa.schema(list(schema.items()))), read


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield folders and the names of the files in them."""

    def refuse(error: OSError) -> None:
        raise PermissionError(f"Folder {error.filename} may not be read; change its permissions.") from None

    for top, below, names in os.walk(folder, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        yield Path(top), [name for name in names if not name.startswith(".")]
