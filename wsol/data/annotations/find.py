"""Recognize the form of annotations on disk, and read those of one split."""

from pathlib import Path

import numpy as np
import pandas as pd

from wsol.data.annotations.boxes_csv import read_csv
from wsol.data.annotations.coco import read_coco_boxes
from wsol.data.annotations.imagenet_xml import read_ilsvrc_xml
from wsol.data.annotations.metadata import read_metadata
from wsol.data.ground_truth import GroundTruth, truth_of
from wsol.data.image_set import ImageSet
from wsol.data.imagenet.files import is_annotation
from wsol.data.masks import MaskFiles
from wsol.data.readers.cub import cub
from wsol.data.readers.tiny_imagenet import tiny_imagenet
from wsol.data.splits import Splits

_FORMS = (
    "a folder of the field's metadata (image_ids.txt, localization.txt, ...) or one with a folder for each split, "
    "CUB_200_2011, tiny-imagenet-200, a .csv file (image,x0,y0,x1,y1,...), a COCO .json, ILSVRC's XML in a folder or a "
    "tar, or a predictions-*.parquet of a run"
)


def find_truth(
    source: Path,
    split: str,
    masks: Path | None = None,
    images: Path | None = None,
    inclusive: bool = False,
) -> GroundTruth:
    """Read the annotations of one split.

    Args:
        source: what `_FORMS` lists; recognized by its files.
        split: `train`, `val` or `test`.
        masks: folder of the mask files, for metadata that name some.
        images: folder of the image files, for a CSV or JSON file that does not state their sizes.
        inclusive: in a CSV file, the pixel (x1, y1) lies inside its box.

    Raises:
        FileNotFoundError, ValueError: naming what is missing or malformed.
    """
    if source.suffix == ".csv":
        return read_csv(source, split, images, inclusive)
    if source.suffix == ".json":
        return read_coco_boxes(source, images)
    if source.suffix == ".parquet":
        if not source.is_file():
            raise FileNotFoundError(f"No predictions at {source}.")
        if source.stem.startswith("predictions-") and source.stem != f"predictions-{split}":
            raise ValueError(f"{source} is of another split than {split!r}; set --split {source.stem[12:]}.")
        return truth_of(pd.read_parquet(source))
    for folder in (source, source / split):
        if (folder / "image_ids.txt").is_file():
            return read_metadata(folder, masks)
    for name, reader in (("CUB_200_2011", cub), ("tiny-imagenet-200", tiny_imagenet)):
        if (source / name).is_dir() or source.name == name:
            return _of_splits(reader(source), split)
    if source.exists() and is_annotation(source):
        return read_ilsvrc_xml(source)
    raise FileNotFoundError(f"No annotations at {source}: give {_FORMS}.")


def _of_splits(splits: Splits, split: str) -> GroundTruth:
    images: ImageSet = getattr(splits, split)
    entries = images.entries
    if not len(entries.boxes):
        raise ValueError(f"The split {split!r} of {splits.name} is for training and has no boxes; choose val or test.")
    rest = list(entries)
    files = MaskFiles(
        [entry.mask_paths for entry in rest], [entry.ignore_path for entry in rest], above=rest[0].mask_above
    )
    return GroundTruth(
        image_ids=np.array(list(images.image_ids)),
        class_ids=images.class_ids,
        boxes=np.split(images.clipped_boxes(), entries.box_ends.numpy()[1:-1]),
        sizes=images.sizes.astype(np.int64),
        read_mask=files.read if all(entry.mask_paths for entry in rest) else None,
        class_names=splits.class_names,
    )
