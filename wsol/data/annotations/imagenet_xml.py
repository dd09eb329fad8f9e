"""Read the XML annotations of ILSVRC without its images."""

from pathlib import Path

import numpy as np

from wsol.data.annotations.clipped import clip_truth
from wsol.data.ground_truth import GroundTruth
from wsol.data.imagenet.boxes import read_image_boxes
from wsol.data.imagenet.labels import imagenet_class_names, imagenet_wnids


def read_ilsvrc_xml(source: Path) -> GroundTruth:
    """Read the boxes of the official validation images: a folder of XML, or ILSVRC2012_bbox_val_v3.tgz.

    Image ids are the names of the files without suffix, classes those of the sorted wnids.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: naming a file that is malformed, names no size, or objects of several or unknown classes.
    """
    annotations = read_image_boxes(source)
    wnids = imagenet_wnids()
    class_of = {wnid: class_id for class_id, wnid in enumerate(wnids)}
    labels = annotations.first_wnids().to_pylist()
    mixed = annotations.any_of(annotations.differs(annotations.first_wnids()))
    for place, (label, problem) in enumerate(zip(labels, annotations.problems.to_pylist(), strict=True)):
        if not problem and label not in class_of:
            problem = f"the object {label!r} is no wnid of ILSVRC2012."
        if not problem and mixed[place]:
            problem = "the objects are of several classes; of these images each has one."
        if not problem and not annotations.sizes[place].all():
            problem = "the size of the image is missing."
        if problem:
            raise ValueError(f"{annotations.origin(place)}: {problem}")
    truth = GroundTruth(
        image_ids=np.array(annotations.images.to_pylist()),
        class_ids=np.array([class_of[label] for label in labels], np.int64),
        boxes=np.split(annotations.boxes, annotations.ends[1:-1]),
        sizes=annotations.sizes.astype(np.int64),
        class_names=tuple(imagenet_class_names(wnids)),
    )
    return clip_truth(truth, source, annotations.box_origin)
