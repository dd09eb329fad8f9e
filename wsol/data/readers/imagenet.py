"""ImageNet-1k."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.data.image_tree import ImageTree, list_images
from wsol.data.imagenet.boxes import read_image_boxes
from wsol.data.imagenet.files import find_imagenet
from wsol.data.imagenet.labels import imagenet_class_names, imagenet_wnids
from wsol.data.imagenet.splits import hold_out_of_train, official_val
from wsol.data.imagenet.v2 import read_imagenet_v2
from wsol.data.index import Index
from wsol.data.preparation import Indices, reader

log = logging.getLogger(__name__)


@reader()
def imagenet(
    root: str | Path,
    val: str = "imagenetv2",
    val_fraction: float = 0.02,
    split_seed: int = 0,
    boxes: str | Path | None = None,
    metadata: str | Path | None = None,
) -> Indices:
    """ImageNet-1k (ILSVRC2012, CLS-LOC), in whichever of its layouts is found; any subset of its class folders.

    Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. `train` is the official
    training split, with labels alone; `test` is the official validation split with all its boxes, whose labels are
    public, unlike those of the official test split. Coordinates are taken as edges as they stand, as in the metadata of
    Choe et al., CVPR 2020. Class ids follow the sorted wnids; a class without a folder in train is left out everywhere.

    Images are found as Kaggle's ILSVRC/Data/CLS-LOC, or as train/ and val/, at the root or in a folder of a usual name
    below it; val/ has class folders or is flat. Boxes of val are found as XML, in a folder or in the tar as it was
    downloaded, as Kaggle's LOC_val_solution.csv, or as the field's metadata/ILSVRC/test. Of a flat val/ the labels are
    those of the development kit if it is there, else the names of the boxes; both must agree.

    Args:
        root: the folder that holds the images, or one folder above.
        val: `imagenetv2`, with the boxes of Choe et al.: their protocol; or `train`: held out of the training images
            that have boxes, which train then loses.
        val_fraction: of each class's training images with boxes, for `val=train`; 0.02 are about 10,000.
        split_seed: chooses them.
        boxes: of the official validation images, where they are not found.
        metadata: the folder metadata/ILSVRC/val of github.com/clovaai/wsolevaluation, where it is not found.

    Raises:
        FileNotFoundError: for a missing folder or file, with where it was looked for and what to do.
        ValueError: for a malformed annotation, naming it; and for labels of two sources that disagree.
    """
    if val not in ("imagenetv2", "train"):
        raise ValueError(f"data.val must be imagenetv2 or train, got {val!r}.")
    files = find_imagenet(Path(root))
    wnids = imagenet_wnids()
    tree = list_images(files.images / "train", "train/")
    class_of = _class_ids(tree, wnids, files.images / "train")
    train = Index.of_files(files.images, tree.files, tree.folder_ids)  # folders are sorted, as classes are
    boxes_from = files.val_boxes(boxes)
    test = official_val(files.images / "val", files.devkit(), read_image_boxes(boxes_from), wnids, class_of)
    if val == "imagenetv2":
        val_from = files.v2_images()
        held = read_imagenet_v2(val_from, files.v2_metadata(metadata), class_of)
    else:
        val_from = files.train_boxes()
        train, held = hold_out_of_train(train, read_image_boxes(val_from), tree.folders, val_fraction, split_seed)
    log.info(
        "ImageNet: %s in %s, %d of %d classes. train: %d images. val: %d images with %d boxes, by %s. "
        "test: %d images with %d boxes of %s.",
        files.layout,
        files.images,
        len(tree.folders),
        len(wnids),
        len(train),
        len(held),
        len(held.boxes),
        val_from,
        len(test),
        len(test.boxes),
        boxes_from,
    )
    class_names = imagenet_class_names(tree.folders, files.synset_mapping())
    return Indices("imagenet", class_names, train, held, test)


def _class_ids(tree: ImageTree, wnids: Sequence[str], folder: Path) -> NDArray[np.int64]:
    """(1,000,) the class id of each sorted wnid; -1 where train has no folder of that name with an image in it."""
    places = {wnid: place for place, wnid in enumerate(wnids)}
    for name in tree.folders:
        if name not in places:
            what = f"folder {name!r}, which is no wnid of ILSVRC2012" if name else "images outside of class folders"
            raise ValueError(f"{folder} holds {what}; move it elsewhere.")
    if len(tree.folders) < len(wnids):
        log.info("ImageNet: %d of %d classes have images in %s.", len(tree.folders), len(wnids), folder)
    class_of = np.full(len(wnids), -1, np.int64)
    class_of[[places[name] for name in tree.folders]] = np.arange(len(tree.folders))
    return class_of
