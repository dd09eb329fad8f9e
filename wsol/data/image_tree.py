"""List the image files below a folder."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.disk_cache import cached_table
from wsol.data.shared_strings import Strings

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_VERSION = 2
_FOLDERS = b"wsol_folders"
_THREADS = 16  # a folder on a network drive answers slowly, and many at once no slower


@dataclass(frozen=True)
class ImageTree:
    """The images below a folder.

    Attributes:
        files: N paths from there with forward slashes, sorted; each after the prefix.
        folders: names of the folders at the top that hold some, sorted; "" means the top itself.
        folder_ids: (N,) int64, which of them each file is in, at any depth.
    """

    files: Strings
    folders: tuple[str, ...]
    folder_ids: NDArray[np.int64]


def list_images(root: Path, prefix: str = "") -> ImageTree:
    """List all files with the suffix of an image; hidden ones are skipped, linked folders followed once.

    A million files take seconds, or minutes over a network, so the list is kept until a folder changes.

    Args:
        root: the folder.
        prefix: put before every path; `train/` for the folder train of a data set.

    Raises:
        FileNotFoundError: if there is no such folder.
        PermissionError: naming a folder that may not be read.
        ValueError: naming a file whose name is not UTF-8.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"No folder of images at {root}.")
    kind = "-".join(["images", *prefix.split("/")]).rstrip("-")
    table = cached_table(kind, _VERSION, [root], lambda: _scan(root, prefix))
    tops = table["folder"].to_numpy()
    names = table.schema.metadata[_FOLDERS].decode().split("/") if len(tops) else []
    return ImageTree(Strings.from_arrow(table["file"]), tuple(names), tops.astype(np.int64))


def _scan(root: Path, prefix: str) -> tuple[pa.Table, list[Path]]:
    parts, seen, level = list[pa.Array](), set[tuple[int, int]](), [(False, "")]
    folders = list[Path]()
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(desc=f"looking for images in {root.name}", unit="image", delay=2, leave=False, disable=None) as bar,
    ):
        while level:
            new = []
            for _, folder in sorted(level):  # links last, so that a folder is listed by its own name
                stat = (root / folder).stat()
                if (stat.st_dev, stat.st_ino) not in seen:  # a link that leads back up would never end
                    seen.add((stat.st_dev, stat.st_ino))
                    new.append(folder)
            level = []
            for folder, (files, below) in zip(new, pool.map(lambda path: _list(root, path), new), strict=True):
                folders.append(root / folder)
                parts.append(_as_array(root, files))
                level += below
                bar.update(len(files))
    files = pa.chunked_array(parts, pa.large_string()).combine_chunks()
    files = files.take(pc.sort_indices(files))
    first = pc.extract_regex(files, r"^(?P<top>[^/]*)/")
    tops = pc.fill_null(pc.struct_field(first, "top"), "").dictionary_encode()
    order = pc.sort_indices(tops.dictionary)
    places = np.argsort(order.to_numpy())[tops.indices.to_numpy()]
    if prefix:
        files = pc.binary_join_element_wise(pa.scalar(prefix, files.type), files, pa.scalar("", files.type))
    # The name of a folder contains no slash.
    metadata = {_FOLDERS: "/".join(tops.dictionary.take(order).to_pylist())}
    return pa.table({"file": files, "folder": places.astype(np.int32)}).replace_schema_metadata(metadata), folders


def _as_array(root: Path, files: list[str]) -> pa.Array:
    try:
        return pa.array(files, pa.large_string())
    except UnicodeEncodeError as error:
        raise ValueError(f"The file {error.object!a} in {root} has a name that is not UTF-8; rename it.") from None


def _list(root: Path, folder: str) -> tuple[list[str], list[tuple[bool, str]]]:
    """List images and folders inside one folder, as paths from the root; of a folder also whether it is a link."""
    files, folders = [], []
    for entry in entries_of(root / folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):  # what file managers and archives leave behind
            continue
        if entry.name.lower().endswith(SUFFIXES):
            files.append(path)
        elif entry.is_dir():
            folders.append((entry.is_symlink(), path))
    return files, folders


def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder contains; a PermissionError names a folder that may not be read."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except PermissionError:
        raise PermissionError(f"Folder {folder} may not be read; change its permissions.") from None
