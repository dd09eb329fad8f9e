"""Reader of ImageNet-1k."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
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
from wsol.data.preparation import Indices, Preparation, reader, share_of_test

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BoxFiles:
    """Files of boxes.

    Attributes:
        boxes: path of the boxes of the official validation images; None: searched below the root.
        metadata: the folder metadata/ILSVRC/val of github.com/clovaai/wsolevaluation; None: searched below the root.
    """

    boxes: str | Path | None = None
    metadata: str | Path | None = None


@reader()
def imagenet(
    root: str | Path,
    val: str = "imagenetv2",
    val_fraction: float = 0.02,
    split_seed: int = 0,
    *,
    files: BoxFiles,
    preparation: Preparation,
) -> Indices:
    """Read ImageNet-1k (ILSVRC2012, CLS-LOC) in any of its layouts, or any subset of its class folders.

    Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. `train` is the official
    training split, with labels alone; `test` is the official validation split with all its boxes, whose labels are
    public, unlike those of the official test split. Coordinates are read as edges without conversion, as in the
    metadata of Choe et al., CVPR 2020. Class ids follow the sorted wnids; a class without a folder in train is left out
    everywhere.

    Images lie in Kaggle's ILSVRC/Data/CLS-LOC, or in train/ and val/, at the root or in a folder of a usual name below
    it; val/ has class folders or is flat. Boxes of val are XML, in a folder or in the downloaded tar, Kaggle's
    LOC_val_solution.csv, or the field's metadata/ILSVRC/test. The labels of a flat val/ are those of the development
    kit if it exists, else the names of the boxes; both must agree.

    Args:
        root: the folder that contains the images, or one folder above.
        val: `imagenetv2` with the boxes of Choe et al., which is their protocol; `train`, held out of the training
            images that have boxes; or `test:FRACTION`, held out of `test`.
        val_fraction: share of each class's training images with boxes, for `val=train`; 0.02 are about 10,000.
        split_seed: seed of the images that are held out.
        files: the files of boxes.
        preparation: without training images, these are neither needed nor read, and the classes are those that val/
            has images of.

    Raises:
        FileNotFoundError: for a missing folder or file, with the places that were searched and what to do.
        ValueError: for a malformed annotation, naming it; and for labels of two sources that disagree.
    """
    of_test = share_of_test(val) is not None
    if val not in ("imagenetv2", "train") and not of_test:
        raise ValueError(f"data.val must be imagenetv2, train or test:FRACTION, got {val!r}.")
    with_train = preparation.with_train or val == "train"
    found = find_imagenet(Path(root), with_train)
    wnids = imagenet_wnids()
    tree = list_images(found.images / "train", "train/") if with_train else None
    class_of = np.arange(len(wnids)) if tree is None else _class_ids(tree, wnids, found.images / "train")
    boxes_from = found.val_boxes(files.boxes)
    test = official_val(found.images / "val", found.devkit(), read_image_boxes(boxes_from), wnids, class_of)
    if tree is None:
        present = np.unique(test.class_ids.numpy())
        class_of = np.full(len(wnids), -1, np.int64)
        class_of[present] = np.arange(len(present))
        test, train, folders = test.with_classes(class_of), Index.of([]), [wnids[place] for place in present]
    else:
        train = Index.of_files(found.images, tree.files, tree.folder_ids)  # folders are sorted, like classes
        folders = list(tree.folders)
    if of_test:
        held, val_from = Index.of([]), Path("test")
    elif val == "imagenetv2":
        val_from = found.v2_images()
        held = read_imagenet_v2(val_from, found.v2_metadata(files.metadata), class_of)
    else:
        val_from = found.train_boxes()
        train, held = hold_out_of_train(train, read_image_boxes(val_from), folders, val_fraction, split_seed)
    log.info(
        "ImageNet: %s in %s, %d of %d classes. train: %d images. val: %d images with %d boxes, by %s. "
        "test: %d images with %d boxes of %s.",
        found.layout,
        found.images,
        len(folders),
        len(wnids),
        len(train),
        len(held),
        len(held.boxes),
        val_from,
        len(test),
        len(test.boxes),
        boxes_from,
    )
    class_names = imagenet_class_names(folders, found.synset_mapping())
    return Indices("imagenet", class_names, train, held, test)


def _class_ids(tree: ImageTree, wnids: Sequence[str], folder: Path) -> NDArray[np.int64]:
    """Return (1,000,) the class id of each sorted wnid; -1 where train has no image of it."""
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
