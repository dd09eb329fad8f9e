"""Read the field's validation split of ImageNet: ImageNetV2 with the boxes of Choe et al."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.data.formats.text_lines import Line, read_lines
from wsol.data.image_tree import list_images
from wsol.data.imagenet.boxes import read_image_boxes
from wsol.data.imagenet.labels import imagenet_wnids
from wsol.data.index import Index
from wsol.data.missing_files import MissingFiles
from wsol.data.shared_strings import Strings

_OLD_NAME = re.compile(r"\d{1,3}/\d+\.jpeg")
_NEW_NAME = re.compile(r"\d{1,3}/[0-9a-f]{40}\.jpeg")
_MAPPING = "mapping.txt"


def read_imagenet_v2(images: Path, metadata: Path, class_of: NDArray[np.int64]) -> Index:
    """Read ImageNetV2 (threshold 0.7) under the ids of its boxes, `val2/<class>/<0 to 9>.jpeg`.

    Source: Recht et al., "Do ImageNet Classifiers Generalize to ImageNet?", ICML 2019; boxes of Choe et al., CVPR
    2020. They were drawn in 2020; the archive of today names the same files by hexadecimal digits, in another order
    (github.com/clovaai/wsolevaluation, issue 42). It can be used with a table of both names: a file mapping.txt, in
    either folder or beside `images`, with a line `0/0.jpeg, 0/<40 hexadecimal digits>.jpeg` for each image.

    Args:
        images: the folder with the class folders 0 ... 999, numbered as the sorted wnids.
        metadata: the folder with image_ids.txt, class_labels.txt, image_sizes.txt and localization.txt.
        class_of: (1,000,) the class id of each sorted wnid; -1: its images are left out.

    Raises:
        FileNotFoundError: for a missing file, and for names that no box goes by, with what to do.
        ValueError: for a malformed line, or labels that are not those of the class folders.
    """
    boxes = read_image_boxes(metadata)
    numbers = {wnid: number for number, wnid in enumerate(imagenet_wnids())}
    labels = np.array([numbers[wnid] for wnid in boxes.first_wnids().to_pylist()], np.int64)
    keys = boxes.images.to_pylist()
    for key, label in zip(keys, labels, strict=True):
        if key.split("/")[0] != str(label):
            raise ValueError(
                f"{metadata / 'class_labels.txt'}: class {label} of val2/{key} is not the number of its folder; this "
                "is no metadata of ImageNetV2. Download it again."
            )
    present = np.flatnonzero(class_of[labels] >= 0)
    files = _find_files(images, metadata, [keys[place] for place in present])
    index = Index.of_files(images, Strings.of(files), class_of[labels[present]])
    image_ids = Strings.of(f"val2/{keys[place]}" for place in present)
    return boxes.index(present, replace(index, image_ids=image_ids))


def _find_files(images: Path, metadata: Path, keys: list[str]) -> list[str]:
    """Return the file of each key, below `images`."""
    listed = set(list_images(images).files)
    if all(key in listed for key in keys):
        return keys
    renamed = next((name for name in sorted(listed) if _NEW_NAME.fullmatch(name)), None)
    if renamed is None:
        missing = [images / key for key in keys if key not in listed]
        raise MissingFiles(
            f"ImageNetV2 lacks {len(missing)} of {len(keys)} images that have a box, the first is {missing[0]}; unpack "
            "its archive again.",
            missing,
        )
    places = [folder / _MAPPING for folder in (images, images.parent, metadata)]
    table = next((path for path in places if path.is_file()), None)
    if table is None:
        raise FileNotFoundError(
            f"{images} has the file names of today's archive ({renamed}), its boxes go by those of 2020 (0/0.jpeg). "
            f"Save the table of both that is in issue 42 of github.com/clovaai/wsolevaluation as {places[1]}, lines "
            f"`0/0.jpeg, {renamed}`, or unpack the archive of 2020, or hold images of train out with data.val=train."
        )
    new_names = _read_mapping(table)
    for key in keys:
        if key not in new_names:
            raise ValueError(f"{table} has no line for {key}; get the whole table.")
    absent = [key for key in keys if new_names[key] not in listed]
    if absent:
        more = f", and so are {len(absent)} of {len(keys)} images" if len(absent) > 1 else ""
        raise MissingFiles(
            f"{table}: {absent[0]} is {images / new_names[absent[0]]}, which is missing{more}; unpack its archive "
            "again.",
            [images / new_names[key] for key in absent],
        )
    return [new_names[key] for key in keys]


def _read_mapping(path: Path) -> dict[str, str]:
    """Name of 2020 -> name of today, from lines that have either first."""
    new_names: dict[str, str] = {}
    used: set[str] = set()
    for line in read_lines(path, 2, ","):
        old, new = _in_order(line)
        if old in new_names or new in used:
            raise line.error(f"{old if old in new_names else new!r} is given a second time.")
        new_names[old] = new
        used.add(new)
    return new_names


def _in_order(line: Line) -> tuple[str, str]:
    first, second = (field.strip().removeprefix("val2/") for field in line.fields)
    for old, new in ((first, second), (second, first)):
        if _OLD_NAME.fullmatch(old) and _NEW_NAME.fullmatch(new) and old.split("/")[0] == new.split("/")[0]:
            return old, new
    raise line.error("expected `0/0.jpeg, 0/<40 hexadecimal digits>.jpeg`, two names in the folder of one class.")
