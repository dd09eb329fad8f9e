"""Download files: continue where a transfer was cut off, verify size and checksum before the file takes its name."""

import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from wsol.atomic_files import write_text

log = logging.getLogger(__name__)

_USER_AGENT = "wsol (benchmark suite; data set download)"
_CHUNK = 2**16
# Answers of a server that is busy or broken for the moment; waiting does not help against other errors.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 60.0


class _Interrupted(Exception):
    """Error for a transfer that a new attempt may complete; `wait` is in seconds, as the server asks."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _Part:
    """The part of a file received so far, with a note beside it that names the version of the file."""

    url: str
    path: Path

    @classmethod
    def of(cls, url: str, path: Path) -> "_Part":
        return cls(url, path.with_name(f"{path.name}.part"))

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        """ETag or Last-Modified of the part's version, if the server gave one and the URL is the same."""
        return self._noted().get("validator")

    def may_continue(self, checkable: bool) -> bool:
        """Return whether to ask for the rest; without a validator only if a checksum will verify it."""
        noted = self._noted()
        return self.size > 0 and noted.get("url") == self.url and (checkable or noted.get("validator") is not None)

    def begin(self, validator: str | None) -> None:
        """Remove the received part, and note the version that follows."""
        self.remove()
        write_text(self.note, json.dumps({"url": self.url, "validator": validator}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, str | None]:
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) and noted.get("url") == self.url else {}


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    progress: bool = True,
    attempts: int = 4,
    wait: Callable[[float], object] = time.sleep,
    timeout: float = 30.0,
) -> bool:
    """Download one file, unless it exists already.

    Received bytes are kept in `<name>.part` beside the target, so that a transfer that was cut off continues there, in
    this call or in a later one (RFC 9110, sections 13.1.5 and 14: Range and If-Range). The file takes its name when
    its size and checksum are right. A lock keeps two processes from writing one part.

    Args:
        url: http or https; redirects are followed.
        path: where the file goes.
        sha256: hexadecimal; checked if given.
        md5: hexadecimal; checked if there is no `sha256`.
        size: in bytes, if known.
        progress: show a bar where the output is a terminal.
        attempts: number of attempts in a row that may receive nothing new.
        wait: called with the seconds between two attempts: 1, 2, 4, ..., or what the server asks for, up to 60.
        timeout: seconds without a byte after which an attempt is given up.

    Returns:
        True if the file was downloaded, False if it existed. An existing file of another size or checksum is
        downloaded again; if neither is known it is left as it is.

    Raises:
        ConnectionError: if the file cannot be downloaded, with where to put it by hand.
        ValueError: if the received file is not the expected one; it is removed. Also for another kind of URL.
        OSError: if there is no room.
    """
    if not re.match(r"https?://", url):
        raise ValueError(f"Cannot download {url}: expected an address that starts with http:// or https://.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        if path.exists():
            if is_right(path, sha256=sha256, md5=md5, size=size):
                return False
            log.warning("%s is not the file that is expected (size or checksum); downloading it again.", path)
        part = _Part.of(url, path)
        expected = _expected_digest(sha256, md5)
        _complete(part, path, size, expected, attempts, wait, timeout, progress)
        _verify(part, path, size, expected)
        os.replace(part.path, path)
        part.note.unlink(missing_ok=True)
    return True


def is_right(path: Path, *, sha256: str | None = None, md5: str | None = None, size: int | None = None) -> bool:
    """Return whether a file has the known size and checksum (sha256 before md5); True if none is known."""
    if size is not None and path.stat().st_size != size:
        return False
    expected = _expected_digest(sha256, md5)
    return expected is None or _digest(path, expected[0]) == expected[1]


def _expected_digest(sha256: str | None, md5: str | None) -> tuple[str, str] | None:
    """Return (algorithm, hexadecimal digest) of the stronger known checksum."""
    if sha256 is not None:
        return "sha256", sha256.lower()
    return None if md5 is None else ("md5", md5.lower())


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


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


def _complete(
    part: _Part,
    path: Path,
    size: int | None,
    expected: tuple[str, str] | None,
    attempts: int,
    wait: Callable[[float], object],
    timeout: float,
    progress: bool,
) -> None:
    """Ask until the part is complete. An attempt that makes the part longer than it ever was does not count."""
    failures = 0
    longest = part.size
    while True:
        try:
            _request(part, path, size, expected is not None, timeout, progress)
            return
        except _Interrupted as error:
            failures = 1 if part.size > longest else failures + 1
            longest = max(longest, part.size)
            if failures >= attempts:
                # A server may announce more bytes than the file has; the checksum decides.
                if expected and part.path.exists() and _digest(part.path, expected[0]) == expected[1]:
                    return
                raise _not_downloaded(part.url, path, str(error)) from None
            log.info("%s: %s; attempt %d of %d follows.", part.url, error, failures + 1, attempts)
            wait(min(_LONGEST_WAIT, error.wait or 2.0 ** (failures - 1)))


def _request(part: _Part, path: Path, size: int | None, checkable: bool, timeout: float, progress: bool) -> None:
    """Send one request, for the rest of the part or for all of it; return when the part is complete."""
    start = part.size if part.may_continue(checkable) else 0
    if size is not None and start > size:
        start = 0
    if start and start == size:
        return
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}  # the file's own bytes, not packed again
    validator = part.validator
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator is not None:
            headers["If-Range"] = validator  # of another version the server sends everything, with status 200
    try:
        response = urllib.request.urlopen(urllib.request.Request(part.url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                if _total(error.headers) == start:
                    return
                part.remove()
                raise _Interrupted("the part that had come does not fit the file") from None
            reason = f"HTTP {error.code} {_reason(error)}"
            if error.code in _PASSING:
                raise _Interrupted(reason, _retry_after(error.headers)) from None
            raise _not_downloaded(part.url, path, reason) from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise _not_downloaded(part.url, path, _reason(error)) from None
        raise _Interrupted(_reason(error)) from None
    with response:
        if response.status == 206 and start:
            now = _validator(response.headers)
            if _first_byte(response.headers) != start or (validator and now and now != validator):
                part.remove()
                raise _Interrupted("the file has changed at its source since its first part came")
        elif response.status == 200:
            start = 0
            part.begin(_validator(response.headers))
        else:
            raise _not_downloaded(part.url, path, f"HTTP {response.status}")
        _receive(response, part, path, start, size, progress)


def _receive(
    response: http.client.HTTPResponse, part: _Part, path: Path, start: int, size: int | None, progress: bool
) -> None:
    """Append the body of an answer to the part."""
    announced = response.headers.get("Content-Length", "")
    left = int(announced) if announced.isdecimal() else None
    total = None if left is None else start + left
    goal = total if size is None else size
    if goal is not None:
        _check_room(part.url, path.parent, goal - start)
    have = start
    with (
        part.path.open("ab") as file,
        tqdm(
            total=goal,
            initial=start,
            desc=path.name,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            delay=1,
            leave=False,
            disable=None if progress else True,
        ) as bar,
    ):
        while left != 0:
            try:
                chunk = response.read1(_CHUNK if left is None else min(_CHUNK, left))
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(_reason(error)) from None
            if not chunk:
                break
            have += len(chunk)
            left = None if left is None else left - len(chunk)
            if size is not None and have > size:
                part.remove()
                raise _changed(part.url, path, f"sends more than the {size:,} bytes expected")
            file.write(chunk)
            bar.update(len(chunk))
    if goal is None or have >= goal:
        return
    if left == 0:  # complete as announced, so it is another file, often a page about where the file went
        part.remove()
        raise _changed(part.url, path, f"offers {have:,} bytes where {goal:,} were expected")
    raise _Interrupted(f"the connection ended after {have:,} of {goal:,} bytes")


def _verify(part: _Part, path: Path, size: int | None, expected: tuple[str, str] | None) -> None:
    received = part.size
    if size is not None and received != size:
        part.remove()
        raise _changed(part.url, path, f"brought {received:,} bytes where {size:,} were expected")
    if expected is None:
        return
    algorithm, digest = expected
    actual = _digest(part.path, algorithm)
    if actual != digest:
        part.remove()
        raise _changed(part.url, path, f"brought {algorithm} {actual} where {digest} was expected")


def _check_room(url: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free:,} bytes free, and {url} takes {needed:,} more; make room there, or choose another "
            "folder."
        )


def _changed(url: str, path: Path, what: str) -> ValueError:
    return ValueError(
        f"{url} {what}; what came was removed. Run the command again; if that does not help, the file has changed at "
        f"its source: get the expected one by hand, put it at {path} and run the command again."
    )


def _not_downloaded(url: str, path: Path, reason: str) -> ConnectionError:
    return ConnectionError(
        f"{url} could not be downloaded ({reason}); download it by hand to {path} and run the command again."
    )


def _reason(error: Exception) -> str:
    """Return the message of an error on one line."""
    reason = getattr(error, "reason", None) or error
    return " ".join(f"{reason}".split()) or type(reason).__name__


def _validator(headers: Message | Mapping[str, str]) -> str | None:
    """Return what identifies this version of the file: a strong ETag, else the date of its last change."""
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):  # a weak one may not be used with ranges: RFC 9110, section 13.1.5
        return tag
    return headers.get("Last-Modified")


def _first_byte(headers: Message) -> int | None:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total(headers: Message) -> int | None:
    match = re.match(r"bytes [^/]*/(\d+)$", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _retry_after(headers: Message) -> float:
    seconds = headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0.0
