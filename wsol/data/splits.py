"""A data set: its classes and its three splits."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsol.data.disk_cache import mask_digest
from wsol.data.image_set import ImageSet
from wsol.data.index import Entry, Index
from wsol.data.shared_strings import Strings

_AT_ONCE = 20_000  # images whose text is made at a time


@dataclass(frozen=True)
class Splits:
    """The data set that every reader returns.

    Attributes:
        name: of the data set.
        class_names: K names, by class id.
        train: image labels alone (train-weaksup of Choe et al., CVPR 2020).
        val: held out with boxes, to choose thresholds (their train-fullsup).
        test: what is reported.
        annotated_train: train with its boxes, where it has some: for the check of the data, which reads every
            annotation. Nothing that trains is given it.
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    annotated_train: Index

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that identify ids, labels, boxes and masks, so that results of two subsets never mix.

        An image is identified by its id; whether its pixels are the published ones, the check of the data finds out.
        """
        text = hashlib.sha256(repr(self.class_names).encode())
        for split, images in (("train", self.train), ("val", self.val), ("test", self.test)):
            for part in _lines(split, images.entries):
                text.update(part)
            text.update(mask_digest(images.entries).encode())
        return text.hexdigest()[:16]


def _lines(split: str, index: Index) -> Iterator[bytes]:
    """Yield a line of text for each image, in pieces."""
    if len(index.boxes):
        boxes, ends = index.boxes.tolist(), index.box_ends.tolist()
        of_image = (boxes[start:end] for start, end in pairwise(ends))
        for image_id, class_id, boxes_of_image in zip(index.image_ids, index.class_ids.tolist(), of_image, strict=True):
            yield f"{split}\t{image_id}\t{class_id}\t{boxes_of_image}\n".encode()
        return
    # A training split can have a million images: Arrow makes the same text a hundred times as fast.
    name, nothing, tab = (pa.scalar(text, pa.large_string()) for text in (split, "[]\n", "\t"))
    ids = index.image_ids.to_arrow()
    for start in range(0, len(index), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        class_ids = pa.array(index.class_ids[some].numpy()).cast(pa.large_string())
        lines = pc.binary_join_element_wise(name, ids[some], class_ids, nothing, tab)
        yield Strings.from_arrow(lines).data.numpy().tobytes()


def hold_out(entries: Iterable[Entry], fraction: float, seed: int) -> tuple[Index, Index]:
    """Cut a stratified, seeded part out of a split: of every class this fraction, at least one, never all.

    Returns:
        The entries kept and the entries held out, both in their old order.

    Raises:
        ValueError: if the fraction is not inside (0, 1), or a class has a single image.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"val_fraction must lie inside (0, 1), got {fraction}.")
    index = Index.of(entries)
    class_ids = index.class_ids.numpy()
    by_class = np.argsort(class_ids, kind="stable")
    generator = np.random.default_rng(seed)
    held = np.zeros(len(index), bool)
    for members in np.split(by_class, np.flatnonzero(np.diff(class_ids[by_class])) + 1):
        if len(members) < 2:
            raise ValueError(
                f"{index[members[0]].image_id} is the only training image of its class: none is left for val."
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held[generator.permutation(members)[:count]] = True
    return index.select(np.flatnonzero(~held)), index.select(np.flatnonzero(held))


def hold_out_of_test(test: Index, fraction: float) -> tuple[Index, Index]:
    """Cut a part out of test that chooses thresholds, where there is no val: each image by a hash of its id.

    An image falls into the same part on every machine, whatever other images the split has. The parts are not
    stratified, because a split may have a single image of each class.

    Args:
        test: the images.
        fraction: expected share of the part that is held out, in (0, 1).

    Returns:
        The images that are scored, and those held out, both in their old order.

    Raises:
        ValueError: if the fraction is not inside (0, 1), or one part has no image.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"data.val=test:FRACTION must have a fraction inside (0, 1), got {fraction:g}.")
    hashes = (hashlib.sha256(image_id.encode()).digest()[:8] for image_id in test.image_ids)
    held = np.array([int.from_bytes(number, "big") < fraction * 2.0**64 for number in hashes], bool)
    if held.all() or not held.any():
        raise ValueError(
            f"data.val=test:{fraction:g} holds {held.sum()} of {len(test)} images out; choose a fraction that leaves "
            "images in both parts."
        )
    return test.select(np.flatnonzero(~held)), test.select(np.flatnonzero(held))


def hold_out_boxed(entries: Iterable[Entry], fraction: float, seed: int) -> tuple[Index, Index]:
    """Hold out images that have boxes; a class's only image with boxes is never held out.

    Raises:
        ValueError: if no class has two images with boxes, or the fraction is not inside (0, 1).
    """
    index = Index.of(entries)
    class_ids = index.class_ids.numpy()
    boxed = np.flatnonzero(index.box_counts)
    counts = np.bincount(class_ids[boxed], minlength=1)
    several = boxed[counts[class_ids[boxed]] > 1]
    if not len(several):
        raise ValueError(
            f"{len(index)} images, {len(boxed)} with boxes: no class has two images with boxes, of which one could be "
            "held out; give more boxes."
        )
    _, held = hold_out(index.select(several), fraction, seed)
    stays = pc.invert(pc.is_in(index.image_ids.to_arrow(), held.image_ids.to_arrow()))
    return index.select(np.flatnonzero(stays.to_numpy(zero_copy_only=False))), held
