"""Data sets of a few images prepared as github.com/clovaai/wsolevaluation prepares them, to read and to break."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from trees import write_image

SPECIES = ("001.Albatross", "002.Auklet")


def write_split(
    folder: Path,
    labels: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    localization: Sequence[str] = (),
) -> None:
    """The four files of a split; sizes are (width, height), as they are written. Without sizes that file is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "image_ids": list(labels),
        "class_labels": [f"{image_id},{label}" for image_id, label in labels.items()],
        "image_sizes": [f"{image_id},{width},{height}" for image_id, (width, height) in (sizes or {}).items()],
        "localization": list(localization),
    }
    for name, texts in lines.items():
        (folder / f"{name}.txt").write_bytes("".join(f"{text}\n" for text in texts).encode())


def make_boxes(root: Path, name: str = "CUB") -> Path:
    """Two species in `root/NAME`, of 40 x 30 pixels; each has 3 images in train, 1 in val, 2 in test, boxed.

    The first image of test has two boxes. Returns the folder of the text files, `root/metadata/NAME`.
    """
    texts = root / "metadata" / name
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        labels = {f"{one}/{split}_{index}.jpg": label for label, one in enumerate(SPECIES) for index in range(count)}
        for seed, image_id in enumerate(labels):
            write_image(root / name / image_id, seed=seed)
        boxes = [f"{image_id},10,5,30,25" for image_id in labels]
        if split == "test":
            boxes.insert(1, f"{next(iter(labels))},0,0,4,3")
        write_split(texts / split, labels, dict.fromkeys(labels, (40, 30)), boxes)
    return texts


def make_cubv2(root: Path, images: str | None = "CUBV2") -> Path:
    """Two photographs of each species of `make_cub`, the absent one included, in `root/IMAGES`; None: text alone."""
    species = (*SPECIES, "003.Absent")
    labels = {f"{name}/{10 * label + index}.jpg": label for label, name in enumerate(species) for index in range(2)}
    texts = root / "metadata" / "CUB" / "val"
    write_split(texts, labels, dict.fromkeys(labels, (50, 20)), [f"{one},5,4,25,16" for one in labels])
    for seed, image_id in enumerate(labels):
        if images is not None and "Absent" not in image_id:
            write_image(root / images / image_id, 50, 20, seed)
    return texts


def write_mask(path: Path, box: tuple[int, int, int, int], width: int = 40, height: int = 30, value: int = 255) -> None:
    mask = np.zeros((height, width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def make_masks(root: Path, name: str = "OpenImages") -> Path:
    """Two classes with 2 images in train, 1 in val and 1 in test, of 40 x 30 pixels, in the layout of OpenImages30k.

    The first image of val and of test has two masks and an ignored region, the second one mask of 0 and 1 that is
    twice as large as the image. Returns the folder of the text files.
    """
    texts = root / "metadata" / name
    classes = ("01226z", "0bt_c3")
    for split in ("train", "val", "test"):
        count = 2 if split == "train" else 1
        labels = {
            f"{split}/{one}/{split}{index}.jpg": label for label, one in enumerate(classes) for index in range(count)
        }
        for seed, image_id in enumerate(labels):
            write_image(root / name / image_id, seed=seed)
        lines = []
        if split != "train":
            stems = [image_id.removesuffix(".jpg") for image_id in labels]
            masks = [f"{stems[0]}_m01226z_a.png", f"{stems[0]}_m01226z_b.png", f"{stems[1]}_m0bt_c3_c.png"]
            ignored = f"{stems[0]}_ignore.png"
            write_mask(root / name / masks[0], (0, 0, 10, 10))
            write_mask(root / name / masks[1], (20, 10, 40, 30))
            write_mask(root / name / ignored, (5, 5, 20, 20))
            write_mask(root / name / masks[2], (20, 20, 60, 40), 80, 60, value=1)
            first, second = labels
            lines = [f"{first},{masks[0]},{ignored}", f"{first},{masks[1]},", f"{second},{masks[2]},"]
        write_split(texts / split, labels, localization=lines)
    return texts
