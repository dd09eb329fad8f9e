"""Write files whole: aside first, then renamed, so that no reader sees half of one."""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

_MOST_BYTES = 255  # of one name, on the file systems in use


def file_name_part(name: str, what: str) -> str:
    """Return a name that will be part of a file's name, after checking that it stays in its folder.

    Args:
        name: as a file of somebody else may give it.
        what: the name is of, for the message.

    Raises:
        ValueError: if it is empty or too long, or contains a slash, a backslash or control characters, or is only dots.
    """
    if not isinstance(name, str) or not name.strip(".") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise ValueError(f"{name!r} cannot name {what}: a name must not be empty or lead into another folder.")
    if len(name.encode()) > _MOST_BYTES:
        raise ValueError(f"The name of {what} has {len(name.encode())} bytes, at most {_MOST_BYTES} are allowed.")
    return name


def regular_file(path: Path) -> Path:
    """Return the path after checking that opening it cannot hang: that it is no named pipe, socket or device.

    A path that does not exist is returned too, so that opening it raises the error that it always raises.

    Raises:
        ValueError: naming the path, if there is something else than a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return path
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a named pipe, socket or device"
        raise ValueError(f"{path} is {kind}, where a file is expected; take it out, or unpack the archive again.")
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the yielded path; it takes the name `path` when the block ends well, and vanishes when it does not.

    The temporary name is drawn at random each time, so that two writers never share a file: not two threads, nor two
    containers, whose processes can have one number.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{uuid4().hex[:12]}.part{path.suffix}")  # the suffix stays: writers go by it
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file for people to read."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
