"""Download files: continue where a transfer was cut off, verify size and checksum before the file takes its name."""

import hashlib
import http.client
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from wsol.data.download.catalog import RemoteFile

log = logging.getLogger(__name__)

_USER_AGENT = "wsol (benchmark suite; data set download)"
_CHUNK = 2**16
_ATTEMPTS = 4  # in a row that receive nothing new
_SILENCE = 30.0  # seconds without a byte after which an attempt is given up
# Answers of a server that is busy or broken for the moment; waiting does not help against other errors.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """Error for a transfer that a new attempt may complete."""


def download(
    file: RemoteFile, path: Path, *, progress: bool = True, wait: Callable[[float], object] = time.sleep
) -> bool:
    """Download one file, unless it exists already.

    Received bytes are kept in `<name>.part` beside the target, so that a transfer that was cut off continues there, in
    this call or in a later one. The file takes its name when its size and checksum are right. A lock keeps two
    processes from writing one part.

    Args:
        file: its address, http or https, its size and its checksum; redirects are followed.
        path: where the file goes.
        progress: show a bar where the output is a terminal.
        wait: called with the seconds between two attempts: 1, 2, 4.

    Returns:
        True if the file was downloaded, False if it existed. An existing file of another size or checksum is
        downloaded again.

    Raises:
        ConnectionError: if the file cannot be downloaded, with where to put it by hand.
        ValueError: if the received file is not the expected one; it is removed. Also for another kind of URL.
        OSError: if there is no room.
    """
    if not re.match(r"https?://", file.url):
        raise ValueError(f"Cannot download {file.url}: expected an address that starts with http:// or https://.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        if path.exists():
            if is_right(file, path):
                return False
            log.warning("%s is not the file that is expected (size or checksum); downloading it again.", path)
        part = path.with_name(f"{path.name}.part")
        _complete(file, part, path, progress, wait)
        received = _sha256(part)
        if received != file.sha256:
            part.unlink()
            raise _changed(file, path, f"brought sha256 {received} where {file.sha256} was expected")
        os.replace(part, path)
    return True


def is_right(file: RemoteFile, path: Path) -> bool:
    """Return whether the file at this path has the published size and checksum."""
    return path.stat().st_size == file.size and _sha256(path) == file.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from working on a path at the same time; the lock is a hidden file beside it."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Another process is downloading %s; waiting for it.", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _complete(file: RemoteFile, part: Path, path: Path, progress: bool, wait: Callable[[float], object]) -> None:
    """Ask until the part is complete. An attempt that makes the part longer does not count."""
    failures, longest = 0, _size(part)
    while True:
        try:
            return _request(file, part, path, progress)
        except _Interrupted as error:
            failures = 1 if _size(part) > longest else failures + 1
            longest = max(longest, _size(part))
            if failures >= _ATTEMPTS:
                raise _not_downloaded(file, path, str(error)) from None
            log.info("%s: %s; attempt %d of %d follows.", file.url, error, failures + 1, _ATTEMPTS)
            wait(2.0 ** (failures - 1))


def _request(file: RemoteFile, part: Path, path: Path, progress: bool) -> None:
    """Send one request, for the rest of the part or for all of it; return when the part is complete."""
    start = _size(part) if _size(part) <= file.size else 0
    if start and start == file.size:
        return
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}  # the file's own bytes, not packed again
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=_SILENCE)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                part.unlink(missing_ok=True)
                raise _changed(file, path, f"offers fewer than the {file.size:,} bytes expected") from None
            reason = f"HTTP {error.code} {_reason(error)}"
            if error.code in _PASSING:
                raise _Interrupted(reason) from None
            raise _not_downloaded(file, path, reason) from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise _not_downloaded(file, path, _reason(error)) from None
        raise _Interrupted(_reason(error)) from None
    with response:
        if response.status not in (200, 206):
            raise _not_downloaded(file, path, f"HTTP {response.status}")
        if response.status == 200:  # of a server that ignores ranges
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _Interrupted("the server sent another range than the one asked for")
        _receive(response, file, part, start, progress)
    if _size(part) < file.size:
        raise _Interrupted(f"the connection ended after {_size(part):,} of {file.size:,} bytes")
    if _size(part) > file.size:
        part.unlink()
        raise _changed(file, path, f"sends more than the {file.size:,} bytes expected")


def _receive(response: http.client.HTTPResponse, file: RemoteFile, part: Path, start: int, progress: bool) -> None:
    """Write the body of an answer behind the first `start` bytes of the part, until it is too long."""
    free = shutil.disk_usage(part.parent).free
    if free < file.size - start:
        raise OSError(
            f"{part.parent} has {free:,} bytes free, and {file.url} takes {file.size - start:,} more; make room there, "
            "or choose another folder."
        )
    hidden, have = None if progress else True, start
    with (
        part.open("ab" if start else "wb") as body,
        tqdm(desc=file.name, total=file.size, initial=start, unit="B", unit_scale=True, delay=1, disable=hidden) as bar,
    ):
        while have <= file.size:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(_reason(error)) from None
            if not chunk:
                return
            body.write(chunk)
            bar.update(len(chunk))
            have += len(chunk)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _changed(file: RemoteFile, path: Path, what: str) -> ValueError:
    return ValueError(
        f"{file.url} {what}; what came was removed. Run the command again; if that does not help, the file has changed "
        f"at its source: get the expected one by hand, put it at {path} and run the command again."
    )


def _not_downloaded(file: RemoteFile, path: Path, reason: str) -> ConnectionError:
    return ConnectionError(
        f"{file.url} could not be downloaded ({reason}); download it by hand to {path} and run the command again."
    )


def _reason(error: Exception) -> str:
    """Return the message of an error on one line."""
    reason = getattr(error, "reason", None) or error
    return " ".join(f"{reason}".split()) or type(reason).__name__
