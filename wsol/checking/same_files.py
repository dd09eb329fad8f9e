"""Images that a data set holds more than once."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Member = tuple[int, int]


def same_files(digests: Sequence[NDArray[np.uint64]]) -> Iterator[list[Member]]:
    """Groups of files with the same digest.

    Args:
        digests: of the files of each split, (N,) each; 0: not known, which is like no other.

    Yields:
        Two or more (split, place in the split), ascending.
    """
    splits = np.repeat(np.arange(len(digests)), [len(one) for one in digests])
    places = np.concatenate([np.arange(len(one)) for one in digests])
    joined = np.concatenate(digests)
    order = np.argsort(joined, kind="stable")
    order = order[joined[order] != 0]
    starts = np.flatnonzero(np.diff(joined[order], prepend=np.uint64(0)) != 0)
    lengths = np.diff(starts, append=len(order))
    repeated = lengths > 1
    # In the order of their first files, not of their digests.
    groups = sorted(
        (order[start : start + length] for start, length in zip(starts[repeated], lengths[repeated], strict=True)),
        key=lambda group: int(group[0]),
    )
    for group in groups:
        yield list(zip(splits[group].tolist(), places[group].tolist(), strict=True))
