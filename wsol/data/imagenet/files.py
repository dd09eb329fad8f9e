"""Find the parts of ImageNet-1k, in the layouts of its distributors and of the field's programs."""

import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wsol.data.image_tree import entries_of

_WNID = re.compile(r"n\d{8}$")
_VAL_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}\.", re.IGNORECASE)

# Below the root, the folder itself first.
_NAMES = ("", "imagenet", "ImageNet", "ILSVRC2012", "ILSVRC", "imagenet-object-localization-challenge")
_KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")

_VAL_BOXES = (
    "Annotations/CLS-LOC/val",
    "bbox_val",
    "val_xml",
    "ILSVRC2012_bbox_val_v3/val",
    "ILSVRC2012_bbox_val_v3",
    "ILSVRC2012_bbox_val_v3.tgz",
    "LOC_val_solution.csv",
    "metadata/ILSVRC/test",
)
_TRAIN_BOXES = (
    "Annotations/CLS-LOC/train",
    "bbox_train",
    "ILSVRC2012_bbox_train_v2",
    "ILSVRC2012_bbox_train_v2.tar.gz",
    "LOC_train_solution.csv",
)
_DEVKIT = ("ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12.tar.gz")
_V2 = ("imagenetv2-threshold0.7", "imagenetv2-threshold0.7-format-val", "val2")

_HELP = (
    "ImageNet needs an account: join https://www.kaggle.com/c/imagenet-object-localization-challenge and unpack its "
    "archive, or unpack ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar of https://image-net.org/download to "
    "ILSVRC/train/<wnid>/ and ILSVRC/val/; then set machine.data_root=FOLDER, the folder that contains ILSVRC."
)
_BOXES_HELP = (
    "Unpack Kaggle's Annotations or LOC_val_solution.csv beside the images, or put ILSVRC2012_bbox_val_v3.tgz of "
    "https://image-net.org/download there as it is, or set data.boxes=PATH."
)
_TRAIN_BOXES_HELP = (
    "Unpack Kaggle's Annotations or LOC_train_solution.csv beside the images, put ILSVRC2012_bbox_train_v2.tar.gz of "
    "https://image-net.org/download there as it is, or choose thresholds on data.val=imagenetv2."
)
V2_HELP = (
    "Get the images with `python benchmarks/data.py fetch imagenetv2` and their boxes with `python benchmarks/data.py "
    "fetch imagenetv2_boxes`, or hold images of train out with data.val=train, or of test with data.val=test:0.2."
)


@dataclass(frozen=True)
class ImageNetFiles:
    """One copy of ImageNet.

    Attributes:
        layout: its name in the log.
        images: the folder that contains train/ and val/.
        places: folders to search for annotations, in this order.
        outside: folders to search for ImageNetV2 and its metadata.
    """

    layout: str
    images: Path
    places: tuple[Path, ...]
    outside: tuple[Path, ...]

    def val_boxes(self, given: str | Path | None = None) -> Path:
        """Return the source of val's boxes: a folder or tar of XML, a solution .csv, or metadata/ILSVRC/test.

        Args:
            given: path that is used instead of a search.

        Raises:
            FileNotFoundError: naming the searched places, with what to do.
        """
        if given is not None:
            if not is_annotation(Path(given)):
                raise FileNotFoundError(
                    f"data.boxes={given} is no folder of .xml files, no tar, no .csv and no folder with "
                    f"localization.txt. {_BOXES_HELP}"
                )
            return Path(given)
        return _first(self.places, _VAL_BOXES, "boxes of ImageNet's val", _BOXES_HELP)

    def train_boxes(self) -> Path:
        """Return the source of the boxes of training images, about half of which have some.

        Raises:
            FileNotFoundError: naming the searched places, with what to do.
        """
        return _first(self.places, _TRAIN_BOXES, "boxes of ImageNet's train", _TRAIN_BOXES_HELP)

    def devkit(self) -> Path | None:
        """Return the development kit, a folder or a .tar.gz; None if there is none."""
        return next((path for path in _paths(self.places, _DEVKIT) if path.exists()), None)

    def synset_mapping(self) -> Path | None:
        """Return Kaggle's list of class names; None if there is none."""
        return next((path for path in _paths(self.places, ["LOC_synset_mapping.txt"]) if path.is_file()), None)

    def v2_images(self) -> Path:
        """Return the folder of ImageNetV2 (threshold 0.7), with class folders 0 ... 999.

        Raises:
            FileNotFoundError: naming the searched places, with what to do.
        """
        return _first(self.outside, _V2, "ImageNetV2", V2_HELP, is_right=lambda folder: (folder / "0").is_dir())

    def v2_metadata(self, given: str | Path | None = None) -> Path:
        """Return the folder with the field's localization.txt of ImageNetV2.

        Args:
            given: that folder, or metadata/ILSVRC or metadata above it; used instead of a search.

        Raises:
            FileNotFoundError: naming the searched places, with what to do.
        """
        above = self.outside if given is None else (Path(given),)
        names = ["metadata/ILSVRC/val"] if given is None else ["", "val", "ILSVRC/val", "metadata/ILSVRC/val"]
        return _first(above, names, "boxes of ImageNetV2", V2_HELP)


def find_imagenet(root: Path, with_train: bool = True) -> ImageNetFiles:
    """Find the first folder at or below the root that has both train/ and val/ of ImageNet.

    Args:
        root: the folder to search.
        with_train: False: val/ alone is enough.

    Raises:
        FileNotFoundError: naming the searched places and what is missing, with what to do.
        PermissionError: naming a folder that may not be read.
    """
    looked, half = [], []
    for base in (root / name for name in _NAMES):
        for images in (*(base / inner for inner in _KAGGLE), base):
            train, val = _holds(images / "train", _is_wnid), _holds(images / "val", _is_val)
            if val and (train or not with_train):
                return _files(root, base, images)
            if train or val:
                half.append(f"{images} holds {'train' if train else 'val'}/ but no {'val' if train else 'train'}/")
            looked.append(str(images))
    if half:
        wants = "train/ has a folder for each wnid, val/ the same or ILSVRC2012_val_00000001.JPEG ..."
        raise FileNotFoundError(f"ImageNet is not whole: {'; '.join(half)} ({wants}). {_HELP}")
    raise FileNotFoundError(f"No ImageNet at {root}: looked for train/ and val/ in {', '.join(looked)}. {_HELP}")


def is_annotation(path: Path) -> bool:
    """Return whether a path is a folder or tar of XML, a .csv, or a folder of the field's text files."""
    if path.is_dir():
        return (path / "localization.txt").is_file() or bool(next(xml_files(path), None))
    return path.is_file() and (path.suffix == ".csv" or is_tar(path))


def is_tar(path: Path) -> bool:
    """Return whether a file is a tar, by its name."""
    return path.name.endswith((".tar", ".tgz", ".tar.gz"))


def read_members(path: Path, is_wanted: Callable[[str], bool], largest: int) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of some files in a tar, which is not unpacked.

    Args:
        path: the tar, compressed or not.
        is_wanted: decides by the name of a member.
        largest: bound on the size of a member in bytes: a forged tar must not fill the memory.

    Raises:
        ValueError: if the tar is damaged, or a wanted member is too large.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not member.isreg() or not is_wanted(member.name):
                    continue
                if member.size > largest:
                    raise ValueError(f"{path}, {member.name}: has {member.size} bytes, too many for an annotation.")
                file = archive.extractfile(member)
                yield member.name, b"" if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again.") from None


def xml_files(folder: Path) -> Iterator[Path]:
    """Yield the .xml files of a folder and of the folders in it, unsorted."""
    below = []
    for entry in entries_of(folder):
        if entry.name.startswith("."):
            continue
        if entry.name.endswith(".xml"):
            yield Path(entry.path)
        elif entry.is_dir():
            below.append(Path(entry.path))
    for subfolder in below:
        yield from (
            Path(entry.path) for entry in entries_of(subfolder) if entry.name.endswith(".xml") and entry.name[0] != "."
        )


def _files(root: Path, base: Path, images: Path) -> ImageNetFiles:
    above = [] if images == base else [images.parents[1], images.parents[2]]  # ILSVRC/ and the folder above it
    flat = next(entry for entry in entries_of(images / "val") if _is_val(entry)).is_file()
    layout = ("Kaggle's layout" if above else "train/ and val/") + (" with val/ flat" if flat else "")
    places = tuple(dict.fromkeys([images, *above, base, root]))
    # The field's metadata/ lies beside the folder that it calls ILSVRC, so above a root that is this very folder.
    outside = tuple(dict.fromkeys([*places, root.absolute().parent, base.absolute().parent]))
    return ImageNetFiles(layout, images, places, outside)


def _is_wnid(entry: os.DirEntry[str]) -> bool:
    return bool(_WNID.match(entry.name)) and entry.is_dir()


def _is_val(entry: os.DirEntry[str]) -> bool:
    return bool(_VAL_IMAGE.match(entry.name)) or _is_wnid(entry)


def _holds(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> bool:
    return folder.is_dir() and any(wanted(entry) for entry in entries_of(folder))


def _paths(places: Iterable[Path], names: Iterable[str]) -> list[Path]:
    names = list(names)
    return [place / name for place in places for name in names]


def _first(
    places: Iterable[Path],
    names: Iterable[str],
    what: str,
    remedy: str,
    is_right: Callable[[Path], bool] = is_annotation,
) -> Path:
    paths = _paths(places, names)
    first = next((path for path in paths if is_right(path)), None)
    if first is None:
        raise FileNotFoundError(f"No {what}: looked for {', '.join(str(path) for path in paths)}. {remedy}")
    return first
