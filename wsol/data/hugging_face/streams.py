"""Write streamed data sets to the cache folder once, so that their images can be read in any order."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm import tqdm

from wsol.atomic_files import whole_file, write_text
from wsol.data.disk_cache import cache_folder
from wsol.data.hugging_face.arrow_columns import split_name
from wsol.data.hugging_face.splits import HubSource, library, open_splits
from wsol.identity import digest

log = logging.getLogger(__name__)

_VERSION = 1
_SHARD_BYTES = 256 * 2**20  # what an interrupted download loses at most
_SHARD_ROWS = 50_000


def stored_stream(
    source: HubSource,
    wanted: Sequence[str],
    columns: Sequence[str],
    image_column: str,
    max_gib: float,
    shard_bytes: int = _SHARD_BYTES,
) -> dict[str, Any]:
    """Return splits of a streamed data set from the cache folder, after reading missing ones from the stream.

    The stream is kept as Parquet files with the images as they were encoded, in `streams/` of `cache_folder()`, split
    by split. A split counts when its last file is written; a download that was interrupted goes on after the last
    whole file. A local source is read again when one of its files changes. A hub name without revision stays what it
    was when it was first read: delete the folder that the log names to read it again. `datasets` reads Parquet through
    a memory-mapped copy of the same size, which is kept in the same folder.

    Args:
        source: location of the set.
        wanted: names of splits.
        columns: those to keep, dotted where nested; those that a split does not have are passed over.
        image_column: the one that contains the images.
        max_gib: bound on the encoded images of all splits together.
        shard_bytes: of images in a file.

    Returns:
        Split -> `datasets.Dataset`.

    Raises:
        ValueError: if the images take more than max_gib; and as `open_splits`, which raises other errors too.
    """
    datasets = library()
    stamps = [[str(file.absolute()), file.stat().st_mtime_ns, file.stat().st_size] for file in source.files]
    identity = [_VERSION, source.location, source.config, source.revision, sorted(columns), image_column, stamps]
    folder = cache_folder() / "streams" / digest(identity)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        missing = [split for split in wanted if not (folder / f"{split}.json").is_file()]
        if missing:
            log.info("%s: streaming %s to %s.", source.location, ", ".join(missing), folder)
        for split, stream in (open_splits(source, missing, streaming=True) if missing else {}).items():
            kept = _Kept(source.location, columns, image_column, max_gib * 2**30, shard_bytes)
            _store(stream, split, folder, kept)
        stored = {}
        for split in wanted:
            files = [str(folder / name) for name in json.loads((folder / f"{split}.json").read_text())["files"]]
            stored[split] = datasets.Dataset.from_parquet(files, split=split, cache_dir=str(folder / "arrow"))
    return stored


@dataclass(frozen=True)
class _Kept:
    """Columns of a stream that are kept, and the bytes of images, in all and in each file."""

    location: str
    columns: Sequence[str]
    image_column: str
    max_bytes: float
    shard_bytes: int


def _store(stream: Any, split: str, folder: Path, kept: _Kept) -> None:
    datasets, image_column = library(), kept.image_column
    features = stream.features
    if features is None:
        raise ValueError(f"Split {split!r} does not state the types of its columns; leave streaming=false.")
    places = (split_name(name, list(features)) for name in kept.columns)
    tops = list(dict.fromkeys(place[0] for place in places if place is not None))
    stream = stream.select_columns(tops)
    if isinstance(features.get(image_column), datasets.Image):
        stream = stream.cast_column(image_column, datasets.Image(decode=False))
    schema = datasets.Features({name: features[name] for name in tops}).arrow_schema
    files = _whole_shards(folder, split)
    spent = sum(shard.stat().st_size for shard in folder.glob("*.parquet"))
    done = sum(pq.read_metadata(shard).num_rows for shard in files)
    if done:
        log.info("%s: going on after %d rows of split %s.", folder, done, split)
    size, rows = 0, list[dict[str, Any]]()
    for row in _with_progress(stream, split, done):
        image, length = _with_bytes(row.get(image_column), kept.location)
        size += length
        if spent + size > kept.max_bytes:
            raise ValueError(
                f"The images take more than max_stream_gib={kept.max_bytes / 2**30:g}: row {done + len(rows)} of split "
                f"{split!r} would pass it. Raise it, and reading goes on after the last whole file, or delete {folder}."
            )
        rows.append(row if image is None else {**row, image_column: image})
        if size >= kept.shard_bytes or len(rows) >= _SHARD_ROWS:
            files.append(_write(folder, split, len(files), pa.Table.from_pylist(rows, schema)))
            spent, done, size, rows = spent + size, done + len(rows), 0, []
    if rows or not files:
        files.append(_write(folder, split, len(files), pa.Table.from_pylist(rows, schema)))
    write_text(
        folder / f"{split}.json", json.dumps({"files": [shard.name for shard in files], "rows": done + len(rows)})
    )


def _whole_shards(folder: Path, split: str) -> list[Path]:
    """Return the complete files that an interrupted download has left."""
    files: list[Path] = []
    while (path := _shard(folder, split, len(files))).is_file():
        files.append(path)
    return files


def _shard(folder: Path, split: str, number: int) -> Path:
    return folder / f"{split}-{number:05d}.parquet"


def _write(folder: Path, split: str, number: int, table: pa.Table) -> Path:
    path = _shard(folder, split, number)
    with whole_file(path) as aside:
        pq.write_table(table, aside, compression="none", row_group_size=1000)  # images are compressed already
    return path


def _with_progress(stream: Any, split: str, done: int) -> Iterable[dict[str, Any]]:
    info = (stream.info.splits or {}).get(split)
    rows = stream.skip(done) if done else stream
    total = None if info is None or not info.num_examples else info.num_examples
    return tqdm(rows, f"streaming {split}", total, initial=done, unit="image", delay=2, leave=False, disable=None)


def _with_bytes(image: Any, source_path: str) -> tuple[Any, int]:
    """Return an encoded image with its bytes, read where the row only names their place; and their number.

    Raises:
        ValueError: if the row names a file of this machine outside the data set's folder.
    """
    if isinstance(image, dict) and image.get("bytes") is None and image.get("path"):
        place = str(image["path"]).rpartition("::")[2]  # zip://bird.jpg::hf://... lies where its last part does
        local, folder = Path(place.removeprefix("file://")), Path(source_path)
        inside = folder.is_dir() and local.resolve().is_relative_to(folder.resolve())
        if not (place.startswith(("hf://", "http://", "https://")) or inside):
            raise ValueError(f"{source_path}: a row names the file {place}, which is not part of the data set.")
        with fsspec.open(image["path"], "rb") as file:
            image = {"bytes": file.read(), "path": image["path"]}
    data = image.get("bytes") if isinstance(image, dict) else image
    return image, len(data) if isinstance(data, bytes) else 0
