"""Read annotation files line by line, with errors that name the file and the line."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One line of an annotation file, cut into fields."""

    path: Path
    number: int
    fields: list[str]

    @property
    def origin(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.number}"

    def error(self, message: str) -> ValueError:
        """Return a ValueError that names file, line, and the remedy."""
        return ValueError(f"{self.origin}: {message} Correct the line, or unpack the archive again.")

    def numbers(self, start: int) -> list[float]:
        """Return the fields from `start` on, as finite numbers."""
        try:
            values = [float(field) for field in self.fields[start:]]
        except ValueError:
            raise self.error(f"expected numbers, got {' '.join(self.fields[start:])!r}.") from None
        if not all(math.isfinite(value) for value in values):
            raise self.error(f"expected finite numbers, got {' '.join(self.fields[start:])!r}.")
        return values


def read_lines(path: Path, fields: int, separator: str | None = None, maxsplit: int = -1) -> Iterator[Line]:
    """Yield the lines of a text file, each cut into the same number of fields; blank lines are skipped.

    Args:
        path: UTF-8 text, any line endings.
        fields: number of fields of a line.
        separator: between fields; None for any white space.
        maxsplit: see `str.split`; for a last field that contains separators.

    Raises:
        FileNotFoundError: naming the file.
        ValueError: for a line with another number of fields.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Annotation file {path} is missing; unpack the data set's archive again.")
    with path.open(encoding="utf-8-sig") as file:
        for number, text in enumerate(file, start=1):
            if text.strip():
                line = Line(path, number, text.strip("\r\n ").split(separator, maxsplit))
                if len(line.fields) != fields:
                    raise line.error(f"expected {fields} fields, got {len(line.fields)}: {text.strip()!r}.")
                yield line


def read_table(lines: Iterator[Line], value: Callable[[Line], T]) -> dict[str, T]:
    """Return first field -> value of the line.

    Raises:
        ValueError: if a first field occurs twice.
    """
    table: dict[str, T] = {}
    for line in lines:
        if line.fields[0] in table:
            raise line.error(f"{line.fields[0]!r} is given a second time.")
        table[line.fields[0]] = value(line)
    return table
