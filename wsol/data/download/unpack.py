"""Unpack archives whose checksum was verified, so that no member leaves the folder and none fills the disk."""

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

_CHUNK = 2**20
_SPECIAL = "a link, a device or another special file"
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class Unpacked:
    """Counts of an unpacked archive."""

    files: int
    size: int  # bytes
    left_out: int  # members outside the wanted folder


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: str  # `file`, `folder`, or what else it is
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: Path, folder: Path, *, max_bytes: int, inside: str | None = None, progress: bool = True
) -> Unpacked:
    """Unpack a .tar, .tar.gz or .zip into a new folder, which takes its name when everything is in it.

    Its content decides what kind of archive it is. Permissions, owners and dates are not taken over.

    Args:
        archive: the file.
        folder: must not exist, or be empty.
        max_bytes: bound on the size of all files together.
        inside: unpack only what lies in this folder of the archive, without the folder itself.
        progress: show a bar where the output is a terminal.

    Raises:
        FileNotFoundError: if there is no archive.
        FileExistsError: if the folder contains something.
        ValueError: naming archive, member and remedy, if the archive is damaged, of another kind, too large, or has a
            member that would leave the folder, is a link or a device, or occurs twice.
        OSError: if there is no room.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"Archive {archive} is missing; download it again.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already; move it away to unpack {archive} again.")
    packed, free = archive.stat().st_size, shutil.disk_usage(archive.parent).free
    if free < packed:  # nothing unpacks to less; the final size is unknown
        raise OSError(
            f"{folder.parent} has {free:,} bytes free, fewer than {archive} ({packed:,}) unpacks to; make room."
        )
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # left by a run that was stopped
    aside.mkdir(parents=True)
    try:
        unpacked = _write_members(archive, aside, max_bytes, inside, progress)
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    except _DAMAGED as error:
        raise ValueError(
            f"Archive {archive} is damaged, or no .tar, .tar.gz or .zip ({error or type(error).__name__}); nothing was "
            "unpacked. Delete it and download it again."
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return unpacked


def _write_members(archive: Path, aside: Path, max_bytes: int, inside: str | None, progress: bool) -> Unpacked:
    files = size = left_out = 0
    hidden = None if progress else True
    title = f"unpacking {archive.name}"
    with (
        closing(_members(archive)) as members,
        tqdm(desc=title, unit="B", unit_scale=True, delay=1, leave=False, disable=hidden) as bar,
    ):
        for member in members:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            # On Windows a drive or a backslash leaves the folder, too.
            if member.name.startswith("/") or ".." in parts or any(sign in member.name for sign in "\\:\0"):
                raise _refused(archive, f"has a member that would leave the folder: {member.name!r}")
            if member.kind not in ("file", "folder"):
                raise _refused(archive, f"has {member.kind}: {member.name!r}")
            size += member.size
            if size > max_bytes:
                raise _refused(archive, f"unpacks to more than the {max_bytes:,} bytes allowed")
            if inside is not None and parts[:1] != [inside]:
                left_out += 1
                size -= member.size
                continue
            target = aside.joinpath(*parts[0 if inside is None else 1 :])
            try:
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                source = member.open()
                assert source is not None
                with source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, _CHUNK)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise _refused(archive, f"gives {member.name!r} twice, or as a file and as a folder") from None
            files += 1
            bar.update(member.size)
    if files == 0:
        raise _refused(archive, "holds no file" + ("" if inside is None else f" in a folder {inside!r}"))
    return Unpacked(files, size, left_out)


def _members(archive: Path) -> Generator[_Member, None, None]:
    with archive.open("rb") as file:  # zipfile.is_zipfile is also true of a tar whose last member is a zip
        is_zip = file.read(4) in (b"PK\3\4", b"PK\5\6")
    if is_zip:
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = "folder" if info.is_dir() else "file"
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    kind = _SPECIAL
                # The name as written in the archive: zipfile cuts it at a NUL.
                yield _Member(info.orig_filename, info.file_size, kind, lambda info=info: packed.open(info))  # type: ignore[misc]
        return
    with tarfile.open(archive) as tar:
        for entry in tar:
            kind = "folder" if entry.isdir() else "file" if entry.isfile() else _SPECIAL
            yield _Member(entry.name, entry.size, kind, lambda entry=entry: tar.extractfile(entry))  # type: ignore[misc]


def _refused(archive: Path, what: str) -> ValueError:
    return ValueError(
        f"Archive {archive} {what}; nothing was unpacked. Delete it and download it again from its official source."
    )
