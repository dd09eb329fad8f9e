"""Give each image of a user's data one label."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsol.geometry import Size, as_boxes, box_area

log = logging.getLogger(__name__)

Several = Literal["error", "largest", "skip"]


@dataclass(frozen=True)
class Labelled:
    """One image.

    Attributes:
        image_id: unique in the data set.
        path: its file.
        label: name of its class.
        boxes: (B, 4) edges, in pixels of the original image; B may be 0.
        origin: file and line of its boxes, for messages.
        size: (height, width) by the annotations; None: unknown.
        box_origins: file and line of each box; empty: at `origin`.
    """

    image_id: str
    path: Path
    label: str
    boxes: NDArray[np.float32] = field(default_factory=lambda: as_boxes([]))
    origin: str = ""
    size: Size | None = None
    box_origins: tuple[str, ...] = ()


def number_labels(images: Iterable[Labelled]) -> tuple[str, ...]:
    """Return labels in the order of class ids: alphabetical, or numerical if all are numbers."""
    labels = {image.label for image in images}
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


@dataclass(frozen=True)
class Annotated:
    """An image with a label for each box.

    Attributes:
        image_id: unique in the data set.
        path: its file.
        labels: B names of classes; empty if nothing is annotated.
        boxes: (B, 4) edges, in pixels of the original image.
        origin: file and line of the boxes, for messages.
        size: (height, width) by the annotations; None: unknown.
        box_origins: file and line of each box; empty: at `origin`.
    """

    image_id: str
    path: Path
    labels: tuple[str, ...]
    boxes: NDArray[np.float32]
    origin: str
    size: Size | None = None
    box_origins: tuple[str, ...] = ()


def single_labels(images: Iterable[Annotated], several: Several, source: str) -> list[Labelled]:
    """Return the images that have one label, as weakly supervised training needs them.

    Images without any annotation have no label and are left out; the log reports their number.

    Args:
        images: with a label for each box.
        several: what to do with an image whose boxes are of several classes: `error`; `largest` keeps the class whose
            boxes have the largest sum of areas (the first by the alphabet of equal ones) and its boxes alone; `skip`
            leaves it out.
        source: file or folder that was read, for messages.

    Raises:
        ValueError: for images of several classes, with how many there are, unless `several` decides.
    """
    if several not in get_args(Several):
        raise ValueError(f"several must be one of {', '.join(get_args(Several))}, got {several!r}.")
    labelled, mixed, unlabelled = list[Labelled](), list[Annotated](), 0
    for image in images:
        names = sorted(set(image.labels))
        if not names:
            unlabelled += 1
            continue
        chosen = names[0]
        if len(names) > 1:
            mixed.append(image)
            if several != "largest":
                continue
            chosen = _largest(image, names)
        kept = [place for place, label in enumerate(image.labels) if label == chosen]
        origins = tuple(image.box_origins[place] for place in kept) if image.box_origins else ()
        boxes = image.boxes[kept]
        labelled.append(Labelled(image.image_id, image.path, chosen, boxes, image.origin, image.size, origins))
    if unlabelled:
        log.info("%s: %d images without annotation have no label and are left out.", source, unlabelled)
    if mixed and several == "error":
        first = mixed[0]
        raise ValueError(
            f"{source}: {len(mixed)} of {len(mixed) + len(labelled)} images have boxes of several classes, first "
            f"{first.image_id} ({', '.join(sorted(set(first.labels)))}), and an image can have one label; "
            f"several=largest keeps the class of the largest area, several=skip leaves such images out."
        )
    if mixed:
        done = "keep the class of the largest area" if several == "largest" else "are left out"
        log.info("%s: %d images with boxes of several classes %s.", source, len(mixed), done)
    return labelled


def _largest(image: Annotated, names: list[str]) -> str:
    areas = box_area(image.boxes).astype(np.float64)
    return max(names, key=lambda name: areas[[label == name for label in image.labels]].sum())
