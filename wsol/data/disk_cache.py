"""Keep tables that take long to make on disk until their files change; digest the masks of a split."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from wsol.atomic_files import regular_file, whole_file
from wsol.data.index import Index
from wsol.identity import digest

log = logging.getLogger(__name__)

_STAMPS = b"wsol_stamps"
# Some file systems store times to two seconds: a file that changed just before it was read may change again unseen.
_TICK = 2.0

_VERSION = 1
_THREADS = 16


def cache_folder() -> Path:
    """Return the folder of what can be made again: WSOL_CACHE, or the user's cache folder."""
    return Path(os.environ.get("WSOL_CACHE") or platformdirs.user_cache_dir("wsol"))


def cached_table(
    kind: str, version: int, sources: Iterable[Path], build: Callable[[], tuple[pa.Table, Iterable[Path]]]
) -> pa.Table:
    """Return the table that `build` makes, from the cache if nothing that it read has changed since.

    Changed means: another time or size of a file, or another time of a folder, which adding, removing or renaming an
    entry changes. Both times count: that of the contents, which copying programs restore, and that of the last
    change of anything. A file that is rewritten in place is noticed if it is itself among the files read.

    Args:
        kind: contents of the table, for its file's name.
        version: of the table's form; a new one ignores old files.
        sources: paths that identify this table among others of its kind; made absolute.
        build: makes the table, and names all files and folders that it has read.
    """
    absolute = [str(Path(source).absolute()) for source in sources]
    path = cache_folder() / "tables" / f"{kind}-{digest([version, *absolute])}.parquet"
    cached = _load(path)
    if cached is not None:
        return cached
    started = time.time()
    with _plain_memory():
        table, read = build()
    stamps = {str(Path(path_read).absolute()): _stamp(path_read) for path_read in read}
    if any(stamp is None or stamp[0] > (started - _TICK) * 1e9 for stamp in stamps.values()):
        log.info("%s: changed just now, so that its index is not kept yet.", absolute[0])
        return table
    try:
        with whole_file(path) as aside:
            kept = {**(table.schema.metadata or {}), _STAMPS: json.dumps(stamps)}
            # Small pieces are decoded in little memory; a dictionary would contain a value for every row.
            pq.write_table(
                table.replace_schema_metadata(kept),
                aside,
                compression="zstd",
                use_dictionary=False,
                row_group_size=2**16,
            )
    except OSError as error:  # a read-only home or a full disk costs the time of an index a run, not the run
        log.warning("The index %s cannot be written (%s); it is made again next time.", path, error)
    return table


def _load(path: Path) -> pa.Table | None:
    try:
        with _plain_memory(), pq.ParquetFile(path) as file:  # read_table would import pandas
            table = file.read()
        stamps = json.loads(table.schema.metadata[_STAMPS])
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        log.warning("The index %s cannot be read (%s); it is made again.", path, error)
        return None
    if any(_stamp(Path(file_path)) != stamp for file_path, stamp in stamps.items()):
        return None
    return table


@contextmanager
def _plain_memory() -> Iterator[None]:
    """Let Arrow take memory from the system: its own pool would keep 100 MB after a list of a million files."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _stamp(path: Path) -> list[int] | None:
    """Return times of modification and of change in ns, and the size of a file; None if it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_mtime_ns, stat.st_ctime_ns, 0 if path.is_dir() else stat.st_size]


def mask_digest(index: Index) -> str:
    """Return a digest of the contents of all mask files, wherever they lie; empty if there are none.

    Ten thousand files take seconds to read, so the digest is kept until one of them changes.

    Raises:
        FileNotFoundError: naming a mask that is missing.
    """
    if index.rest is None:
        return ""
    files = [
        path
        for masks in index.rest
        for path in (*masks.mask_paths, *([masks.ignore_path] if masks.ignore_path else []))
    ]
    if not files:
        return ""
    table = cached_table("masks", _VERSION, files, lambda: (pa.table({"digest": [_digest(index, files)]}), files))
    return str(table["digest"][0].as_py())


def _digest(index: Index, files: list[Path]) -> str:
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(_of_file, files)
        digests = iter(list(tqdm(read, "reading masks", len(files), unit="mask", delay=2, leave=False, disable=None)))
    text = hashlib.sha256()
    for image_id, masks in zip(index.image_ids, index.rest or (), strict=True):
        of_masks = [next(digests) for _ in masks.mask_paths]
        ignored = next(digests) if masks.ignore_path else ""
        text.update(f"{image_id}\t{masks.mask_above}\t{of_masks}\t{ignored}\n".encode())
    return text.hexdigest()


def _of_file(path: Path) -> str:
    try:
        return hashlib.sha256(regular_file(path).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise FileNotFoundError(f"Mask {path} is missing; unpack its archive again.") from None
