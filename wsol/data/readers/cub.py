"""Reader of CUB-200-2011."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsol.data.custom.image_files import inside
from wsol.data.formats.metadata_files import read_split
from wsol.data.formats.metadata_images import check_files, index_of
from wsol.data.formats.text_lines import Line, read_lines, read_table
from wsol.data.index import Entry, Index
from wsol.data.missing_files import missing_images
from wsol.data.preparation import Indices, reader, share_of_test
from wsol.data.splits import hold_out
from wsol.geometry import from_xywh

log = logging.getLogger(__name__)

_HELP = (
    "Download CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158, unpack it, and set "
    "machine.data_root=FOLDER, the folder that contains CUB_200_2011 with images.txt, image_class_labels.txt, "
    "train_test_split.txt, bounding_boxes.txt, classes.txt and images/."
)
_CUBV2_BOXES = (
    "Fetch them with `python benchmarks/data.py fetch cubv2_boxes`, or set data.metadata=FOLDER to "
    "metadata/CUB of github.com/clovaai/wsolevaluation."
)
_CUBV2_IMAGES = (
    "Download CUBV2.tar, which the README of github.com/clovaai/wsolevaluation links to, and unpack it in "
    "machine.data_root/CUBV2."
)


@reader()
def cub(
    root: str | Path,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    val: str | None = None,
    metadata: str | Path | None = None,
    with_train: bool = True,
) -> Indices:
    """Read CUB-200-2011 in its official layout, with segmentations and part locations where present.

    Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011. `test` is the official test split. `val` is
    held out of the official training split, which loses those images; or it is CUBV2, five more photographs of each
    species by Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, and `train` is
    the whole official split. Images are resized to squares, as in that paper. Species whose folder is absent are left
    out, of CUBV2 too; class ids count the present species.

    Args:
        root: the folder that contains `CUB_200_2011`, or that folder itself.
        val_fraction: share of each species' training images that val takes, without CUBV2.
        split_seed: seed of the images that are held out.
        val: `cubv2`, with images in `CUBV2/` or `CUB/` below the root, or among those of CUB-200-2011;
            `test:FRACTION`, held out of `test`; None: held out of the training images.
        metadata: the folder with CUBV2's labels, sizes and boxes in `val/`; None: `metadata/CUB` below the root.
        with_train: False: training images may be missing, unless `val` is held out of them.

    Raises:
        FileNotFoundError: for a missing root or file, with what to do.
        ValueError: for a malformed line, naming it.
    """
    of_test = share_of_test(val) is not None
    if val not in (None, "cubv2") and not of_test:
        raise ValueError(
            f"data.val must be null (held out of the training images), cubv2 or test:FRACTION, got {val!r}."
        )
    folder = Path(root) / "CUB_200_2011"
    folder = folder if folder.is_dir() else Path(root)
    if not (folder / "images.txt").is_file() or not (folder / "images").is_dir():
        raise FileNotFoundError(f"No CUB-200-2011 at {folder}. {_HELP}")
    names = read_table(read_lines(folder / "classes.txt", 2), lambda line: line.fields[1])
    labels = read_table(read_lines(folder / "image_class_labels.txt", 2), lambda line: line)
    is_train = read_table(read_lines(folder / "train_test_split.txt", 2), _is_train)
    boxes = read_table(read_lines(folder / "bounding_boxes.txt", 5), lambda line: (line, line.numbers(1)))
    points = _part_points(folder)
    present = [number for number in names if (folder / "images" / names[number]).is_dir()]
    if len(present) < len(names):
        log.info("CUB: %d of %d species are present.", len(present), len(names))
    class_ids = {number: index for index, number in enumerate(sorted(present, key=int))}
    train: list[Entry] = []
    test: list[Entry] = []
    for line in read_lines(folder / "images.txt", 2, maxsplit=1):
        number, image_id = line.fields
        for table, file in ((labels, "image_class_labels"), (is_train, "train_test_split"), (boxes, "bounding_boxes")):
            if number not in table:
                raise line.error(f"image {number} is missing from {file}.txt.")
        label = labels[number].fields[1]
        if label not in names:
            raise labels[number].error(f"class {label!r} is not in classes.txt.")
        if label not in class_ids:
            continue
        path = folder / "images" / inside(image_id, line.origin)
        box_line, xywh = boxes[number]
        entry = Entry(
            image_id=image_id,
            class_id=class_ids[label],
            boxes=from_xywh([xywh]),  # CUB gives the left and top edge, width and height, in pixels
            path=path,
            origin=box_line.origin,
            mask_paths=_mask_paths(folder, image_id),
            part_points=points.get(number, {}),
        )
        (train if is_train[number] else test).append(entry)
    if not with_train and (of_test or val is not None):
        train = []
    missing = [entry.path for entry in (*train, *test) if not entry.path.is_file()]
    if missing:
        raise missing_images(missing, len(train) + len(test), folder / "images.txt")
    if of_test:
        kept, held = Index.of(train), Index.of([])
    elif val is None:
        kept, held = hold_out(train, val_fraction, split_seed)
        log.info("CUB: boxes of val (held out of train) and of test are those of %s.", folder / "bounding_boxes.txt")
    else:
        kept, held = Index.of(train), _cubv2(Path(root), folder, metadata, names, class_ids)
        log.info("CUB: boxes of test are those of %s.", folder / "bounding_boxes.txt")
    return Indices("cub", [names[number] for number in class_ids], kept, held, test)


def _cubv2(
    root: Path, folder: Path, given: str | Path | None, names: Mapping[str, str], class_ids: Mapping[str, int]
) -> Index:
    """Return CUBV2's images of the present species; `names` and `class_ids` are by number of the species."""
    if given is None:
        places = [root / "metadata" / "CUB" / "val", folder.parent / "metadata" / "CUB" / "val"]
    else:
        given = root / given if (root / given).is_dir() else Path(given)
        places = [given / "val", given / "CUB" / "val", given]
    texts = next((place for place in places if (place / "image_ids.txt").is_file()), None)
    if texts is None:
        tried = " or ".join(map(str, dict.fromkeys(places)))
        raise FileNotFoundError(f"No boxes of CUBV2 in {tried}. {_CUBV2_BOXES}")
    split = read_split(texts)
    index_of_species = {names[number]: class_id for number, class_id in class_ids.items()}
    new_ids = np.full(split.class_ids.max() + 1, -1)
    species: dict[int, str] = {}
    for image_id, label in zip(split.image_ids, split.class_ids.tolist(), strict=True):
        # The lists of a part of CUB may number its species from 0 again, so the folder decides the species.
        name = image_id.split("/")[0]
        if species.setdefault(label, name) != name:
            raise ValueError(
                f"{texts / 'class_labels.txt'}: class {label} has images of {species[label]} and of {name}. "
                "Download it again."
            )
        new_ids[label] = index_of_species.get(name, -1)
    images = index_of(split, root).with_classes(new_ids)
    if not len(images):
        raise ValueError(f"{texts / 'image_ids.txt'} has no image of the {len(class_ids)} species in {folder}.")
    folders = dict.fromkeys([root / "CUBV2", folder.parent / "CUBV2", root / "CUB", folder / "images"])
    # Any image decides, not the first: if some are missing, the error must name these.
    place = next((path for path in folders if any((path / name).is_file() for name in images.image_ids)), None)
    if place is None:
        raise FileNotFoundError(
            f"Image {images.image_ids[0]} of CUBV2 is not in {' or '.join(map(str, folders))}. {_CUBV2_IMAGES}"
        )
    check_files(place, images.image_ids, "images of CUBV2", _CUBV2_IMAGES)
    log.info(
        "CUB: val is CUBV2, %d images in %s of %d species; its boxes are those of %s.",
        len(images),
        place,
        len(images.class_ids.unique()),
        split.localization,
    )
    return replace(images, folder=str(place))


def _is_train(line: Line) -> bool:
    if line.fields[1] not in ("0", "1"):
        raise line.error(f"expected 1 (train) or 0 (test), got {line.fields[1]!r}.")
    return line.fields[1] == "1"


def _mask_paths(folder: Path, image_id: str) -> tuple[Path, ...]:
    # The segmentations have an archive of their own, which users unpack inside the folder or beside it.
    for place in (folder / "segmentations", folder.parent / "segmentations"):
        path = (place / image_id).with_suffix(".png")
        if path.is_file():
            return (path,)
    return ()


def _part_points(folder: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Return image number -> visible parts, name -> (x, y)."""
    points: dict[str, dict[str, tuple[float, float]]] = {}
    if not (folder / "parts" / "part_locs.txt").is_file():
        return points
    parts = read_table(read_lines(folder / "parts" / "parts.txt", 2, maxsplit=1), lambda line: line.fields[1])
    for line in read_lines(folder / "parts" / "part_locs.txt", 5):
        number, part = line.fields[:2]
        x, y, visible = line.numbers(2)
        if part not in parts:
            raise line.error(f"part {part!r} is not in parts.txt.")
        if visible:
            points.setdefault(number, {})[parts[part]] = (x, y)
    return points
