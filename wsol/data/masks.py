"""Read masks of ground truth, and resize them to the grid of a map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.data.decode import read_mask
from wsol.data.ground_truth import BACKGROUND, IGNORED, OBJECT
from wsol.data.image_set import ImageSet
from wsol.geometry import Size

ReadMask = Callable[[int, Size], NDArray[np.uint8]]


@dataclass(frozen=True)
class MaskFiles:
    """Files of the objects of each image, and of the region that scores leave out.

    Attributes:
        objects: N sequences of files; a pixel is on the object where any of them is.
        ignored: N files, or None where no region is left out; what is on the object is never left out.
        above: gray values above this one count as set.
    """

    objects: Sequence[Sequence[Path]]
    ignored: Sequence[Path | None]
    above: float

    def read(self, index: int, size: Size) -> NDArray[np.uint8]:
        """Return (H, W) of BACKGROUND, OBJECT and IGNORED.

        Raises:
            FileNotFoundError, ValueError: naming a file that is missing or damaged.
        """
        on_object = np.zeros(size, bool)
        for path in self.objects[index]:
            on_object |= self._set(path, size)
        mask = np.where(on_object, OBJECT, BACKGROUND).astype(np.uint8)
        ignored = self.ignored[index]
        if ignored is not None:
            mask[self._set(ignored, size) & ~on_object] = IGNORED
        return mask

    def _set(self, path: Path, size: Size) -> NDArray[np.bool_]:
        return resize_mask(read_mask(path), size) > self.above


def resize_mask(mask: NDArray, size: Size) -> NDArray:
    """Resize a mask to another grid of (height, width), each pixel the nearest old one."""
    rows, columns = (_nearest(old, new) for old, new in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def _nearest(length: int, new_length: int) -> NDArray[np.int64]:
    """Return the old pixel of each new one, as OpenCV's nearest neighbour: by left edges, not by centres."""
    step = 1 / (new_length / length)
    return np.minimum((np.arange(new_length) * step).astype(np.int64), length - 1)


def true_masks(images: ImageSet) -> ReadMask | None:
    """Return a function that reads the mask of an image on any grid; None if images have none.

    Masks are read from their files, at their own size, where there are files: resized once and not twice.
    """
    entries = images.entries
    if entries.rest is not None and all(record.mask_paths for record in entries.rest):
        return MaskFiles(
            [record.mask_paths for record in entries.rest],
            [record.ignore_path for record in entries.rest],
            above=entries.rest[0].mask_above,
        ).read
    if images[0].mask is None:
        return None

    def read(index: int, size: Size) -> NDArray[np.uint8]:
        mask = images[index].mask
        if mask is None:
            raise ValueError(f"{images.name}: image {images.image_ids[index]!r} has no mask, and others have one.")
        return np.where(resize_mask(mask, size), OBJECT, BACKGROUND).astype(np.uint8)

    return read
