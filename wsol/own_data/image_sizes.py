"""Sizes of many image files."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from wsol.decode import read_size
from wsol.geometry import Size


class UnreadableImages(ValueError):
    """Files that are no images, or may not be read.

    Attributes:
        problems: each of them, and what is wrong with it.
    """

    def __init__(self, problems: Sequence[tuple[Path, str]], count: int) -> None:
        more = f" So it is with {len(problems)} of {count} images." if len(problems) > 1 else ""
        super().__init__(f"{problems[0][1]}{more}")
        self.problems = list(problems)


def read_sizes(paths: Sequence[Path]) -> list[Size]:
    """(height, width) of images as they are decoded, from the heads of their files, in threads.

    Raises:
        UnreadableImages: naming all files that are missing or no images.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(total=len(paths), desc="reading image sizes", unit="image", delay=2, leave=False, disable=None)
        with bar:
            sizes, problems = list[Size](), list[tuple[Path, str]]()
            for path, found in zip(paths, pool.map(_try, paths), strict=True):
                if isinstance(found, str):
                    problems.append((path, found))
                else:
                    sizes.append(found)
                bar.update()
    if problems:
        raise UnreadableImages(problems, len(paths))
    return sizes


def _try(path: Path) -> Size | str:
    """The size, or what is wrong."""
    try:
        return read_size(path)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
