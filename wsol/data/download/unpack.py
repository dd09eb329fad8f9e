"""Unpack archives so that no member leaves the folder and no archive fills the disk."""

import gzip
import logging
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from tqdm import tqdm

log = logging.getLogger(__name__)

_CHUNK = 2**20
# No header of an honest tar is larger; a forged one would be read into memory whole.
_LARGEST_READ = 16 * 2**20
_BLOCK = 512
_DRIVE = re.compile(r"[A-Za-z]:")  # on Windows it leaves the folder from any place in a path
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
)


@dataclass(frozen=True)
class Unpacked:
    """Counts of an unpacked archive."""

    files: int
    size: int  # bytes
    left_out: int  # members outside the wanted folder


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # by its header
    kind: str  # "file", "folder", or what it is instead
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int,
    max_files: int = 200_000,
    inside: str | None = None,
    progress: bool = True,
) -> Unpacked:
    """Unpack a .tar, .tar.gz or .zip into a new folder, whole or not at all.

    The content decides the kind of archive, not the name. Members are written to a hidden folder beside the target,
    which takes the target's name at the end; the caller must let only one process unpack into one folder. Files and
    folders get the permissions of any new file; an archive's own modes and owners are not taken over.

    Args:
        archive: the file.
        folder: path of the new folder; it must not exist, or be empty.
        max_bytes: bound on the bytes written, counted while writing, whatever the headers claim.
        max_files: bound on the number of members.
        inside: unpack only what lies in this top folder of the archive, without its name; None: everything.
        progress: show a bar where the output is a terminal.

    Raises:
        FileNotFoundError: if there is no such archive.
        FileExistsError: if the folder is not empty.
        ValueError: naming archive, member and remedy, if the archive is damaged, encrypted, of another kind, too large,
            or has a member that would leave the folder, is a link or a device, or is given twice.
        OSError: if there is no room.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"Archive {archive} is missing; download it again.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already; move it away to unpack {archive} again.")
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # left by a run that was stopped
    aside.mkdir(parents=True)
    try:
        _check_room(archive, aside)
        done = _write_members(archive, aside, max_bytes, max_files, inside, progress)
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return done


def _write_members(
    archive: Path, aside: Path, max_bytes: int, max_files: int, inside: str | None, progress: bool
) -> Unpacked:
    members = _zip_members(archive, max_bytes) if _is_zip(archive) else _tar_members(archive, aside, max_bytes)
    count = files = size = seen = left_out = 0
    tops: set[str] = set()
    bar = tqdm(
        desc=f"unpacking {archive.name}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        delay=1,
        leave=False,
        disable=None if progress else True,
    )
    with closing(members), bar:
        try:
            for member in members:
                count += 1
                if count > max_files:
                    raise _refused(archive, f"holds more than {max_files:,} members")
                parts = _parts(archive, member)
                seen += member.size  # also members that are left out: reading past them takes time
                if seen > max_bytes:
                    raise _too_large(archive, max_bytes)
                tops.update(parts[:1])
                if inside is not None and parts[:1] != [inside]:
                    left_out += 1
                    continue
                target = aside.joinpath(*parts[0 if inside is None else 1 :])
                try:
                    if member.kind == "folder":
                        target.mkdir(parents=True, exist_ok=True)
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("xb") as file:
                        size += _copy(archive, member, file, max_bytes, size, bar)
                except (FileExistsError, NotADirectoryError, IsADirectoryError):
                    raise _refused(archive, f"gives {member.name!r} twice, or as a file and as a folder") from None
                files += 1
        except _DAMAGED as error:
            raise _damaged(archive, f"{error}" or type(error).__name__) from None
    if files == 0:
        wanted = "no file" if inside is None else f"no file in a folder {inside!r}, but {sorted(tops)}"
        raise _refused(archive, f"holds {wanted}")
    return Unpacked(files, size, left_out)


def _copy(archive: Path, member: _Member, file: IO[bytes], max_bytes: int, so_far: int, bar: "tqdm[Any]") -> int:
    written = 0
    with member.open() as source:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if so_far + written > max_bytes:
                raise _too_large(archive, max_bytes)
            file.write(chunk)
            bar.update(len(chunk))
    if written != member.size:
        raise _damaged(archive, f"{member.name!r} has {written:,} bytes where its header says {member.size:,}")
    return written


def _parts(archive: Path, member: _Member) -> list[str]:
    """Return the folders and the name of a member, below the target folder."""
    name = member.name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or any(map(_DRIVE.match, parts)):
        raise _refused(archive, f"has a member that would leave the folder: {name!r}")
    if member.kind not in ("file", "folder"):
        raise _refused(archive, f"has {member.kind}: {name!r}")
    if member.size < 0:
        raise _damaged(archive, f"{name!r} has a size of {member.size}")
    if not parts and member.kind == "file":
        raise _refused(archive, f"has a file without a name: {name!r}")
    return parts


def _is_zip(archive: Path) -> bool:
    with archive.open("rb") as file:  # zipfile.is_zipfile is also true of a tar whose last member is a zip
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


def _zip_members(archive: Path, max_bytes: int) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        if sum(info.file_size for info in members) > max_bytes:
            raise _too_large(archive, max_bytes)
        for info in members:
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() or stat.S_ISDIR(mode) else "file"
            if info.flag_bits & 1:
                raise _refused(archive, f"is encrypted ({info.filename!r})")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(archive, f"is packed in a way that is not known here ({info.filename!r})")
            if stat.S_ISLNK(mode):
                kind = "a symbolic link"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "a device or another special file"
            # The name as written in the archive: zipfile cuts it at a NUL.
            yield _Member(info.orig_filename, info.file_size, kind, lambda info=info: file.open(info))  # type: ignore[misc]


def _tar_members(archive: Path, aside: Path, max_bytes: int) -> Generator[_Member, None, None]:
    with archive.open("rb") as raw, ExitStack() as stack:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
        guarded = _GuardedFile(cast(IO[bytes], file))
        with tarfile.open(fileobj=cast(IO[bytes], guarded), mode="r:") as tar:
            while (info := _next(tar)) is not None:
                yield _Member(info.name, info.size, _tar_kind(info, aside), lambda info=info: _contents(tar, info))  # type: ignore[misc]
        # tarfile takes a header that it cannot read for the end of the archive.
        if guarded.last == b"":
            log.warning("%s ends without the mark of its end.", archive)
        elif guarded.last.strip(b"\0") or len(guarded.last) != _BLOCK:
            raise tarfile.ReadError("a header in the middle is damaged")
        rest = 0
        while chunk := guarded.read(_CHUNK):  # to the checksum at the end of a gzip
            rest += len(chunk)
            if rest > max_bytes:
                raise _too_large(archive, max_bytes)


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except (ValueError, OverflowError) as error:  # a header with something else where a number should be
        raise tarfile.ReadError(f"{error}") from None


def _tar_kind(info: tarfile.TarInfo, aside: Path) -> str:
    if info.issym() or info.islnk():
        return f"a link to {info.linkname!r}"
    if not info.isfile() and not info.isdir():
        return "a device or another special file"
    if hasattr(tarfile, "data_filter"):  # since Python 3.11.4; a second line of defence behind the checks of names
        try:
            tarfile.data_filter(info, str(aside))
        except tarfile.FilterError as error:
            return f"a member that is refused ({error})"
    return "folder" if info.isdir() else "file"


def _contents(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name!r} has no contents")
    return file


class _GuardedFile:
    """File that `tarfile` reads a tar from: it refuses reads that no honest header asks for, and keeps the last one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        """Read at most this many bytes."""
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes")
        self.last = self._file.read(size)
        return self.last

    def seek(self, position: int) -> int:
        """Go to a position, counted from the start."""
        return self._file.seek(position)

    def tell(self) -> int:
        """Return the position, counted from the start."""
        return self._file.tell()


def _check_room(archive: Path, folder: Path) -> None:
    packed, free = archive.stat().st_size, shutil.disk_usage(folder).free
    if free < packed:  # nothing unpacks to less; the final size is unknown
        raise OSError(
            f"{folder.parent} has {free:,} bytes free, fewer than {archive} ({packed:,}) unpacks to; make room."
        )


def _refused(archive: Path, what: str) -> ValueError:
    return ValueError(
        f"Archive {archive} {what}; nothing was unpacked. Delete it and download it again from its official source."
    )


def _damaged(archive: Path, what: str) -> ValueError:
    return ValueError(
        f"Archive {archive} is damaged, or no .tar, .tar.gz or .zip ({what}); nothing was unpacked. Delete it and "
        "download it again."
    )


def _too_large(archive: Path, max_bytes: int) -> ValueError:
    return _refused(archive, f"unpacks to more than the {max_bytes:,} bytes allowed")
