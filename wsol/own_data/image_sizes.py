"""Sizes of many image files."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from wsol.decode import read_size
from wsol.geometry import Size


def read_sizes(paths: Sequence[Path]) -> list[Size]:
    """(height, width) of images as they are decoded, from the heads of their files, in threads.

    Raises:
        FileNotFoundError: naming a missing file.
        ValueError: naming a file that is no image.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(total=len(paths), desc="reading image sizes", unit="image", delay=2, leave=False, disable=None)
        with bar:
            sizes = []
            for size in pool.map(read_size, paths):
                sizes.append(size)
                bar.update()
    return sizes
