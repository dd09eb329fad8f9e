"""The images of one split as another split prepares its own."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsol.image_set import ImageSet
from wsol.sample import resize_sample


def prepared_as(
    images: ImageSet,
    like: ImageSet,
    places: NDArray[np.int64] | None = None,
    max_cache_bytes: float = 2**30,
    name: str = "",
) -> ImageSet:
    """Images of one split, decoded and resized like those of another: `val` as large as `train`, or the other way.

    What a split does not show, boxes and masks of `train`, stays hidden.

    Args:
        images: where they come from.
        like: whose way of decoding, and whose size, is taken; its first image is read.
        places: (N,) indices into `images`, in the order wanted; None: all.
        max_cache_bytes: they stay in memory if they take no more than this.
        name: for progress bars and the log; empty: as `images`.
    """
    entries = images.entries if places is None else images.entries.select(places)
    return ImageSet(
        entries,
        like.load,
        partial(resize_sample, size=like[0].size),
        labels_only=not len(images.entries.boxes),
        max_cache_bytes=max_cache_bytes,
        name=name or images.name,
    )
