"""Divide a user's data into train, val and test."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsol.data.custom.labels import Labelled, number_labels
from wsol.data.index import Entry, Index
from wsol.data.preparation import Indices, Preparation, share_of_test
from wsol.data.splits import hold_out_boxed

log = logging.getLogger(__name__)

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
_LIKE = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class HeldOut:
    """Which images are held out where no split is given.

    Attributes:
        val_fraction: share of each class's images with boxes, if val is held out.
        test_fraction: share of each class's images with boxes, if no split is given.
        split_seed: seed of the images that are held out.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0


def seeded_split(entries: Sequence[Entry], held_out: HeldOut) -> tuple[Index, Index, Index]:
    """Split images into train, val and test: fractions of each class's images with boxes; all others train.

    Raises:
        ValueError: if the fractions are not positive with a sum below 1, or there are too few boxes.
    """
    val_fraction, test_fraction, seed = held_out.val_fraction, held_out.test_fraction, held_out.split_seed
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise ValueError(
            f"val_fraction and test_fraction must be positive and leave something to train on, got {val_fraction} and "
            f"{test_fraction}."
        )
    counts = Counter(entry.class_id for entry in entries if len(entry.boxes))
    if max(counts.values(), default=0) < 3:
        raise ValueError(
            f"{sum(counts.values())} of {len(entries)} images have boxes, and no class has three of them: one each to "
            "train on, to choose thresholds (val) and to be scored (test); give more boxes."
        )
    rest, test = hold_out_boxed(entries, test_fraction, seed)
    train, val = hold_out_boxed(rest, val_fraction / (1 - test_fraction), seed)
    return train, val, test


def split_name(text: str, origin: str) -> SplitName:
    """Return the split that annotations name.

    Args:
        text: name as written.
        origin: its file and line, for messages.

    Raises:
        ValueError: if it is none of train, val and test.
    """
    for name in SPLITS:
        if text == name:
            return name
    meant = _meant(text)
    hint = f" ({meant}?)" if meant in SPLITS else ""
    raise ValueError(f"{origin}: expected the split train, val or test, got {text!r}{hint}; correct it.")


@dataclass(frozen=True)
class Layout:
    """Meaning of the folders above an image: splits, classes, or both.

    Attributes:
        by_split: the folders at the top are splits, those below them classes; otherwise those at the top are classes.
    """

    by_split: bool

    def split_of(self, file: str) -> SplitName | None:
        """Return the split of an image by its path; None where the folders are no splits."""
        top, slash, _ = file.partition("/")
        return split_name(top, file) if self.by_split and slash else None

    def label_of(self, file: str) -> str:
        """Return the class of an image by its path; "" where no folder gives one."""
        folders = file.split("/")[:-1]
        folders = folders[1:] if self.by_split else folders
        return folders[0] if folders else ""


def find_layout(root: Path, folders: Sequence[str]) -> Layout:
    """Find out whether the folders at the top are splits or classes.

    Args:
        root: folder above them, for messages.
        folders: names of those at the top; "" means the top itself.

    Raises:
        ValueError: if splits lie beside other folders, or under other names than train, val and test.
    """
    named = [name for name in folders if name]
    if named and set(named) <= set(SPLITS):
        return Layout(by_split=True)
    splits = [name for name in named if _meant(name) in SPLITS]
    if len({_meant(name) for name in splits}) > 1:  # one alone may be a class: a train is a vehicle
        others = [name for name in named if name not in SPLITS]
        raise ValueError(
            f"{root}: the folders {', '.join(splits)} look like splits, whose names are train, val and test and which "
            f"lie beside no other folder; rename or move {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}."
        )
    return Layout(by_split=False)


def _meant(name: str) -> str:
    return _LIKE.get(name.lower(), name.lower())


def own_indices(
    name: str,
    images: list[Labelled] | dict[SplitName, list[Labelled]],
    source: str,
    held_out: HeldOut,
    preparation: Preparation,
) -> Indices:
    """Return the indices of a user's images: number labels, split where no split is given, check for boxes.

    Args:
        name: name of the data set.
        images: by split; without `val` it is held out of those of `train` that have boxes. Or all in one, for a split
            that is seeded and stratified: see `seeded_split`.
        source: file or folder that was read, for messages.
        held_out: the images that are held out where a split is not given.
        preparation: with `val=test:FRACTION`, nothing is held out here, because `prepare` does it; without training
            images, `train` may be missing, and where no split is given every image with boxes is in `test`.

    Raises:
        ValueError: for a split that is missing or lacks boxes, and for fewer than two classes.
    """
    of_test, with_train = share_of_test(preparation.val) is not None, preparation.with_train
    stated = images if isinstance(images, dict) else None
    everything = images if isinstance(images, list) else [image for part in images.values() for image in part]
    class_names = number_labels(everything)
    if len(class_names) < 2:
        raise ValueError(
            f"{source}: {len(everything)} images of {len(class_names)} classes ({', '.join(class_names) or 'none'}); "
            "a classifier needs at least two classes: add images of another one."
        )
    class_ids = {label: index for index, label in enumerate(class_names)}
    if stated is None and not with_train:
        train, test = Index.of([]), Index.of(e for e in _entries(everything, class_ids) if len(e.boxes))
        fraction, seed = held_out.val_fraction, held_out.split_seed
        test, held = (test, Index.of([])) if of_test else hold_out_boxed(test, fraction, seed)
        how = (
            f"no split is given; all images with boxes are test, less val ({preparation.val or fraction}), seed {seed}"
        )
    elif stated is None:
        train, held, test = seeded_split(_entries(everything, class_ids), held_out)
        how = f"no split is given; test ({held_out.test_fraction:g}) and val ({held_out.val_fraction:g}) are held out "
        how += f"of the images with boxes, seed {held_out.split_seed}"
    else:
        train, held, test = (Index.of(_entries(stated.get(split, ()), class_ids)) for split in SPLITS)
        how = "splits as given"
        if (with_train and not train) or not test:
            raise ValueError(_missing_split(source, stated))
        if not held and not of_test:
            if not any(len(entry.boxes) for entry in train):
                raise ValueError(
                    f"{source}: there is no val, which chooses thresholds, and no image of train has boxes of which "
                    "val could be held out; give boxes to some, or make a split val, or hold a part of test out: "
                    "data.val=test:0.2."
                )
            train, held = hold_out_boxed(train, held_out.val_fraction, held_out.split_seed)
            how = f"train and test as given, val ({held_out.val_fraction:g}) held out of train's images with boxes, "
            how += f"seed {held_out.split_seed}"
    _check_boxed(source, {"val": held, "test": test})
    log.info("%s: %s.", source, how)
    for title, part in zip(SPLITS, (train, held, test), strict=True):
        boxes = sum(len(entry.boxes) for entry in part)
        boxed = sum(len(entry.boxes) > 0 for entry in part)
        present = len({entry.class_id for entry in part})
        log.info("%s: %d images of %d classes, %d of them with %d boxes.", title, len(part), present, boxed, boxes)
    unscored = sorted(set(class_ids.values()) - {entry.class_id for entry in test})
    if unscored:
        first = class_names[unscored[0]]
        log.warning("%s: %d classes have no image in test, first %r.", source, len(unscored), first)
    remedy = "give them some, take them out, or correct their spelling"
    return Indices(name, class_names, train, held, test, source=source, untrained=remedy)


def _entries(images: Sequence[Labelled], class_ids: Mapping[str, int]) -> list[Entry]:
    # By id, so that the order of lines in a file changes neither the split nor the training.
    return [
        Entry(
            image_id=image.image_id,
            class_id=class_ids[image.label],
            boxes=image.boxes,
            path=image.path,
            origin=image.origin,
            size=image.size,
            box_origins=image.box_origins,
        )
        for image in sorted(images, key=lambda image: image.image_id)
    ]


def _missing_split(source: str, stated: Mapping[SplitName, Sequence[Labelled]]) -> str:
    present = [split for split in SPLITS if stated.get(split)]
    if "train" not in present:
        return f"{source}: has {' and '.join(present)}, but no train; name the images to train on."
    remedy = "name a part of them test"
    if "val" in present:
        remedy = "name val test, then val is held out of train's images with boxes"
    return f"{source}: has {' and '.join(present)}, but no test, which is scored; {remedy}."


def _check_boxed(source: str, scored: Mapping[str, Sequence[Entry]]) -> None:
    for title, part in scored.items():
        bare = [entry for entry in part if not len(entry.boxes)]
        if bare:
            raise ValueError(
                f"{source}: {len(bare)} of {len(part)} images of {title} have no box, first {bare[0].image_id}; give "
                "them boxes, or move them to train, which needs none."
            )
