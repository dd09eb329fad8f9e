"""Find and measure the image files that a user's annotations name."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from wsol.data.decode import read_size
from wsol.data.missing_files import MissingFiles
from wsol.geometry import Size

_LISTED = 3


class UnreadableImages(ValueError):
    """Error for files that are no images, or may not be read.

    Attributes:
        problems: each of them, and what is wrong with it.
    """

    def __init__(self, problems: Sequence[tuple[Path, str]], count: int) -> None:
        more = f" So it is with {len(problems)} of {count} images." if len(problems) > 1 else ""
        super().__init__(f"{problems[0][1]}{more}")
        self.problems = list(problems)


def read_sizes(paths: Sequence[Path]) -> list[Size]:
    """Read the (height, width) of decoded images from the heads of their files, in threads.

    Raises:
        UnreadableImages: naming all files that are missing or no images.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(total=len(paths), desc="reading image sizes", unit="image", delay=2, leave=False, disable=None)
        with bar:
            sizes, problems = list[Size](), list[tuple[Path, str]]()
            for path, size in zip(paths, pool.map(_try, paths), strict=True):
                if isinstance(size, str):
                    problems.append((path, size))
                else:
                    sizes.append(size)
                bar.update()
    if problems:
        raise UnreadableImages(problems, len(paths))
    return sizes


def _try(path: Path) -> Size | str:
    """Return the size of an image, or the message of the error that reading it raises."""
    try:
        return read_size(path)
    except (FileNotFoundError, ValueError) as error:
        return str(error)


def inside(name: str, origin: str) -> str:
    """Return the path that annotations give an image, without `.` and doubled slashes.

    Args:
        name: as written.
        origin: where, for messages.

    Raises:
        ValueError: if it is empty, absolute, or leaves the folder by `..`: a file from elsewhere must not make this
            program open any file that it names.
    """
    parts = re.split(r"[/\\]", name)
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\") or ".." in parts:
        raise ValueError(
            f"{origin}: the path {name!r} leaves the folder of the images; give paths from that folder, without '..'."
        )
    path = PurePosixPath(name).as_posix()
    if path == "." or "\0" in path:
        raise ValueError(f"{origin}: {name!r} names no image; correct it.")
    return path


def check_present(folder: Path, names: Iterable[tuple[str, str]], listed: Collection[str], source: str) -> None:
    """Raise MissingFiles unless all images that annotations name exist.

    Args:
        folder: of the images.
        names: for each image its path from there, and the file and line that name it.
        listed: paths that are known to exist.
        source: file that names them, for messages.

    Raises:
        MissingFiles: with how many are missing, and the first of them.
        PermissionError: for a folder that may not be read.
    """
    missing, count = list[tuple[str, str]](), 0
    for name, origin in names:
        count += 1
        try:
            if name not in listed and not (folder / name).is_file():
                missing.append((name, origin))
        except PermissionError:
            raise PermissionError(f"{folder / name} may not be looked at; change the permissions above it.") from None
    if missing:
        raise absent_images(folder, missing, count, source)


def absent_images(folder: Path, missing: Sequence[tuple[str, str]], count: int, source: str) -> MissingFiles:
    """Return the error for images that do not exist.

    Args:
        folder: of the images.
        missing: for each image its name, and the file and line that name it.
        count: number of all named images.
        source: file that names them.
    """
    shown = ", ".join(f"{name!r} ({origin})" for name, origin in missing[:_LISTED])
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    hint = " Write / and not \\ between folders." if any("\\" in name for name, _ in missing) else ""
    return MissingFiles(
        f"{source}: {len(missing)} of {count} images are not in {folder}: {shown}{more}. Paths start from that folder; "
        f"correct them, or the folder.{hint}",
        [folder / name for name, _ in missing],
    )
