"""Data sets of a few images in their official layouts, for tests to read and to break."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

# Real images, for the tests marked `data`.
REAL = Path(os.environ.get("WSOL_DATA_ROOT", Path(__file__).parents[3] / "shared" / "data"))

CUB_NAMES = {"1": "001.Albatross", "2": "002.Auklet", "3": "003.Absent"}


def write_image(path: Path, width: int = 40, height: int = 30, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_cub(root: Path, images_per_class: int = 6) -> Path:
    """Three species in the lists, two of them on disk; every third image is of the test split."""
    folder = root / "CUB_200_2011"
    lines: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": [], "bounding_boxes": []}
    parts = []
    number = 0
    for label, name in CUB_NAMES.items():
        for index in range(images_per_class):
            number += 1
            image_id = f"{name}/bird_{number:04d}.jpg"
            if label != "3":
                write_image(folder / "images" / image_id, seed=number)
                mask = np.zeros((30, 40), np.uint8)
                mask[5:25, 10:30] = 255
                mask_path = (folder / "segmentations" / image_id).with_suffix(".png")
                mask_path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(mask_path)
            lines["images"].append(f"{number} {image_id}")
            lines["image_class_labels"].append(f"{number} {label}")
            lines["train_test_split"].append(f"{number} {int(index % 3 != 2)}")
            lines["bounding_boxes"].append(f"{number} 10.0 5.0 20.0 20.0")
            parts += [f"{number} 1 12.0 8.0 1", f"{number} 2 0.0 0.0 0"]
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "parts.txt").write_text("1 left eye\n2 tail\n")
    (folder / "parts" / "part_locs.txt").write_text("\n".join(parts) + "\n")
    (folder / "classes.txt").write_text("".join(f"{label} {name}\n" for label, name in CUB_NAMES.items()))
    for name, texts in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n")
    return folder


def make_tiny_imagenet(root: Path, images_per_class: int = 5) -> Path:
    """Two classes on disk, a third in the lists alone."""
    folder = root / "tiny-imagenet-200"
    wnids = ["n02", "n01", "n03"]
    for wnid in wnids[:2]:
        names = [f"{wnid}_{index}.JPEG" for index in range(images_per_class)]
        for index, name in enumerate(names):
            write_image(folder / "train" / wnid / "images" / name, 64, 64, seed=index)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(
            "".join(f"{name}\t0\t10\t62\t63\n" for name in names)
        )
    (folder / "val" / "images").mkdir(parents=True)
    annotations = []
    for index, wnid in enumerate(["n01", "n02", "n03"]):
        if wnid != "n03":
            write_image(folder / "val" / "images" / f"val_{index}.JPEG", 64, 64, seed=50 + index)
        annotations.append(f"val_{index}.JPEG\t{wnid}\t1\t2\t31\t40\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(annotations))
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tEgyptian cat\n")
    return folder


def edit(path: Path, line_number: int, text: str | None) -> None:
    """Replace one line of a text file, or delete it."""
    lines = path.read_text().splitlines()
    lines[line_number - 1 : line_number] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


def make_metadata(root: Path) -> Path:
    """The text files of the field's evaluation: three images in `test`, one of which has two boxes."""
    files = {
        "image_ids": ["a/one.jpg", "a/two.jpg", "b/three.jpg"],
        "class_labels": ["a/one.jpg,0", "a/two.jpg,0", "b/three.jpg,1"],
        "image_sizes": ["a/one.jpg,40,30", "a/two.jpg,60,50", "b/three.jpg,20,20"],
        "localization": [
            "a/one.jpg,4,3,20,15",
            "a/two.jpg,0,0,60,50",
            "a/two.jpg,10,10,20,20",
            "b/three.jpg,5,5,6,9",
        ],
    }
    (root / "test").mkdir(parents=True)
    for name, lines in files.items():
        (root / "test" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root
