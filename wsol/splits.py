"""A data set: its classes and its three splits."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from wsol.image_set import Entry, ImageSet, load_entry
from wsol.sample import Sample, resize_sample


@dataclass(frozen=True)
class Splits:
    """What every reader returns.

    Attributes:
        name: of the data set.
        class_names: K names, by class id.
        train: image labels alone (train-weaksup of Choe et al., CVPR 2020).
        val: held out with boxes, to choose thresholds (their train-fullsup).
        test: what is reported.
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the images, labels and boxes, so that results of two subsets never mix."""
        text = hashlib.sha256(repr(self.class_names).encode())
        for split, images in (("train", self.train), ("val", self.val), ("test", self.test)):
            for entry in images.entries:
                text.update(f"{split}\t{entry.image_id}\t{entry.class_id}\t{entry.boxes.tolist()}\n".encode())
        return text.hexdigest()[:16]


def make_splits(
    name: str,
    class_names: Sequence[str],
    entries: tuple[Sequence[Entry], Sequence[Entry], Sequence[Entry]],
    *,
    image_size: int,
    train_size: int,
    max_cache_gib: float,
    load: Callable[[Entry], Sample] = load_entry,
) -> Splits:
    """Three splits of square images: `train` at train_size, to be cropped at random, the others at image_size.

    Args:
        name: of the data set.
        class_names: by class id.
        entries: of train, val and test.
        image_size: side in pixels of what the network reads.
        train_size: side in pixels that training crops are cut from.
        max_cache_gib: decoded images kept in memory, per split.
        load: entry -> sample at its original size.

    Raises:
        ValueError: if train_size is below image_size, an image id comes twice, or a class has no training image.
    """
    if not 0 < image_size <= train_size:
        raise ValueError(f"train_size must be at least image_size, got {train_size} and {image_size}.")
    ids = [entry.image_id for split in entries for entry in split]
    if len(set(ids)) != len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"{name}: image id {twice!r} comes twice; every image may be in one split, once.")
    trained = {entry.class_id for entry in entries[0]}
    for class_id, class_name in enumerate(class_names):
        if class_id not in trained:
            raise ValueError(f"{name}: class {class_name!r} has no training image; unpack its archive again.")

    def split(which: int, title: str, size: int) -> ImageSet:
        return ImageSet(
            entries[which],
            load,
            partial(resize_sample, size=(size, size)),  # not a lambda: loader processes are handed it pickled
            labels_only=which == 0,
            max_cache_bytes=max_cache_gib * 2**30,
            name=f"{name} {title}",
        )

    return Splits(
        name,
        tuple(class_names),
        split(0, "train", train_size),
        split(1, "val", image_size),
        split(2, "test", image_size),
    )


def hold_out(entries: Sequence[Entry], fraction: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Cut a stratified, seeded part out of a split: of every class this fraction, at least one, never all.

    Returns:
        The entries kept and the entries held out, both in their old order.

    Raises:
        ValueError: if the fraction is not inside (0, 1), or a class has a single image.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val_fraction must lie inside (0, 1), got {fraction}.")
    class_ids: NDArray[np.int64] = np.array([entry.class_id for entry in entries])
    generator = np.random.default_rng(seed)
    held: set[int] = set()
    for class_id in np.unique(class_ids):
        (members,) = np.nonzero(class_ids == class_id)
        if len(members) < 2:
            raise ValueError(
                f"{entries[members[0]].image_id} is the only training image of its class: none is left for val."
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.update(generator.permutation(members)[:count].tolist())
    kept = [entry for index, entry in enumerate(entries) if index not in held]
    return kept, [entry for index, entry in enumerate(entries) if index in held]
