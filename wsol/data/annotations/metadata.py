"""Read annotations from the text files of the field's evaluation (github.com/clovaai/wsolevaluation)."""

from pathlib import Path

import numpy as np

from wsol.data.annotations.clipped import clip_truth
from wsol.data.decode import read_size
from wsol.data.formats.metadata_files import MetadataSplit, read_split
from wsol.data.ground_truth import GroundTruth
from wsol.data.masks import MaskFiles
from wsol.geometry import as_boxes


def read_metadata(folder: Path, mask_root: Path | None = None) -> GroundTruth:
    """Read the annotations of one split in the files that `read_split` reads.

    Args:
        folder: of the split, for instance `metadata/CUB/test`.
        mask_root: folder where mask paths start, for metadata with masks (OpenImages30k); sizes are those of the masks.

    Raises:
        FileNotFoundError: naming a missing file.
        ValueError: naming file and line of what is malformed, or missing for an image.
    """
    split = read_split(folder)
    if len(split.masks):
        return _with_masks(split, mask_root)
    if split.sizes is None:
        raise ValueError(f"{folder / 'image_sizes.txt'} is empty; boxes without masks need the sizes of the images.")
    truth = GroundTruth(
        image_ids=np.array(list(split.image_ids)),
        class_ids=split.class_ids,
        boxes=np.split(split.boxes, split.ends[1:-1]),
        sizes=split.sizes,
    )
    return clip_truth(truth, split.localization, split.box_origin)


def _with_masks(split: MetadataSplit, mask_root: Path | None) -> GroundTruth:
    if mask_root is None:
        raise ValueError(f"{split.localization} names masks, not boxes; name their folder with --masks.")
    masks = [mask_root / mask for mask in split.masks]
    objects = [masks[start:end] for start, end in zip(split.ends[:-1], split.ends[1:], strict=True)]
    ignored = [mask_root / path if path else None for path in split.ignored or ()]
    files = MaskFiles(objects, ignored, above=0.5)
    return GroundTruth(
        image_ids=np.array(list(split.image_ids)),
        class_ids=split.class_ids,
        boxes=[as_boxes([])] * len(objects),
        sizes=np.array([read_size(files_of_image[0]) for files_of_image in objects], np.int64),
        read_mask=files.read,
    )
