"""Represent the boxes of one map at all thresholds, and boxes that come from no map."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.atomic_files import whole_file
from wsol.geometry import Size
from wsol.scoring.protocol import Protocol


@dataclass(frozen=True)
class BoxRanges:
    """Boxes with the levels at which they exist: box m exists at the levels first[m] ... stop[m] - 1.

    It iterates over the thresholds: `(boxes,) = largest(score_map, [0.2])`.
    """

    boxes: NDArray[np.float32]  # (M, 4) edges on the score map's grid
    first: NDArray[np.int32]  # (M,)
    stop: NDArray[np.int32]  # (M,)
    of_threshold: NDArray[np.int64]  # (T,) the level that each threshold cuts at

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self.at(index) for index in range(len(self.of_threshold)))

    def at(self, index: int) -> NDArray[np.float32]:
        """Return the (B, 4) boxes at one threshold, sorted by (y0, x0, y1, x1)."""
        level = self.of_threshold[index]
        boxes = self.boxes[(self.first <= level) & (level < self.stop)]
        return boxes[np.lexsort(boxes.T[[2, 3, 0, 1]])]


# (score_map, thresholds, protocol) -> the boxes of that map
BoxRule = Callable[[NDArray[np.floating], ArrayLike, Protocol], BoxRanges]


@dataclass(frozen=True)
class StoredBoxes:
    """The box that was predicted for each image of a split."""

    image_ids: NDArray[np.str_]  # (N,)
    boxes: NDArray[np.float32]  # (N, 4) edges in pixels of an image of `size`; NaN: there is none
    size: Size  # (height, width)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Images that have a box, (N,) bool."""
        return np.asarray(np.isfinite(self.boxes).all(axis=1))

    def save(self, path: Path) -> None:
        """Write one .npz, whole or not at all."""
        with whole_file(path) as aside:
            np.savez(aside, image_ids=self.image_ids, boxes=self.boxes, size=np.array(self.size))

    @classmethod
    def load(cls, path: Path) -> "StoredBoxes":
        """Read what `save` wrote."""
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            height, width = arrays["size"].tolist()
            return cls(arrays["image_ids"], arrays["boxes"], (height, width))

    @classmethod
    def concatenate(cls, parts: Sequence["StoredBoxes"]) -> "StoredBoxes":
        """Join the boxes of several batches of images of one size, in order."""
        return cls(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            parts[0].size,
        )
