"""Check, index and load the images and masks that metadata files name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image

from wsol.data.decode import read_mask
from wsol.data.formats.metadata_files import MetadataSplit
from wsol.data.image_set import load_entry
from wsol.data.image_tree import list_images
from wsol.data.index import Entry, Index
from wsol.data.missing_files import MissingFiles
from wsol.data.sample import Sample
from wsol.data.shared_strings import Strings
from wsol.geometry import Size, as_boxes

# Up to this number files are checked one by one; for more, folders are listed, and the list is kept between runs.
_ONE_BY_ONE = 20_000
_AT_ONCE = 1_000
# Masks of 0 and 1 as well as of 0 and 255, as in the field's evaluation.
_MASK_ABOVE = 0.5


def index_of(split: MetadataSplit, images: Path, masks: Path | None = None) -> Index:
    """Return the images of a split as an index; without boxes no object is made for each image.

    Args:
        split: as read.
        images: the folder that image ids start from.
        masks: the folder that paths of masks start from; needed where the split has some.
    """
    if len(split.masks):
        if masks is None:
            raise ValueError(f"{split.localization} names masks; name their folder.")
        return Index.of(_entry(split, place, images, masks) for place in range(len(split.image_ids)))
    return Index(
        image_ids=split.image_ids,
        class_ids=torch.from_numpy(split.class_ids.copy()),
        folder=str(images),
        paths=split.image_ids,
        boxes=torch.from_numpy(split.boxes.copy()),
        box_ends=torch.from_numpy(split.ends.copy()),
        sizes=None if split.sizes is None else torch.from_numpy(split.sizes.astype(np.int32)),
        origins=Strings.of(split.origin(place) for place in range(len(split.lines))) if len(split.boxes) else None,
        box_origins=Strings.of(map(split.box_origin, range(len(split.boxes)))) if len(split.boxes) else None,
    )


def _entry(split: MetadataSplit, place: int, images: Path, masks: Path) -> Entry:
    image_id, ignored = split.image_ids[place], "" if split.ignored is None else split.ignored[place]
    return Entry(
        image_id=image_id,
        class_id=int(split.class_ids[place]),
        boxes=as_boxes([]),
        path=images / image_id,
        origin=split.origin(place),
        size=None if split.sizes is None else (int(split.sizes[place, 0]), int(split.sizes[place, 1])),
        mask_paths=tuple(masks / split.masks[mask] for mask in range(split.ends[place], split.ends[place + 1])),
        ignore_path=masks / ignored if ignored else None,
        mask_above=_MASK_ABOVE,
    )


def mask_files(split: MetadataSplit) -> Strings:
    """Return all mask files of a split, ignored regions included."""
    return Strings.of([*split.masks, *(path for path in split.ignored or () if path)])


def check_files(folder: Path, files: Strings, what: str, remedy: str) -> None:
    """Raise MissingFiles unless all files exist below a folder.

    Args:
        folder: where their paths start.
        files: paths from there.
        what: description of the files for the message, as `images of CUB's train`.
        remedy: advice if some are missing.

    Raises:
        MissingFiles: with the number of missing files and the first of them.
    """
    absent = files
    if len(files) > _ONE_BY_ONE and folder.is_dir():
        listed = list_images(folder).files.to_arrow()
        present = pc.is_in(files.to_arrow(), value_set=listed)
        absent = Strings.from_arrow(files.to_arrow().filter(pc.invert(present)))
    # A list leaves out hidden files and folders that are linked twice, so files not on it are checked one by one.
    step = _AT_ONCE if len(files) > _ONE_BY_ONE else len(files)
    for start in range(0, len(absent), max(step, 1)):
        missing = [file for file in absent[start : start + step] if not (folder / file).is_file()]
        if missing:
            every = missing if step == len(files) else absent[start:]
            raise MissingFiles(
                f"{len(every):,} of the {len(files):,} {what} are missing in {folder}, the first is {missing[0]}. "
                f"{remedy}",
                [folder / file for file in every],
            )


def load_with_masks(entry: Entry, at_least: Size | None = None) -> Sample:
    """Decode an image and its objects' masks, which may be of another resolution.

    Most masks of Open Images are: 1,600 pixels long where images have 1,024 (github.com/openimages/dataset, issue 92).
    They are resized to the image's size by nearest neighbours. Scores of pixels read the files themselves.

    Raises:
        ValueError: for a mask whose sides are not in the proportion of its image's; and as `load_entry`.
    """
    sample = load_entry(replace(entry, mask_paths=()), at_least)
    height, width = sample.size
    mask = np.zeros(sample.size, bool)
    for path in entry.mask_paths:
        gray = read_mask(path)
        if not _in_proportion(gray.shape, sample.size):
            raise ValueError(
                f"Mask {path} has {gray.shape[1]} x {gray.shape[0]} pixels, which are not in the proportion of its "
                f"image's {width} x {height}; unpack both again."
            )
        mask |= np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.NEAREST)) > entry.mask_above
    return replace(sample, mask=mask) if entry.mask_paths else sample


def _in_proportion(of_mask: Size, of_image: Size) -> bool:
    """Return whether one size is the other times a factor, both rounded to whole pixels."""
    longer = int(np.argmax(of_image))
    factor = of_mask[longer] / of_image[longer]
    return abs(of_mask[1 - longer] - of_image[1 - longer] * factor) <= 1 + factor


def folder_names(split: MetadataSplit, count: int) -> tuple[str, ...]:
    """Return the names of K classes: the folder of a class's images if it has no other, else `class 0`, ...

    A folder named after a split, at the top, is passed over: `train/n01440764/x.JPEG` is of the class `n01440764`.
    """
    matches = pc.extract_regex(split.image_ids.to_arrow(), r"^(?:(?:train|val|test)/)?(?:(?P<folder>.*)/)?[^/]*$")
    folders = pc.fill_null(pc.struct_field(matches, "folder"), "").dictionary_encode()
    codes = folders.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    pairs = np.unique(split.class_ids * len(folders.dictionary) + codes)
    of_class, of_folder = np.divmod(pairs, len(folders.dictionary))
    classes = np.bincount(of_folder)  # how many classes a folder has images of
    inside = np.bincount(of_class, minlength=count)  # how many folders a class has images in
    names = [f"class {class_id}" for class_id in range(count)]
    for class_id, code in zip(of_class, of_folder, strict=True):
        name = folders.dictionary[int(code)].as_py()
        if name and inside[class_id] == 1 and classes[code] == 1:
            names[class_id] = name
    return tuple(names)
