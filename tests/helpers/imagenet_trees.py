"""ImageNet of a few images in each layout that people have, as the original files are written, byte for byte."""

import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from trees import write_image
from wsol.data.imagenet.labels import imagenet_wnids

TENCH, SNAKE, POT = "n01440764", "n01751748", "n03991062"  # 0, 65 and 738 of the sorted wnids
SYNONYMS = {TENCH: "tench, Tinca tinca", SNAKE: "sea snake", POT: "pot, flowerpot"}
WIDTH, HEIGHT = 40, 30
PER_CLASS = 6  # images of train; there are none of POT

# By the number in the file name; the boxes as they are written in the files.
VAL: dict[int, tuple[str, list[tuple[int, int, int, int]]]] = {
    1: (SNAKE, [(11, 8, 31, 19)]),
    2: (TENCH, [(4, 4, 39, 16), (2, 6, 37, 20)]),
    3: (POT, [(3, 1, 38, 27)]),
    4: (TENCH, [(0, 0, 39, 29)]),
    5: (SNAKE, [(5, 10, 20, 25)]),
}
TRAIN_BOX = (6, 3, 26, 23)
# The kit numbers the classes in an order of its own.
DEVKIT_IDS = {SNAKE: 490, TENCH: 449, POT: 3}

_OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{0}</xmin>
\t\t\t<ymin>{1}</ymin>
\t\t\t<xmax>{2}</xmax>
\t\t\t<ymax>{3}</ymax>
\t\t</bndbox>
\t</object>
"""


def xml(folder: str, image: str, name: str, boxes: Iterable[tuple[int, ...]], size=(WIDTH, HEIGHT)) -> str:
    """One annotation file of ILSVRC2012."""
    objects = "".join(_OBJECT.format(*box, name=name) for box in boxes)
    return (
        f"<annotation>\n\t<folder>{folder}</folder>\n\t<filename>{image}</filename>\n"
        "\t<source>\n\t\t<database>ILSVRC_2012</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{size[0]}</width>\n\t\t<height>{size[1]}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")
    return path


def make_train(folder: Path) -> None:
    for wnid in (TENCH, SNAKE):
        for index in range(PER_CLASS):
            write_image(folder / "train" / wnid / f"{wnid}_{index}.JPEG", WIDTH, HEIGHT, seed=index)


def make_val(folder: Path, flat: bool) -> None:
    for number, (wnid, _) in VAL.items():
        name = f"{val_name(number)}.JPEG"
        write_image(folder / "val" / ("" if flat else wnid) / name, WIDTH, HEIGHT, seed=100 + number)


def make_val_xml(folder: Path) -> Path:
    for number, (wnid, boxes) in VAL.items():
        write(folder / f"{val_name(number)}.xml", xml("val", val_name(number), wnid, boxes))
    return folder


def make_train_xml(folder: Path) -> Path:
    """Boxes of the first four images of each class, as about half of the real ones have some."""
    for wnid in (TENCH, SNAKE):
        for index in range(4):
            image = f"{wnid}_{index}"
            write(folder / wnid / f"{image}.xml", xml(wnid, image, wnid, [TRAIN_BOX]))
    return folder


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


def make_val_tar(path: Path) -> Path:
    texts = {n: xml("val", val_name(n), wnid, boxes).encode() for n, (wnid, boxes) in VAL.items()}
    return make_tar(path, {f"val/{val_name(number)}.xml": text for number, text in texts.items()})


def make_train_tar(path: Path) -> Path:
    images = [(wnid, f"{wnid}_{index}") for wnid in (TENCH, SNAKE) for index in range(4)]
    return make_tar(path, {f"{w}/{one}.xml": xml(w, one, w, [TRAIN_BOX]).encode() for w, one in images})


def _prediction(wnid: str, boxes: Iterable[tuple[int, ...]]) -> str:
    return "".join(f"{wnid} {' '.join(str(one) for one in box)} " for box in boxes)  # the space at the end is theirs


def make_val_csv(path: Path) -> Path:
    rows = [f"{val_name(n)},{_prediction(wnid, boxes)}\n" for n, (wnid, boxes) in reversed(VAL.items())]
    return write(path, "ImageId,PredictionString\n" + "".join(rows))  # in no order


def make_train_csv(path: Path) -> Path:
    images = [(wnid, f"{wnid}_{index}") for wnid in (SNAKE, TENCH) for index in range(4)]
    rows = [f"{one},{_prediction(wnid, [TRAIN_BOX])}\n" for wnid, one in images]
    return write(path, "ImageId,PredictionString\n" + "".join(rows))


def meta_mat() -> bytes:
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]
    fields += ["children", "wordnet_height", "num_train_images"]
    synsets = np.zeros((len(DEVKIT_IDS) + 1, 1), dtype=[(name, object) for name in fields])
    rows: list[tuple] = [
        (number, wnid, SYNONYMS[wnid], "something", 0, [], 0, 1300) for wnid, number in DEVKIT_IDS.items()
    ]
    rows.append((1001, "n00001740", "entity", "that which is", 2, [1, 2], 19, 0))  # an inner node of WordNet
    for place, row in enumerate(rows):
        for name, value in zip(fields, row, strict=True):
            synsets[place, 0][name] = np.array(value, float) if isinstance(value, int | list) else value
    file = io.BytesIO()
    savemat(file, {"synsets": synsets})
    return file.getvalue()


def devkit_files() -> dict[str, bytes]:
    ids = "".join(f"{DEVKIT_IDS[wnid]}\n" for wnid, _ in VAL.values())
    return {
        "ILSVRC2012_devkit_t12/readme.txt": b"Introduction\n",
        "ILSVRC2012_devkit_t12/data/meta.mat": meta_mat(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": ids.encode(),
    }


def make_devkit(folder: Path, packed: bool = False) -> Path:
    if packed:
        return make_tar(folder / "ILSVRC2012_devkit_t12.tar.gz", devkit_files())
    for name, text in devkit_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return folder / "ILSVRC2012_devkit_t12"


def make_field_metadata(folder: Path) -> Path:
    """metadata/ILSVRC/test of the field's evaluation."""
    numbers = {wnid: place for place, wnid in enumerate(imagenet_wnids())}
    ids = {f"val/{val_name(number)}.JPEG": one for number, one in VAL.items()}
    write(folder / "image_ids.txt", "".join(f"{one}\n" for one in ids))
    write(folder / "class_labels.txt", "".join(f"{one},{numbers[wnid]}\n" for one, (wnid, _) in ids.items()))
    write(folder / "image_sizes.txt", "".join(f"{one},{WIDTH},{HEIGHT}\n" for one in ids))
    lines = [f"{one},{','.join(map(str, box))}\n" for one, (_, boxes) in ids.items() for box in boxes]
    write(folder / "localization.txt", "".join(lines))
    return folder


def make_kaggle(root: Path) -> Path:
    """Kaggle's archive, unpacked."""
    make_train(root / "ILSVRC/Data/CLS-LOC")
    make_val(root / "ILSVRC/Data/CLS-LOC", flat=True)
    make_val_xml(root / "ILSVRC/Annotations/CLS-LOC/val")
    make_train_xml(root / "ILSVRC/Annotations/CLS-LOC/train")
    images = [f"{wnid}/{wnid}_{index}" for wnid in (TENCH, SNAKE) for index in range(PER_CLASS)]
    lists = root / "ILSVRC/ImageSets/CLS-LOC"
    write(lists / "train_cls.txt", "".join(f"{one} {place}\n" for place, one in enumerate(images, start=1)))
    write(lists / "train_loc.txt", "".join(f"{one} {place}\n" for place, one in enumerate(images, start=1)))
    write(lists / "val.txt", "".join(f"{val_name(number)} {number}\n" for number in VAL))
    make_val_csv(root / "LOC_val_solution.csv")
    make_train_csv(root / "LOC_train_solution.csv")
    write(root / "LOC_synset_mapping.txt", "".join(f"{wnid} {words}\n" for wnid, words in SYNONYMS.items()))
    return root


def make_torchvision(root: Path, flat: bool = False) -> Path:
    """train/ and val/, without any boxes."""
    make_train(root)
    make_val(root, flat)
    return root


V2_CLASSES = {0: TENCH, 65: SNAKE, 738: POT}


def hashed(number: int, index: int) -> str:
    """A file name of the archive of today; they do not sort as the old ones."""
    return f"{number * 7919 + (97 - index) * 104729:040x}.jpeg"


def make_v2(folder: Path, renamed: bool = False) -> Path:
    for number in V2_CLASSES:
        for index in range(2):
            name = hashed(number, index) if renamed else f"{index}.jpeg"
            write_image(folder / str(number) / name, WIDTH, HEIGHT, seed=1000 + number + index)
    return folder


def make_v2_metadata(folder: Path) -> Path:
    ids = {f"val2/{number}/{index}.jpeg": number for number in V2_CLASSES for index in range(2)}
    write(folder / "image_ids.txt", "".join(f"{one}\n" for one in ids))
    write(folder / "class_labels.txt", "".join(f"{one},{number}\n" for one, number in ids.items()))
    write(folder / "image_sizes.txt", "".join(f"{one},{WIDTH},{HEIGHT}\n" for one in ids))
    write(folder / "localization.txt", "".join(f"{one},2,3,22,18\n{one},1,1,9,9\n" for one in ids))
    return folder


def make_mapping(path: Path) -> Path:
    lines = [f"{n}/{index}.jpeg, {n}/{hashed(n, index)}\n" for n in V2_CLASSES for index in range(2)]
    return write(path, "".join(lines))


def age(root: Path) -> None:
    """Set all times an hour back: what changed just now is not kept in the cache."""
    for path in [root, *root.rglob("*")]:
        then = path.stat().st_mtime - 3600
        os.utime(path, (then, then))
