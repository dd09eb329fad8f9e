"""The boxes at all thresholds of one map, each said once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.protocol import Protocol


@dataclass(frozen=True)
class BoxRanges:
    """Boxes and the levels at which they are there: box m at the levels first[m] ... stop[m] - 1.

    Iterates over the thresholds: `(boxes,) = largest(score_map, [0.2])`.
    """

    boxes: NDArray[np.float32]  # (M, 4) edges on the score map's grid
    first: NDArray[np.int32]  # (M,)
    stop: NDArray[np.int32]  # (M,)
    of_threshold: NDArray[np.int64]  # (T,) the level that each threshold cuts at

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self.at(index) for index in range(len(self.of_threshold)))

    def at(self, index: int) -> NDArray[np.float32]:
        """(B, 4) boxes at one threshold, sorted by (y0, x0, y1, x1)."""
        level = self.of_threshold[index]
        boxes = self.boxes[(self.first <= level) & (level < self.stop)]
        return boxes[np.lexsort(boxes.T[[2, 3, 0, 1]])]


# (score_map, thresholds, protocol) -> the boxes of that map
BoxRule = Callable[[NDArray[np.floating], ArrayLike, Protocol], BoxRanges]
