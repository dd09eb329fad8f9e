"""OpenImages30k."""

from pathlib import Path

from wsol.data.class_names import Classes
from wsol.data.image_set import Decode
from wsol.data.readers.metadata import metadata as read
from wsol.data.splits import Splits


def openimages(
    root: str | Path,
    name: str = "OpenImages",
    metadata: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    image_size: int = 224,
    train_size: int = 256,
    max_cache_gib: float = 4,
    classes: Classes = None,
    decode: Decode | None = None,
) -> Splits:
    """OpenImages30k: 100 classes with instance masks and ignored regions, no boxes.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, who drew 29,819
    training, 2,500 val and 5,000 test images from Open Images V5 (Benenson et al., "Large-scale Interactive Object
    Segmentation with Human Annotators", CVPR 2019). A pixel is on the object where any mask of the image is above 0.5;
    what the ignored region covers of the others is left out of scores.

    Args:
        root: what holds `OpenImages` with images and masks, and `metadata/OpenImages`; see
            `wsol.data.readers.metadata`, as for all that follows.
        name: of the two folders.
        metadata: another folder of text files.
        images: another folder of images.
        masks: another folder of masks.
        image_size: side in pixels of what the network reads.
        train_size: side in pixels that training crops are cut from.
        max_cache_gib: decoded images kept in memory, per split.
        classes: a subset: the first k, or a list of Open Images' labels, `01226z` for /m/01226z.
        decode: `reduced`, which is faster and moves numbers; see `make_splits`.

    Raises:
        FileNotFoundError: for a missing folder, file, image or mask, with what to do.
        ValueError: for a malformed line, naming it; or if val or test have boxes instead of masks.
    """
    splits = read(root, name, metadata, images, masks, image_size, train_size, max_cache_gib, classes, decode)
    for title, split in (("val", splits.val), ("test", splits.test)):
        if len(split.entries.boxes):
            raise ValueError(
                f"{split.entries[0].origin}: {title} of {name} has boxes, not masks; read it with data=metadata "
                f"data.name={name}."
            )
    return splits
