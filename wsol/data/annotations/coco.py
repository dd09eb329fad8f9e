"""Read the boxes of a COCO JSON file without its images."""

from pathlib import Path

import numpy as np

from wsol.data.annotations.clipped import clip_truth
from wsol.data.decode import read_size
from wsol.data.formats.coco_json import CocoImage, read_coco
from wsol.data.ground_truth import GroundTruth
from wsol.geometry import Size, from_xywh


def read_coco_boxes(path: Path, images: Path | None = None) -> GroundTruth:
    """Read the annotations of all images with a box; image ids are the names of the files, as written.

    Args:
        path: the file.
        images: a folder to read sizes from, if the file does not state them.

    Returns:
        Classes are numbered in alphabetical order; that of an image with boxes of several categories is unknown (-1).

    Raises:
        FileNotFoundError: if the file is missing, or an image whose size is needed.
        ValueError: naming the file and the id of what is malformed; or if no image has a box.
    """
    boxed = [image for image in read_coco(path) if image.boxes]
    if not boxed:
        raise ValueError(f"{path} holds no box.")
    names = sorted({label for image in boxed for label in image.labels})
    class_ids = [names.index(image.labels[0]) if len(set(image.labels)) == 1 else -1 for image in boxed]
    truth = GroundTruth(
        image_ids=np.array([image.file_name for image in boxed]),
        class_ids=np.array(class_ids, np.int64),
        boxes=[from_xywh(image.boxes) for image in boxed],
        sizes=np.array([_size(image, images) for image in boxed], np.int64),
        class_names=tuple(names),
    )
    origins = [origin for image in boxed for origin in image.box_origins]
    return clip_truth(truth, path, origins.__getitem__)


def _size(image: CocoImage, images: Path | None) -> Size:
    if image.size is not None:
        return image.size
    if images is None:
        raise ValueError(f"{image.origin} has no width and height; add them, or give --images FOLDER to read them.")
    return read_size(images / image.file_name)
