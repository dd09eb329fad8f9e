"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the yielded path; it takes the name `path` when the block ends well, and vanishes when it does not.

    The temporary name is drawn anew each time, so that two writers never write into one file: not two threads, nor two
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
