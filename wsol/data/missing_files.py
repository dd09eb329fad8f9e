"""Errors that list all missing files."""

from collections.abc import Sequence
from pathlib import Path

_SHOWN = 3


class MissingFiles(FileNotFoundError):
    """Error for images that annotations name and that do not exist.

    Attributes:
        paths: all of them.
        problems: each of them, and what is wrong with it.
    """

    def __init__(self, message: str, paths: Sequence[Path]) -> None:
        super().__init__(message)
        self.paths = list(paths)
        self.problems = [(path, f"{path} is missing.") for path in self.paths]


def missing_images(paths: Sequence[Path], count: int, source: Path) -> MissingFiles:
    """Return the error for a data set that lacks some of the images in its own lists.

    Args:
        paths: of those missing.
        count: of all images that are listed.
        source: the list, or its folder.
    """
    shown = ", ".join(str(path) for path in paths[:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    verb = "is" if len(paths) == 1 else "are"
    return MissingFiles(
        f"{source}: {len(paths)} of {count} images {verb} missing: {shown}{more}; unpack the archive again.", paths
    )
