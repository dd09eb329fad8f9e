"""Reader of images with boxes in the XML of Pascal VOC."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsol.data.custom.image_files import absent_images
from wsol.data.custom.labels import Annotated, Labelled, Several, single_labels
from wsol.data.custom.splits import SPLITS, HeldOut, SplitName, find_layout, own_indices, split_name
from wsol.data.formats.box_format import check_numbers, refuse_fractions
from wsol.data.formats.text_lines import Line, read_lines, read_table
from wsol.data.formats.voc_folder import VocFile, find_images, read_voc_folder
from wsol.data.image_tree import list_images
from wsol.data.preparation import Indices, Preparation, reader
from wsol.geometry import as_boxes

log = logging.getLogger(__name__)

VocFormat = Literal["voc", "edges"]
Difficult = Literal["keep", "skip"]

_HELP = (
    "Set data.root=FOLDER to a folder with JPEGImages, Annotations and, where there are splits, "
    "ImageSets/Main, or any folder of images and their XML files."
)


@dataclass(frozen=True)
class VocPlaces:
    """Folders and lists of a data set.

    Attributes:
        images: the folder of images, from `root`; None: `JPEGImages` if there are `Annotations`, else `root`.
        annotations: the folder of XML files, from `root`; None: `Annotations` if it exists, else `root`.
        image_sets: for each split the name of its list in `ImageSets/Main`, without suffix; None: its own name. VOC2012
            publishes no test annotations: {train: train, test: val}.
    """

    images: str | Path | None = None
    annotations: str | Path | None = None
    image_sets: Mapping[str, str] | None = None


@dataclass(frozen=True)
class VocObjects:
    """How the objects of an image are read.

    Attributes:
        several: what to do with objects of several classes: `error`, `largest`, `skip`; see `single_labels`.
        difficult: `keep` objects that are marked difficult, or `skip` them.
        box_format: `voc`, where the first pixel is 1 and the last one inside the box; or `edges`, as some tools write.

    Raises:
        ValueError: for an unknown choice.
    """

    several: Several = "error"
    difficult: Difficult = "keep"
    box_format: VocFormat = "voc"

    def __post_init__(self) -> None:
        for option, known in (("difficult", Difficult), ("box_format", VocFormat)):
            if getattr(self, option) not in get_args(known):
                raise ValueError(
                    f"{option} must be one of {', '.join(get_args(known))}, got {getattr(self, option)!r}."
                )


@reader()
def voc(
    root: str | Path,
    places: VocPlaces,
    objects: VocObjects,
    held_out: HeldOut,
    name: str = "voc",
    *,
    preparation: Preparation,
) -> Indices:
    """Read images with one XML file each in the form of Pascal VOC; each image gets one label.

    The folders are those of VOC, or one folder of images and XML files. The lists in `ImageSets/Main` give the splits,
    or else the folders at the top, if their names are train, val and test; otherwise each class is split at random. If
    there are train and test but no val, val is held out of train. Images whose XML file has no object have no label and
    are left out.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.

    Args:
        root: folder of the data set.
        places: the folders and lists below `root`.
        objects: how the objects of an image are read.
        held_out: the images that are held out where a split is not given.
        name: name of the data set in tables and in the names of runs.
        preparation: whether `val` is held out of test, and whether training images may be missing.

    Raises:
        FileNotFoundError: for a missing folder or list, with what to do, and for missing images, with their number.
        ValueError: for a malformed annotation, naming file and line; for images of several classes.
    """
    root = Path(root)
    standard = places.annotations is None and (root / "Annotations").is_dir()
    xml_folder = root / (places.annotations or ("Annotations" if standard else ""))
    image_folder = root / (places.images or ("JPEGImages" if standard else ""))
    for folder in (xml_folder, image_folder):
        if not folder.is_dir():
            raise FileNotFoundError(f"No folder of Pascal VOC at {folder}. {_HELP}")
    files = read_voc_folder(xml_folder)
    listed = list_images(image_folder)
    lists = _lists(root / "ImageSets" / "Main", places.image_sets)
    split_of: dict[str, SplitName] | None = None
    if lists is not None:
        split_of = _by_lists(lists, {file.stem for file in files}, xml_folder)
        if len(split_of) < len(files):
            log.info("%s: %d XML files are in no list and left out.", xml_folder, len(files) - len(split_of))
        files = [file for file in files if file.stem in split_of]
    found_images = find_images(files, listed.files)
    missing = [(file.filename or file.stem, str(file.path)) for file in files if file.stem not in found_images]
    if missing:
        raise absent_images(image_folder, missing, len(files), str(xml_folder))
    bare = len(listed.files) - len(set(found_images.values()))
    if lists is None and bare:
        log.warning("%s: %d images have no XML file and are left out.", image_folder, bare)
    if lists is None and (layout := find_layout(image_folder, listed.folders)).by_split:
        split_of = {file.stem: _of_folder(file, layout.split_of(found_images[file.stem])) for file in files}
    labelled = _labelled(files, found_images, image_folder, str(xml_folder), objects)
    parts: dict[SplitName, list[Labelled]] = {}
    if split_of is not None:
        stems = {image: stem for stem, image in found_images.items()}
        for image in labelled:
            parts.setdefault(split_of[stems[image.image_id]], []).append(image)
    return own_indices(name, labelled if split_of is None else parts, str(xml_folder), held_out, preparation)


def _lists(folder: Path, image_sets: Mapping[str, str] | None) -> dict[SplitName, Path] | None:
    """Split -> file that lists its images; None: there are no lists."""
    if image_sets is not None:
        return {split_name(str(split), "image_sets"): folder / f"{name}.txt" for split, name in image_sets.items()}
    files = {split: folder / f"{split}.txt" for split in SPLITS if (folder / f"{split}.txt").is_file()}
    if not files:
        return None
    for split in ("train", "test"):
        if split not in files:
            raise FileNotFoundError(
                f"{folder} has {', '.join(f'{name}.txt' for name in files)}, but no {split}.txt; name the lists to "
                "use, such as 'data.image_sets={train: train, test: val}', and val is held out of train."
            )
    return files


def _by_lists(lists: Mapping[SplitName, Path], stems: set[str], xml_folder: Path) -> dict[str, SplitName]:
    split_of: dict[str, SplitName] = {}
    for split, path in lists.items():
        table: dict[str, Line] = read_table(read_lines(path, 1), lambda line: line)
        for stem, line in table.items():
            if stem not in stems:
                raise line.error(f"{stem!r} has no XML file in {xml_folder}.")
            if stem in split_of:
                raise line.error(f"{stem!r} is in {lists[split_of[stem]].name} too; an image is in one split.")
            split_of[stem] = split
    return split_of


def _of_folder(file: VocFile, split: SplitName | None) -> SplitName:
    if split is None:
        raise ValueError(f"{file.path}: its image is in none of the folders train, val and test; move it into one.")
    return split


def _labelled(
    files: Sequence[VocFile],
    found_images: Mapping[str, str],
    image_folder: Path,
    source: str,
    objects: VocObjects,
) -> list[Labelled]:
    """Return the images that have a label, with boxes as edges."""
    keep = objects.difficult == "keep"
    kept = [[place for place, hard in enumerate(file.difficult) if keep or not hard] for file in files]
    hard = sum(sum(file.difficult) for file in files)
    log.info(
        "%s: %d XML files with %d objects, of which %d are marked difficult%s.",
        source,
        len(files),
        sum(len(file.names) for file in files),
        hard,
        "" if keep or not hard else " and left out",
    )
    pairs = [(file, place) for file, places in zip(files, kept, strict=True) for place in places]
    boxes = _edges(pairs, source, objects.box_format)
    ends = np.cumsum([len(places) for places in kept])[:-1]
    annotated = (
        Annotated(
            image_id=found_images[file.stem],
            path=image_folder / found_images[file.stem],
            labels=tuple(file.names[place] for place in places),
            boxes=of_file,
            origin=file.origin(places[0]) if places else str(file.path),
            size=file.size,
            box_origins=tuple(file.origin(place) for place in places),
        )
        for file, places, of_file in zip(files, kept, np.split(boxes, ends), strict=True)
    )
    return single_labels(annotated, objects.several, source)


def _edges(pairs: Sequence[tuple[VocFile, int]], source: str, box_format: VocFormat) -> NDArray[np.float32]:
    """Return the (M, 4) edges of all objects."""
    numbers = np.array([file.boxes[place] for file, place in pairs], np.float64).reshape(-1, 4)
    origins = [file.origin(place) for file, place in pairs]
    refuse_fractions(numbers, source)
    if box_format == "edges":
        check_numbers(numbers, origins, "edges", lambda _: "set data.box_format=voc")
        edges = as_boxes(numbers)
    else:
        edges = as_boxes(numbers - [1, 1, 0, 0])  # the first pixel is 1, and the last one lies inside
        early = int((numbers[:, :2] < 1).any(axis=1).sum())
        if early:
            log.warning(
                "%s: %d of %d boxes start before pixel 1, VOC's first; if x and y count from 0, data.box_format=edges.",
                source,
                early,
                len(numbers),
            )
    return edges
