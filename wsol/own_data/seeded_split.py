"""Splits of images of which some have boxes: what is scored needs boxes, what is trained on needs none."""

from collections import Counter
from collections.abc import Sequence

from wsol.index import Entry
from wsol.splits import hold_out


def hold_out_boxed(entries: Sequence[Entry], fraction: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Cut a stratified, seeded part out of the images that have boxes.

    A class's only image with boxes is never held out, so such a class is in no part that is scored.

    Args:
        entries: with and without boxes.
        fraction: of each class's images with boxes; at least one, never all.
        seed: chooses them.

    Returns:
        The entries kept and the entries held out, both in their old order.

    Raises:
        ValueError: if no class has two images with boxes, or the fraction is not inside (0, 1).
    """
    boxed = [entry for entry in entries if len(entry.boxes)]
    counts = Counter(entry.class_id for entry in boxed)
    boxed = [entry for entry in boxed if counts[entry.class_id] > 1]
    if not boxed:
        raise ValueError(
            f"{len(entries)} images, {sum(counts.values())} with boxes: no class has two images with boxes, of which "
            "one could be held out; give more boxes."
        )
    _, held = hold_out(boxed, fraction, seed)
    ids = set(held.image_ids)
    return (
        [entry for entry in entries if entry.image_id not in ids],
        [entry for entry in entries if entry.image_id in ids],
    )


def seeded_split(
    entries: Sequence[Entry], val_fraction: float, test_fraction: float, seed: int
) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Train, val and test: of each class's images with boxes these fractions are val and test; all others train.

    Raises:
        ValueError: if the fractions are not positive with a sum below 1, or there are too few boxes.
    """
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
