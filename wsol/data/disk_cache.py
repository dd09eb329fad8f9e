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
# Some file systems tell times to two seconds: what changed so shortly before it was read may change again unseen.
_TICK = 2.0

_VERSION = 1
_THREADS = 16


def cache_folder() -> Path:
    """Where what can be made again is kept: WSOL_CACHE, or the user's cache folder."""
    return Path(os.environ.get("WSOL_CACHE") or platformdirs.user_cache_dir("wsol"))


def cached_table(
    kind: str, version: int, sources: Iterable[Path], build: Callable[[], tuple[pa.Table, Iterable[Path]]]
) -> pa.Table:
    """What `build` makes, from the cache if nothing that it read has changed since.

    Changed means: another time or size of a file, or another time of a folder, which adding, removing or renaming an
    entry changes. Of the times both are looked at, that of the contents, which copying programs put back, and that of
    the last change of anything. A file that is rewritten in place shows where it is itself among those read.

    Args:
        kind: what the table holds, for its file's name.
        version: of its form; a new one ignores old files.
        sources: what tells this table from others of its kind; made absolute.
        build: makes the table, and names all files and folders that it has read.
    """
    told = [str(Path(one).absolute()) for one in sources]
    path = cache_folder() / "tables" / f"{kind}-{digest([version, *told])}.parquet"
    found = _load(path)
    if found is not None:
        return found
    started = time.time()
    with _plain_memory():
        table, read = build()
    stamps = {str(Path(one).absolute()): _stamp(one) for one in read}
    if any(stamp is None or stamp[0] > (started - _TICK) * 1e9 for stamp in stamps.values()):
        log.info("%s: changed just now, so that its index is not kept yet.", told[0])
        return table
    try:
        with whole_file(path) as aside:
            kept = {**(table.schema.metadata or {}), _STAMPS: json.dumps(stamps)}
            # Small pieces are decoded in little memory; a dictionary would hold what differs in every row.
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
    if any(_stamp(Path(one)) != stamp for one, stamp in stamps.items()):
        return None
    return table


@contextmanager
def _plain_memory() -> Iterator[None]:
    """Arrow takes memory from the system: its own pool would keep over 100 MB more after a list of a million files."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _stamp(path: Path) -> list[int] | None:
    """Times of modification and of change in ns, and the size of a file; None where nothing is."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_mtime_ns, stat.st_ctime_ns, 0 if path.is_dir() else stat.st_size]


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
