"""CUB-200-2011."""

import logging
from pathlib import Path

from wsol.annotations import Line, read_lines, read_table
from wsol.class_names import Classes
from wsol.geometry import from_xywh
from wsol.index import Entry
from wsol.splits import Splits, hold_out, make_splits

log = logging.getLogger(__name__)

_HELP = (
    "Download CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158, unpack it, and say where with "
    "machine.data_root=FOLDER, the folder that holds CUB_200_2011 with images.txt, image_class_labels.txt, "
    "train_test_split.txt, bounding_boxes.txt, classes.txt and images/."
)


def cub(
    root: str | Path,
    image_size: int = 224,
    train_size: int = 256,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    max_cache_gib: float = 4,
    classes: Classes = None,
) -> Splits:
    """CUB-200-2011 in its official layout; segmentations and part locations come along where they are present.

    Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011. `test` is the official test split; `val` is
    held out of the official training split, which loses those images. Images are resized to squares, as Choe et al.,
    CVPR 2020, do. Species whose folder is absent are left out, and class ids count those that are there.

    Args:
        root: the folder that holds `CUB_200_2011`, or that folder itself.
        image_size: side in pixels of what the network reads.
        train_size: side in pixels that training crops are cut from.
        val_fraction: of each species' training images.
        split_seed: chooses them.
        max_cache_gib: decoded images kept in memory, per split.
        classes: a subset of the species: the first k, or a list of names.

    Raises:
        FileNotFoundError: for a missing root or file, with what to do.
        ValueError: for a malformed line, naming it.
    """
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
        path = folder / "images" / image_id
        if not path.is_file():
            raise FileNotFoundError(f"{line.origin}: image {path} is missing; unpack the archive again.")
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
    kept, held = hold_out(train, val_fraction, split_seed)
    class_names = [names[number] for number in class_ids]
    return make_splits(
        "cub",
        class_names,
        (kept, held, test),
        image_size=image_size,
        train_size=train_size,
        max_cache_gib=max_cache_gib,
        classes=classes,
    )


def _is_train(line: Line) -> bool:
    if line.fields[1] not in ("0", "1"):
        raise line.error(f"expected 1 (train) or 0 (test), got {line.fields[1]!r}.")
    return line.fields[1] == "1"


def _mask_paths(folder: Path, image_id: str) -> tuple[Path, ...]:
    # The segmentations come in an archive of their own, which is unpacked inside the folder or beside it.
    for place in (folder / "segmentations", folder.parent / "segmentations"):
        path = (place / image_id).with_suffix(".png")
        if path.is_file():
            return (path,)
    return ()


def _part_points(folder: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Image number -> visible parts, name -> (x, y)."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    if not (folder / "parts" / "part_locs.txt").is_file():
        return found
    parts = read_table(read_lines(folder / "parts" / "parts.txt", 2, maxsplit=1), lambda line: line.fields[1])
    for line in read_lines(folder / "parts" / "part_locs.txt", 5):
        number, part = line.fields[:2]
        x, y, visible = line.numbers(2)
        if part not in parts:
            raise line.error(f"part {part!r} is not in parts.txt.")
        if visible:
            found.setdefault(number, {})[parts[part]] = (x, y)
    return found
