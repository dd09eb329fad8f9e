"""Splits of images of which some have boxes: what is scored needs boxes, what is trained on needs none."""

from collections import Counter
from collections.abc import Sequence

from wsol.index import Entry, Index
from wsol.splits import hold_out_boxed


def seeded_split(
    entries: Sequence[Entry], val_fraction: float, test_fraction: float, seed: int
) -> tuple[Index, Index, Index]:
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
