"""Clip and count boxes that reach out of their image; refuse boxes with nothing inside it."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.geometry import as_boxes, clip_boxes, overhangs

log = logging.getLogger(__name__)

# Pixels. Fractions of an image, as float32, miss its edge by less; such a box is clipped and not counted.
_ROUNDING = 0.01
# From this share of boxes on, their convention is more likely to be wrong than a line of the file.
_MANY = 0.05


def reach_out(boxes: ArrayLike, size: ArrayLike) -> NDArray[np.bool_]:
    """Return (B,) True for each box that reaches out of its image by more than rounding.

    Args:
        boxes: (B, 4) edges.
        size: (height, width) of the image, or (B, 2) for the image of each box.
    """
    return overhangs(boxes, size) > _ROUNDING


def clip(
    boxes: ArrayLike, size: ArrayLike, origin: Callable[[int], str], image_id: Callable[[int], str]
) -> NDArray[np.float32]:
    """Clip boxes to their images.

    With edges, the last pixel of an image is inside a box that ends at its width and height. The evaluation of Choe et
    al., CVPR 2020, clips inclusive coordinates to width - 1 and height - 1, which covers the same pixels.

    Args:
        boxes: (B, 4) edges.
        size: (height, width) of the image, or (B, 2) for the image of each box.
        origin: place of a box -> its file and line, for messages.
        image_id: place of a box -> its image, for messages.

    Returns:
        (B, 4) float32 edges, none empty.

    Raises:
        ValueError: naming file, line, image and remedy, for a box that is empty or has nothing inside its image.
    """
    array = as_boxes(boxes)
    clipped = clip_boxes(array, size)
    (bad,) = np.nonzero((clipped[:, 2:] <= clipped[:, :2]).any(axis=1))
    if len(bad):
        first = int(bad[0])
        box = array[first]
        height, width = np.broadcast_to(np.asarray(size), (len(array), 2))[first]
        what = "is empty" if (box[2:] <= box[:2]).any() else "has nothing inside the image"
        like_it = f", as {len(bad):,} of {len(array):,} boxes" if len(bad) > 1 else ""
        raise ValueError(
            f"{origin(first)}: the box ({', '.join(f'{value:g}' for value in box)}) (x0, y0, x1, y1) of image "
            f"{image_id(first)} {what}, which is {width} x {height}{like_it}; correct it, or take the image out, or, "
            "if the boxes follow another convention, state it where the reader has data.box_format."
        )
    return clipped


def clip_split(
    name: str,
    boxes: ArrayLike,
    ends: NDArray[np.int64],
    sizes: NDArray[np.integer],
    origin: Callable[[int], str],
    image_id: Callable[[int], str],
) -> NDArray[np.float32]:
    """Clip the boxes of a whole split to their images, and log how many reach out, and by how much at most.

    Args:
        name: of the split, for the log.
        boxes: (M, 4) edges, those of image i at ends[i] ... ends[i + 1].
        ends: (N + 1,)
        sizes: (N, 2) height and width.
        origin: place of a box -> its file and line, for messages.
        image_id: place of an image -> its id, for messages.

    Returns:
        (M, 4) float32 edges, none empty.

    Raises:
        ValueError: as `clip`.
    """
    array, images = as_boxes(boxes), np.repeat(np.arange(len(sizes)), np.diff(ends))
    of_boxes = np.asarray(sizes)[images]
    clipped = clip(array, of_boxes, origin, lambda place: image_id(int(images[place])))
    (out,) = np.nonzero(reach_out(array, of_boxes))
    if len(out):
        many, pixels = len(out) > _MANY * len(array), overhangs(array[out], of_boxes[out]).max()
        log.log(
            logging.WARNING if many else logging.INFO,
            "%s: boxes that reach out of their image are clipped to it: %s of %s, in %s, by at most %g %s.%s",
            name,
            f"{len(out):,}",
            f"{len(array):,}",
            "1 image" if (count := len(np.unique(images[out]))) == 1 else f"{count:,} images",
            pixels,
            "pixel" if pixels == 1 else "pixels",
            " These are many: check which convention the boxes follow, and the sizes of the images." if many else "",
        )
    return clipped
