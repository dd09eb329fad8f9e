"""Reader of any data set that is prepared for the field's evaluation."""

import logging
from pathlib import Path

import numpy as np

from wsol.data.formats.metadata_files import MetadataSplit, read_split
from wsol.data.formats.metadata_images import check_files, folder_names, index_of, load_with_masks, mask_files
from wsol.data.index import Index
from wsol.data.preparation import Indices, reader

log = logging.getLogger(__name__)

_FILES = "image_ids.txt, class_labels.txt, image_sizes.txt and localization.txt"


@reader()
def metadata(
    root: str | Path,
    name: str,
    metadata: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    with_train: bool = True,
) -> Indices:
    """Read the text files and folders that the scripts of github.com/clovaai/wsolevaluation prepare.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020. Its splits are
    used without change: `val` of CUB is CUBV2, `val` of ILSVRC is ImageNetV2 (`ILSVRC/val2`), and `test` of ILSVRC
    is the official validation split. Where `localization.txt` names masks, the entries have masks and no boxes.

    A class is named after the folder of its training images, where that folder holds no other class, else `class 0`,
    `class 1`, ...

    Args:
        root: folder that contains `NAME` or `dataset/NAME` with the images; `metadata/NAME` lies in it or beside it.
        name: name of the data set's folders: CUB, ILSVRC, OpenImages, or a user's own.
        metadata: another folder of text files: the one with train, val and test, or the one that contains `NAME`.
        images: another folder that image ids start from, or that contains `NAME`.
        masks: another folder of masks, or one that contains `NAME`; None: searched among the images, in `maskdata/NAME`
            and in `masks/NAME`.
        with_train: False: training images may be missing, but not their lists, which number the classes.

    Raises:
        FileNotFoundError: for a missing folder, file, image or mask, with what to do.
        ValueError: for a malformed line, naming it.
    """
    return read_metadata_set(Path(root), name, metadata, images, masks, with_train)


def read_metadata_set(
    root: Path,
    name: str,
    metadata: str | Path | None,
    images: str | Path | None,
    masks: str | Path | None,
    with_train: bool = True,
) -> Indices:
    """Return the classes and images of such a data set; parameters and errors are those of `metadata`."""
    if Path(name).name != name:
        raise ValueError(f"data.name must be the name of a folder, as CUB, got {name!r}; folders are data.images=...")
    texts = _find_metadata(root, name, metadata)
    parts = {title: read_split(texts / title, located=title != "train") for title in ("train", "val", "test")}
    count = _count_classes(parts)
    photographs = _find_images(root, name, images)
    log.info("%s: text files in %s, images in %s.", name, texts, photographs)
    indices = [
        _index(root, name, title, split, photographs, masks) if with_train or title != "train" else Index.of([])
        for title, split in parts.items()
    ]
    return Indices(name.lower(), folder_names(parts["train"], count), *indices, load=load_with_masks)


def _find_metadata(root: Path, name: str, given: str | Path | None) -> Path:
    if given is None:
        places = [root / "metadata" / name, root.parent / "metadata" / name]
    else:
        places = [_folder(root, given) / name, _folder(root, given)]
    for place in places:
        if (place / "test" / "image_ids.txt").is_file():
            return place
    raise FileNotFoundError(
        f"No text files of {name} in {' or '.join(map(str, places))}: there must be train/, val/ and test/ with "
        f"{_FILES} each. Take the folder metadata/{name} of github.com/clovaai/wsolevaluation, put it below "
        "machine.data_root, or set data.metadata=FOLDER."
    )


def _find_images(root: Path, name: str, given: str | Path | None) -> Path:
    if given is None:
        places = [root / name, root / "dataset" / name]
    else:
        places = [_folder(root, given) / name, _folder(root, given)]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"No images of {name} in {' or '.join(map(str, places))}: prepare them with the scripts in dataset/ of "
        "github.com/clovaai/wsolevaluation, and set machine.data_root=FOLDER, the folder that contains "
        f"{name}/, or with data.images=FOLDER."
    )


def _find_masks(root: Path, name: str, given: str | Path | None, images: Path, split: MetadataSplit) -> Path:
    if given is None:
        places = [images, root / "maskdata" / name, root / "masks" / name]
    else:
        places = [_folder(root, given) / name, _folder(root, given)]
    for place in places:
        if any((place / mask).is_file() for mask in split.masks):  # if some are missing, the error must name these
            return place
    raise FileNotFoundError(
        f"{split.origin(int(np.argmax(np.diff(split.ends) > 0)))}: mask {split.masks[0]} is not in "
        f"{' or '.join(map(str, places))}; unpack the archive of masks there, or set "
        "data.masks=FOLDER."
    )


def _folder(root: Path, given: str | Path) -> Path:
    """Return a folder as given, or below the root if it exists there."""
    return root / given if (root / given).is_dir() else Path(given)


def _count_classes(parts: dict[str, MetadataSplit]) -> int:
    """Return K, if labels count from 0 without a gap and every class has training images."""
    trained = np.unique(parts["train"].class_ids)
    gaps = np.flatnonzero(trained != np.arange(len(trained)))
    if len(gaps):
        raise ValueError(
            f"{parts['train'].folder / 'class_labels.txt'} has no image of class {gaps[0]}, but some of class "
            f"{trained[-1]}; number the classes from 0 without a gap."
        )
    for split in parts.values():
        above = np.flatnonzero(split.class_ids >= len(trained))
        if len(above):
            raise ValueError(
                f"{split.folder / 'class_labels.txt'}: image {split.image_ids[above[0]]!r} is of class "
                f"{split.class_ids[above[0]]}, but training images are of the classes 0 ... {len(trained) - 1} alone."
            )
    return len(trained)


def _index(root: Path, name: str, title: str, split: MetadataSplit, images: Path, masks: str | Path | None) -> Index:
    """Return one split, after checking that all its files exist."""
    check_files(
        images,
        split.image_ids,
        f"images of {name}'s {title}",
        "Unpack them there with the scripts in dataset/ of github.com/clovaai/wsolevaluation, or set "
        "machine.data_root=FOLDER or data.images=FOLDER.",
    )
    if not len(split.masks):
        boxes = f"{len(split.boxes):,} boxes of {split.localization}" if len(split.boxes) else "no boxes"
        log.info("%s %s: %s images, %s.", name, title, f"{len(split.image_ids):,}", boxes)
        return index_of(split, images)
    folder = _find_masks(root, name, masks, images, split)
    check_files(
        folder, mask_files(split), f"masks of {name}'s {title}", "Unpack their archive there again, or set data.masks."
    )
    log.info(
        "%s %s: %s images, %s masks in %s and %s ignored regions, listed in %s.",
        name,
        title,
        f"{len(split.image_ids):,}",
        f"{len(split.masks):,}",
        folder,
        f"{sum(1 for path in split.ignored or () if path):,}",
        split.localization,
    )
    return index_of(split, images, folder)
