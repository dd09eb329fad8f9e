"""From labelled images of anyone's own to a data set with its three splits."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from wsol.class_names import Classes
from wsol.image_set import Decode
from wsol.index import Entry, Index
from wsol.own_data.labelled import Labelled, number_labels
from wsol.own_data.seeded_split import seeded_split
from wsol.own_data.split_names import SPLITS, SplitName
from wsol.splits import Splits, hold_out_boxed, make_splits

log = logging.getLogger(__name__)


def own_splits(
    name: str,
    images: list[Labelled] | dict[SplitName, list[Labelled]],
    source: str,
    *,
    image_size: int,
    train_size: int,
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    max_cache_gib: float,
    classes: Classes = None,
    decode: Decode | None = None,
) -> Splits:
    """Number the labels, split where no split is given, and check that every split holds what it is for.

    Args:
        name: of the data set.
        images: by split; without `val` it is held out of those of `train` that have boxes. Or all in one, for a split
            that is seeded and stratified: see `seeded_split`.
        source: what was read, for messages.
        image_size: side in pixels of what the network reads.
        train_size: side in pixels that training crops are cut from.
        val_fraction: of each class's images with boxes, if val is held out.
        test_fraction: the same of test, if no split is given.
        split_seed: chooses them.
        max_cache_gib: decoded images kept in memory, per split.
        classes: a subset of the classes.
        decode: as of `make_splits`.

    Raises:
        ValueError: for a split that is missing or lacks boxes, a class without training image, fewer than two classes;
            and as `make_splits`.
    """
    stated = images if isinstance(images, dict) else None
    everything = images if isinstance(images, list) else [one for part in images.values() for one in part]
    class_names = number_labels(everything)
    if len(class_names) < 2:
        raise ValueError(
            f"{source}: {len(everything)} images of {len(class_names)} classes ({', '.join(class_names) or 'none'}); "
            "a classifier needs at least two classes: add images of another one."
        )
    class_ids = {label: index for index, label in enumerate(class_names)}
    if stated is None:
        train, val, test = seeded_split(_entries(everything, class_ids), val_fraction, test_fraction, split_seed)
        how = f"no split is given; test ({test_fraction:g}) and val ({val_fraction:g}) are held out of the images with "
        how += f"boxes, seed {split_seed}"
    else:
        train, val, test = (Index.of(_entries(stated.get(one, ()), class_ids)) for one in SPLITS)
        how = "splits as given"
        if not train or not test:
            raise ValueError(_missing_split(source, stated))
        if not val:
            if not any(len(entry.boxes) for entry in train):
                raise ValueError(
                    f"{source}: there is no val, which chooses thresholds, and no image of train has boxes of which "
                    "val could be held out; give boxes to some, or make a split val."
                )
            train, val = hold_out_boxed(train, val_fraction, split_seed)
            how = f"train and test as given, val ({val_fraction:g}) held out of train's images with boxes, "
            how += f"seed {split_seed}"
    _check(source, class_names, train, {"val": val, "test": test}, all_classes=classes is None)
    log.info("%s: %s.", source, how)
    for title, part in zip(SPLITS, (train, val, test), strict=True):
        boxes = sum(len(entry.boxes) for entry in part)
        boxed = sum(len(entry.boxes) > 0 for entry in part)
        present = len({entry.class_id for entry in part})
        log.info("%s: %d images of %d classes, %d of them with %d boxes.", title, len(part), present, boxed, boxes)
    unscored = sorted(set(class_ids.values()) - {entry.class_id for entry in test})
    if unscored:
        first = class_names[unscored[0]]
        log.warning("%s: %d classes have no image in test, first %r.", source, len(unscored), first)
    return make_splits(
        name,
        class_names,
        (train, val, test),
        image_size=image_size,
        train_size=train_size,
        max_cache_gib=max_cache_gib,
        classes=classes,
        decode=decode,
    )


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
    found = [one for one in SPLITS if stated.get(one)]
    if "train" not in found:
        return f"{source}: has {' and '.join(found)}, but no train; say which images are trained on."
    remedy = "name a part of them test"
    if "val" in found:
        remedy = "name val test, then val is held out of train's images with boxes"
    return f"{source}: has {' and '.join(found)}, but no test, which is scored; {remedy}."


def _check(
    source: str,
    class_names: Sequence[str],
    train: Sequence[Entry],
    scored: Mapping[str, Sequence[Entry]],
    all_classes: bool,
) -> None:
    for title, part in scored.items():
        bare = [entry for entry in part if not len(entry.boxes)]
        if bare:
            raise ValueError(
                f"{source}: {len(bare)} of {len(part)} images of {title} have no box, first {bare[0].image_id}; give "
                "them boxes, or move them to train, which needs none."
            )
    counts = np.bincount([entry.class_id for entry in train], minlength=len(class_names))
    untrained = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if untrained and all_classes:
        raise ValueError(
            f"{source}: {len(untrained)} of {len(class_names)} classes have no training image, first {untrained[0]!r}; "
            "give them some, take them out, or correct their spelling."
        )
