"""Reader of Tiny ImageNet."""

from pathlib import Path

from wsol.data.custom.image_files import inside
from wsol.data.formats.text_lines import Line, read_lines, read_table
from wsol.data.index import Entry
from wsol.data.missing_files import missing_images
from wsol.data.preparation import Indices, Preparation, reader
from wsol.data.splits import hold_out
from wsol.geometry import from_inclusive

_HELP = (
    "Download http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpack it, and set "
    "machine.data_root=FOLDER, the folder that contains tiny-imagenet-200 with wnids.txt, words.txt, train/ and val/."
)


@reader(Preparation(image_size=64, train_size=72))
def tiny_imagenet(
    root: str | Path,
    val_fraction: float = 0.1,
    split_seed: int = 0,
) -> Indices:
    """Read Tiny ImageNet (64 px photographs with ImageNet's boxes), or any subset of its classes.

    Source: Stanford CS231n. `test` is the official validation split, since the official test split has no labels;
    `val` is held out of the training images, which all have a box.

    Args:
        root: the folder that contains `tiny-imagenet-200`, or that folder itself.
        val_fraction: share of each class's training images that val takes.
        split_seed: seed of the images that are held out.

    Raises:
        FileNotFoundError: for a missing root or file, with what to do.
        ValueError: for a malformed line, naming it.
    """
    folder = Path(root) / "tiny-imagenet-200"
    folder = folder if folder.is_dir() else Path(root)
    if not (folder / "wnids.txt").is_file() or not (folder / "train").is_dir():
        raise FileNotFoundError(f"No Tiny ImageNet at {folder}. {_HELP}")
    listed = read_table(read_lines(folder / "wnids.txt", 1), lambda line: inside(line.fields[0], line.origin))
    wnids = sorted(wnid for wnid in listed if (folder / "train" / wnid).is_dir())
    if not wnids:
        raise FileNotFoundError(
            f"None of the classes in {folder / 'wnids.txt'} has a folder in {folder / 'train'}. {_HELP}"
        )
    class_ids = {wnid: index for index, wnid in enumerate(wnids)}
    train = []
    for wnid in wnids:
        for line in read_lines(folder / "train" / wnid / f"{wnid}_boxes.txt", 5, "\t"):
            path = folder / "train" / wnid / "images" / inside(line.fields[0], line.origin)
            train.append(_entry(folder, path, class_ids[wnid], line, 1))
    test = []
    for line in read_lines(folder / "val" / "val_annotations.txt", 6, "\t"):
        wnid = line.fields[1]
        if wnid not in listed:
            raise line.error(f"class {wnid!r} is not in wnids.txt.")
        if wnid in class_ids:
            test.append(
                _entry(
                    folder, folder / "val" / "images" / inside(line.fields[0], line.origin), class_ids[wnid], line, 2
                )
            )
    missing = [entry.path for entry in (*train, *test) if not entry.path.is_file()]
    if missing:
        raise missing_images(missing, len(train) + len(test), folder)
    kept, held = hold_out(train, val_fraction, split_seed)
    words = _words(folder / "words.txt")
    class_names = [f"{wnid} {words[wnid]}" if wnid in words else wnid for wnid in wnids]
    return Indices("tiny_imagenet", class_names, kept, held, test)


def _entry(folder: Path, path: Path, class_id: int, line: Line, first: int) -> Entry:
    return Entry(
        image_id=path.relative_to(folder).as_posix(),
        class_id=class_id,
        boxes=from_inclusive([line.numbers(first)]),  # the last pixel counts: coordinates run from 0 to 63
        path=path,
        origin=line.origin,
    )


def _words(path: Path) -> dict[str, str]:
    """Return wnid -> its first synonym; empty without the file, which only names classes."""
    if not path.is_file():
        return {}
    return read_table(read_lines(path, 2, "\t"), lambda line: line.fields[1].split(",")[0].strip())
