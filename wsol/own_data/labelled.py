"""An image with its label, before the labels of a data set are numbered."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.geometry import Size, as_boxes


@dataclass(frozen=True)
class Labelled:
    """One image.

    Attributes:
        image_id: unique in the data set.
        path: its file.
        label: name of its class.
        boxes: (B, 4) edges, in pixels of the original image; B may be 0.
        origin: where its boxes stand, for messages.
        size: (height, width) that the annotations say; None: they do not.
        box_origins: where each box stands; empty: at `origin`.
    """

    image_id: str
    path: Path
    label: str
    boxes: NDArray[np.float32] = field(default_factory=lambda: as_boxes([]))
    origin: str = ""
    size: Size | None = None
    box_origins: tuple[str, ...] = ()


def number_labels(images: Iterable[Labelled]) -> tuple[str, ...]:
    """The labels of some images in the order of their class ids: by the alphabet, or by number if all are numbers."""
    labels = {image.label for image in images}
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))
