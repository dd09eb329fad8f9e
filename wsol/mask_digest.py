"""What a split's masks say, in a few bytes."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from wsol.cached_table import cached_table
from wsol.index import Index
from wsol.whole_files import regular_file

_VERSION = 1
_THREADS = 16


def mask_digest(index: Index) -> str:
    """Stands for the contents of all mask files of the images, wherever they lie; empty where there are none.

    Ten thousand files take seconds to read, so the digest is kept until one of them changes.

    Raises:
        FileNotFoundError: naming a mask that is missing.
    """
    if index.rest is None:
        return ""
    files = [path for one in index.rest for path in (*one.mask_paths, *([one.ignore_path] if one.ignore_path else []))]
    if not files:
        return ""
    table = cached_table("masks", _VERSION, files, lambda: (pa.table({"digest": [_digest(index, files)]}), files))
    return str(table["digest"][0].as_py())


def _digest(index: Index, files: list[Path]) -> str:
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(_of_file, files)
        found = iter(list(tqdm(read, "reading masks", len(files), unit="mask", delay=2, leave=False, disable=None)))
    text = hashlib.sha256()
    for image_id, one in zip(index.image_ids, index.rest or (), strict=True):
        told = [next(found) for _ in one.mask_paths]
        ignored = next(found) if one.ignore_path else ""
        text.update(f"{image_id}\t{one.mask_above}\t{told}\t{ignored}\n".encode())
    return text.hexdigest()


def _of_file(path: Path) -> str:
    try:
        return hashlib.sha256(regular_file(path).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise FileNotFoundError(f"Mask {path} is missing; unpack its archive again.") from None
