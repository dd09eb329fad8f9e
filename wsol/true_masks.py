"""The masks of a split that is at hand."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wsol.geometry import Size
from wsol.image_set import ImageSet
from wsol.sources.masks import MaskFiles, resize_mask
from wsol.truth import BACKGROUND, OBJECT

ReadMask = Callable[[int, Size], NDArray[np.uint8]]


def true_masks(images: ImageSet) -> ReadMask | None:
    """What reads the mask of an image on any grid; None where an image has none.

    Masks are read from their files, at their own size, where there are files: resized once and not twice.
    """
    entries = images.entries
    if entries.rest is not None and all(one.mask_paths for one in entries.rest):
        return MaskFiles(
            [one.mask_paths for one in entries.rest],
            [one.ignore_path for one in entries.rest],
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
