"""Reader of OpenImages30k."""

from pathlib import Path

from wsol.data.index import Index
from wsol.data.preparation import Indices, reader
from wsol.data.readers.metadata import read_metadata_set


@reader()
def openimages(
    root: str | Path,
    name: str = "OpenImages",
    metadata: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
) -> Indices:
    """Read OpenImages30k: 100 classes with instance masks and ignored regions, no boxes.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, who drew 29,819
    training, 2,500 val and 5,000 test images from Open Images V5 (Benenson et al., "Large-scale Interactive Object
    Segmentation with Human Annotators", CVPR 2019). A pixel is on the object where any mask of the image is above 0.5;
    other pixels in the ignored region are left out of scores.

    Args:
        root: folder that contains `OpenImages` with images and masks, and `metadata/OpenImages`; see
            `wsol.data.readers.metadata`, also for the other parameters.
        name: name of the two folders.
        metadata: another folder of text files.
        images: another folder of images.
        masks: another folder of masks.

    Raises:
        FileNotFoundError: for a missing folder, file, image or mask, with what to do.
        ValueError: for a malformed line, naming it; or if val or test have boxes instead of masks.
    """
    indices = read_metadata_set(Path(root), name, metadata, images, masks)
    for title, index in (("val", Index.of(indices.val)), ("test", Index.of(indices.test))):
        if len(index.boxes):
            raise ValueError(
                f"{index[0].origin}: {title} of {name} has boxes, not masks; read it with data=metadata "
                f"data.name={name}."
            )
    return indices
