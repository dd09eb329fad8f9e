"""Reader of images with boxes in the JSON of COCO."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsol.data.custom.image_files import check_present, inside
from wsol.data.custom.labels import Annotated, Labelled, Several, single_labels
from wsol.data.custom.splits import SPLITS, HeldOut, SplitName, own_indices, split_name
from wsol.data.formats.box_format import refuse_fractions
from wsol.data.formats.coco_json import CocoImage, read_coco
from wsol.data.image_tree import list_images
from wsol.data.preparation import Indices, Preparation, reader, share_of_test
from wsol.geometry import as_boxes, from_xywh

log = logging.getLogger(__name__)

_HELP = (
    "Name the folder of the images with data.images=FOLDER, and their annotations with data.annotations=FILE.json, or "
    "with data.train=FILE.json data.test=FILE.json and, where there is one, data.val=FILE.json."
)


@dataclass(frozen=True)
class CocoFiles:
    """The JSON files: one of all images, or one for each split.

    Attributes:
        annotations: the file of all images.
        train: the file of training images, in place of `annotations`.
        val: the file of images that choose thresholds.
        test: the file of images that are scored.
    """

    annotations: str | Path | None = None
    train: str | Path | None = None
    val: str | Path | None = None
    test: str | Path | None = None


@reader()
def coco(
    images: str | Path | Mapping[str, str | Path],
    files: CocoFiles,
    several: Several = "error",
    *,
    held_out: HeldOut,
    name: str = "coco",
    preparation: Preparation,
) -> Indices:
    """Read images with boxes in the JSON of COCO ("object detection"); each image gets one label.

    The annotations are either one file, which is split at random by class, or one file per split; if there are train
    and test but no val, val is held out of train. Categories of several files are the same if their names are. Images
    without a box have no label and are left out.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.

    Args:
        images: the folder that each `file_name` starts from; or split -> folder.
        files: the annotations.
        several: what to do with boxes of several categories: `error`, `largest`, `skip`; see `single_labels`.
        held_out: the images that are held out where a split is not given.
        name: name of the data set in tables and in the names of runs.
        preparation: whether `val` is held out of test, and whether training images may be missing.

    Raises:
        FileNotFoundError: for a missing folder or file, with what to do, and for missing images, with their number.
        ValueError: for a malformed annotation, naming file and id; for images of several categories.
    """
    of_splits: dict[SplitName, Path] = {
        split: Path(file)
        for split in SPLITS
        if (file := getattr(files, split)) is not None and share_of_test(file) is None
    }
    everything = None if files.annotations is None else Path(files.annotations)
    if (everything is None) == (not of_splits):
        what = "neither" if everything is None else "both"
        raise ValueError(
            f"Either annotations or train, val and test name the annotations, but {what} is given. {_HELP}"
        )
    folders = _folders(images, of_splits)
    for path in [*folders.values(), *of_splits.values(), *([] if everything is None else [everything])]:
        if not path.exists():
            raise FileNotFoundError(f"Nothing is at {path}. {_HELP}")
    if everything is not None:
        parts: list[Labelled] | dict[SplitName, list[Labelled]] = _read(everything, folders[""], "", several)
    else:
        parts = _parts(of_splits, folders, several)
    source = ", ".join(str(path) for path in of_splits.values()) or str(everything)
    return own_indices(name, parts, source, held_out, preparation)


def _parts(
    files: Mapping[SplitName, Path], folders: Mapping[str, Path], several: Several
) -> dict[SplitName, list[Labelled]]:
    parts: dict[SplitName, list[Labelled]] = {}
    seen: dict[Path, Path] = {}
    for split, path in files.items():
        shared = "" in folders
        if not shared and split not in folders:
            raise ValueError(
                f"images names a folder for {', '.join(folders)}, but none for {split}, which {path} is of."
            )
        parts[split] = _read(path, folders["" if shared else split], "" if shared else f"{split}/", several)
        for image in parts[split]:
            if seen.setdefault(image.path, path) != path:
                raise ValueError(f"{image.path} is an image of both {seen[image.path]} and {path}; take it out of one.")
    return parts


def _folders(images: str | Path | Mapping[str, str | Path], files: Mapping[SplitName, Path]) -> dict[str, Path]:
    """Return split -> folder; "" means all splits."""
    if not isinstance(images, Mapping):
        return {"": Path(images)}
    if not files:
        raise ValueError("images names a folder for each split, so there must be annotations for each: " + _HELP)
    return {split_name(str(split), "images"): Path(folder) for split, folder in images.items()}


def _read(path: Path, folder: Path, prefix: str, several: Several) -> list[Labelled]:
    """Return the images of one file that have a label."""
    images = read_coco(path)
    names = [inside(image.file_name, image.origin) for image in images]
    check_present(
        folder,
        ((name, image.origin) for name, image in zip(names, images, strict=True)),
        set(list_images(folder).files),
        str(path),
    )
    edges = [from_xywh(image.boxes) if image.boxes else as_boxes([]) for image in images]
    _check_boxes(path, images)
    annotated = (
        Annotated(
            prefix + name,
            folder / name,
            tuple(image.labels),
            boxes,
            image.origin,
            image.size,
            tuple(image.box_origins),
        )
        for name, image, boxes in zip(names, images, edges, strict=True)
    )
    labelled = single_labels(annotated, several, str(path))
    categories = len({label for image in images for label in image.labels})
    log.info(
        "%s: %d images, %d boxes of %d categories; %d images have a label.",
        path,
        len(images),
        sum(map(len, edges)),
        categories,
        len(labelled),
    )
    return labelled


def _check_boxes(path: Path, images: list[CocoImage]) -> None:
    flat = [box for image in images for box in image.boxes]
    if any(max(image.size or (2,)) > 1 for image in images):
        refuse_fractions(flat, str(path))
