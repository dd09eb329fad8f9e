"""One box for each image of a split, on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.geometry import Size
from wsol.whole_files import whole_file


@dataclass(frozen=True)
class StoredBoxes:
    """The box that was predicted for each image of a split."""

    image_ids: NDArray[np.str_]  # (N,)
    boxes: NDArray[np.float32]  # (N, 4) edges in pixels of an image of `size`; NaN: there is none
    size: Size  # (height, width)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) True where there is a box."""
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
        """The boxes of several batches of images of one size, in order."""
        return cls(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            parts[0].size,
        )
