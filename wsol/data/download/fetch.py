"""Download data sets of the catalog, and unpack them below the data root."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from wsol.data.download.catalog import CATALOG, RemoteFile, Source
from wsol.data.download.download import download, is_right, locked
from wsol.data.download.unpack import unpack


def fetch(
    source: str | Source,
    data_root: Path,
    *,
    keep: bool = False,
    progress: bool = True,
    wait: Callable[[float], object] = time.sleep,
) -> list[str]:
    """Download, verify and unpack the parts of a data set that do not exist yet.

    Files go to `<data_root>/.downloads/<name>` first, where the next call continues a transfer that was cut off. A
    folder or file takes its final name when it is complete and its checksum right. An existing folder is left alone,
    whatever it contains.

    Args:
        source: a name in the catalog, or an entry like those there.
        data_root: the folder of the data sets; it is created if it is missing.
        keep: leave the archives in `.downloads`.
        progress: show bars where the output is a terminal.
        wait: see `download`.

    Returns:
        Lines that report each step.

    Raises:
        ValueError: for an unknown name, naming all; for a data set that cannot be downloaded, with how to get it; and
            for wrong bytes or a bad archive.
        ConnectionError: if a file cannot be downloaded.
        OSError: if there is no room, or a folder cannot be made.
    """
    source = find_source(source) if isinstance(source, str) else source
    if not source.fetchable:
        by_hand = source.by_hand.replace("DATA", str(data_root))
        raise ValueError(f"{source.title} cannot be fetched: {source.why_not}. {by_hand}")
    downloads = data_root / ".downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with locked(downloads / source.name):
        for file in source.files:
            lines += _fetch_file(file, data_root, downloads / source.name, keep, progress, wait)
        _remove_if_empty(downloads / source.name)
    return lines + ([source.note] if source.note else [])


def find_source(name: str) -> Source:
    """Return the catalog's entry of that name.

    Raises:
        ValueError: naming all entries, if there is none.
    """
    if name not in CATALOG:
        raise ValueError(f"There is no data set {name!r}; choose from {', '.join(CATALOG)}.")
    return CATALOG[name]


def is_present(file: RemoteFile, data_root: Path) -> bool:
    """Return whether a file's target exists: a folder that is not empty, or a file with the right checksum."""
    target = data_root / file.target
    if file.max_bytes is not None:
        return target.is_dir() and any(target.iterdir())
    return target.is_file() and is_right(file, target)


def _fetch_file(
    file: RemoteFile,
    data_root: Path,
    downloads: Path,
    keep: bool,
    progress: bool,
    wait: Callable[[float], object],
) -> list[str]:
    target = data_root / file.target
    if is_present(file, data_root):
        return [f"{target} exists already."]
    lines = []
    if file.max_bytes is None and target.exists():
        lines.append(f"{target} is not the published file (size or checksum); replaced, and kept as {_kept(target)}.")
    archive = downloads / file.name
    how = "downloaded" if download(file, archive, progress=progress, wait=wait) else "was in .downloads"
    lines.append(f"{file.name}: {how}, {file.size:,} bytes; sha256 is right.")
    if file.max_bytes is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.replace(target, _kept(target))
        os.replace(archive, target)
        return [*lines, f"Put at {target}."]
    done = unpack(archive, target, max_bytes=file.max_bytes, inside=target.name, progress=progress)
    lines.append(f"Unpacked to {target}: {done.files:,} files, {done.size:,} bytes.")
    if done.left_out:
        lines.append(f"Left out of {file.name}: {done.left_out:,} that lie outside its folder {target.name}.")
    if not keep:
        archive.unlink()
        lines.append(f"Removed {archive}.")
    return lines


def _kept(target: Path) -> Path:
    """Return the path to which a file that somebody has edited is moved."""
    return target.with_name(f"{target.name}.before")


def _remove_if_empty(folder: Path) -> None:
    """Remove a download folder that contains nothing but lock files."""
    if folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir()):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
