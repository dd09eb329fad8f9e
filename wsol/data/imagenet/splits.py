"""Make the two splits of ImageNet that have boxes from its own annotation."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wsol.data.image_tree import list_images
from wsol.data.imagenet.boxes import ImageBoxes, prefixed
from wsol.data.imagenet.labels import devkit_labels
from wsol.data.index import Index
from wsol.data.shared_strings import Strings
from wsol.data.splits import hold_out_boxed
from wsol.geometry import clip_boxes

log = logging.getLogger(__name__)

_NUMBER = r"^ILSVRC2012_val_(?P<number>\d{8})$"
_WNID = r"^n\d{8}$"


def official_val(
    folder: Path, devkit: Path | None, boxes: ImageBoxes, wnids: Sequence[str], class_of: NDArray[np.int64]
) -> Index:
    """Return the official validation images of the present classes, with their boxes, sorted by name.

    Args:
        folder: val/, with a folder for each wnid, or flat.
        devkit: the development kit, which labels a flat folder; None: the names of the boxes do.
        boxes: of at least these images.
        wnids: the 1,000, sorted.
        class_of: (1,000,) the class id of each; -1: its images are left out.

    Raises:
        ValueError: for an image without a sound box or a label, and for labels that disagree.
    """
    images = _Images.of(folder)
    places = boxes.find(images.stems)
    if "" not in images.tops:
        labels, by = _labels_of_folders(images, wnids), "its folder"
    elif len(images.tops) > 1:
        raise ValueError(f"{folder} holds images both in class folders and outside; sort all of them, or none.")
    elif devkit is not None:
        labels, by = _labels_of_devkit(images, devkit, wnids), str(devkit)
    else:
        labels, by = _labels_of_boxes(images, boxes, places, wnids), "the names of its boxes"
    (here,) = np.nonzero(class_of[labels] >= 0)
    if not len(here):
        raise ValueError(f"{folder} holds no image of a class that has images in train/.")
    labels, places, names = labels[here], places[here], images.names.take(pa.array(here))
    _check(boxes, names, places)
    wanted = np.full(len(boxes.images), -1)
    wanted[places] = labels
    called = pa.array(wnids, pa.large_string()).take(pa.array(wanted, mask=wanted < 0))
    wrong = boxes.any_of(boxes.differs(called))[places]
    if wrong.any():
        image = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{boxes.origin(int(places[image]))}: an object has another class than its image {names[image]}, which "
            f"is {wnids[labels[image]]} by {by}; sort or unpack val/ again."
        )
    known = _places(boxes.first_wnids(), wnids)
    expected = int((class_of[known[known >= 0]] >= 0).sum())
    if expected > len(here):
        log.warning(
            "ImageNet: %s names %d images of these classes, but %s holds %d; scores of parts of the split are not "
            "comparable with those of the whole.",
            boxes.source,
            expected,
            folder,
            len(here),
        )
    ids = prefixed("val/", names)
    index = Index.of_files(folder, Strings.from_arrow(images.paths.take(pa.array(here))), class_of[labels])
    return boxes.index(places, replace(index, image_ids=Strings.from_arrow(ids)))


@dataclass(frozen=True)
class _Images:
    """The V images of val/, sorted by name, so that a flat folder and class folders give the same order.

    Attributes:
        folder: val/.
        paths: (V,) below it.
        names: (V,) of the files.
        stems: (V,) names without suffix.
        tops: the class folders; "" means val/ itself.
        top_ids: (V,) which of them each image is in.
    """

    folder: Path
    paths: pa.Array
    names: pa.Array
    stems: pa.Array
    tops: tuple[str, ...]
    top_ids: NDArray[np.int64]

    @classmethod
    def of(cls, folder: Path) -> "_Images":
        tree = list_images(folder)
        names = pc.replace_substring_regex(tree.files.to_arrow(), r"^.*/", "")
        order = pc.sort_indices(names)
        names, top_ids = names.take(order), tree.folder_ids[order.to_numpy()]
        stems = pc.replace_substring_regex(names, r"\.[^.]*$", "")
        return cls(folder, tree.files.to_arrow().take(order), names, stems, tree.folders, top_ids)


def _labels_of_folders(images: _Images, wnids: Sequence[str]) -> NDArray[np.int64]:
    """Return (V,) places among the wnids, by class folders."""
    labels = _places(images.tops, wnids)
    if (labels < 0).any():
        name = images.tops[int(np.flatnonzero(labels < 0)[0])]
        raise ValueError(
            f"{images.folder} holds the folder {name!r}, which is no wnid of ILSVRC2012; move it elsewhere."
        )
    return labels[images.top_ids]


def _labels_of_devkit(images: _Images, devkit: Path, wnids: Sequence[str]) -> NDArray[np.int64]:
    """Return (V,) places among the wnids, by the development kit."""
    labels = _places(devkit_labels(devkit), wnids)
    numbers = pc.cast(pc.struct_field(pc.extract_regex(images.stems, _NUMBER), "number"), pa.int64())
    lines = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False) - 1
    outside = (lines < 0) | (lines >= len(labels))
    places = np.where(outside, -1, labels[np.where(outside, 0, lines)])
    if (places < 0).any():
        path = images.folder / images.names[int(np.flatnonzero(places < 0)[0])].as_py()
        raise ValueError(
            f"{devkit} gives {path} no label of ILSVRC2012; download the development kit of tasks 1 and 2 again."
        )
    return places


def _labels_of_boxes(
    images: _Images, boxes: ImageBoxes, places: NDArray[np.int64], wnids: Sequence[str]
) -> NDArray[np.int64]:
    """Return (V,) places among the wnids, by the names of the boxes."""
    _check(boxes, images.names, places)
    called = boxes.first_wnids().take(pa.array(places))
    of_images = _places(called, wnids)
    if (of_images < 0).any():
        image = int(np.flatnonzero(of_images < 0)[0])
        raise ValueError(
            f"{boxes.origin(int(places[image]))}: {called[image].as_py()!r}, of {images.names[image]}, is no wnid of "
            "ILSVRC2012; correct it, or download the file again."
        )
    return of_images


def _places(names: Sequence[str] | pa.Array, wnids: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each name among the wnids, -1 for none."""
    known = pa.array(wnids, pa.large_string())
    wanted = names if isinstance(names, pa.Array) else pa.array(list(names), pa.large_string())
    places = pc.index_in(wanted, value_set=known)
    return pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _check(boxes: ImageBoxes, names: pa.Array, places: NDArray[np.int64]) -> None:
    missing = places < 0
    if missing.any():
        image = names[int(np.flatnonzero(missing)[0])]
        raise ValueError(
            f"{boxes.source} has no box for val/{image} and {missing.sum() - 1} other images; unpack or download it "
            "again, or set data.boxes=PATH to another source."
        )
    problems = boxes.problems.take(pa.array(places))
    bad = pc.not_equal(problems, "").to_numpy(zero_copy_only=False)
    if bad.any():
        raise ValueError(problems[int(np.flatnonzero(bad)[0])].as_py())


def hold_out_of_train(
    train: Index, boxes: ImageBoxes, wnids: Sequence[str], fraction: float, seed: int
) -> tuple[Index, Index]:
    """Hold images with boxes out of train; return the other images, without boxes, and these, with boxes.

    Only images whose annotation is sound can be held out. In the official one some files name another wnid than that
    of their folder, or give boxes without an area; a name that is no wnid ("Scottish_deerhound" in
    place of n02092002) is a known slip and does no harm.

    Args:
        train: without boxes.
        boxes: of some of its images.
        wnids: K, by class id.
        fraction: of each class's images with boxes.
        seed: chooses them.

    Raises:
        ValueError: if there is none to choose from; and as `hold_out_boxed`.
    """
    stems = pc.replace_substring_regex(train.image_ids.to_arrow(), r"^.*/|\.[^.]*$", "")
    places = boxes.find(stems)
    (boxed,) = np.nonzero(places >= 0)
    wanted = np.full(len(boxes.images), -1)
    wanted[places[boxed]] = train.class_ids.numpy()[boxed]
    differs = boxes.differs(pa.array(wnids, pa.large_string()).take(pa.array(wanted, mask=wanted < 0)))
    other = differs & pc.match_substring_regex(boxes.wnids, _WNID).to_numpy(zero_copy_only=False)
    sizes = np.repeat(np.where(boxes.sizes > 0, boxes.sizes, np.iinfo(np.int32).max), boxes.counts, axis=0)
    clipped = clip_boxes(boxes.boxes, sizes)
    empty = (clipped[:, 2:] <= clipped[:, :2]).any(1)
    malformed = pc.not_equal(boxes.problems, "").to_numpy(zero_copy_only=False)
    sound = ~(malformed | boxes.any_of(other | empty))
    chosen = boxed[sound[places[boxed]]]
    if len(chosen) < len(boxed):
        first = int(places[boxed[~sound[places[boxed]]][0]])
        log.warning(
            "ImageNet: %d of %d training images with boxes cannot be held out: their annotation is malformed, empty, "
            "outside of the image, or of another class. The first is %s.",
            len(boxed) - len(chosen),
            len(boxed),
            boxes.problems[first].as_py() or boxes.origin(first),
        )
    if not len(chosen):
        raise ValueError(f"{boxes.source} has no sound box for any image of train; unpack or download it again.")
    _, held = hold_out_boxed(boxes.index(places[chosen], train.select(chosen)), fraction, seed)
    stays = pc.invert(pc.is_in(train.image_ids.to_arrow(), value_set=held.image_ids.to_arrow()))
    return train.select(np.flatnonzero(stays.to_numpy(zero_copy_only=False))), held
