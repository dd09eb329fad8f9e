"""Ground truth of a split: the annotations without the images' pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.geometry import Size

# Values of a mask.
BACKGROUND, OBJECT, IGNORED = 0, 1, 255


@dataclass(frozen=True)
class GroundTruth:
    """The annotations of N images, each on a grid of its own."""

    image_ids: NDArray[np.str_]  # (N,)
    class_ids: NDArray[np.int64]  # (N,); -1: unknown
    boxes: list[NDArray[np.float32]]  # N arrays (B, 4), edges; all empty if there are masks alone
    sizes: NDArray[np.int64]  # (N, 2) height and width in pixels of the grid that an image's boxes are on
    # (index, (H, W)) -> (H, W) uint8 of BACKGROUND, OBJECT and IGNORED; None: there are no masks
    read_mask: Callable[[int, Size], NDArray[np.uint8]] | None = None
    class_names: tuple[str, ...] = ()  # by class id; empty: unknown

    def __len__(self) -> int:
        return len(self.image_ids)

    def size(self, index: int) -> Size:
        """Return the (height, width) of one image's grid."""
        height, width = self.sizes[index]
        return int(height), int(width)

    @property
    def has_boxes(self) -> bool:
        """Whether boxes can be scored: False if there are masks alone."""
        return any(len(boxes) > 0 for boxes in self.boxes)


def same_size(count: int, size: Size) -> NDArray[np.int64]:
    """Return the `sizes` of images that all have one size."""
    return np.tile(np.array(size, dtype=np.int64), (count, 1))


def truth_of(predictions: pd.DataFrame) -> GroundTruth:
    """Return the ground truth in a run's predictions, so that scoring needs neither images nor network."""
    height, width = predictions.attrs["size"]
    return GroundTruth(
        image_ids=predictions["image_id"].to_numpy(dtype=np.str_),
        class_ids=predictions["class_id"].to_numpy(np.int64),
        boxes=[np.asarray(flat, dtype=np.float32).reshape(-1, 4) for flat in predictions["boxes"]],
        sizes=same_size(len(predictions), (height, width)),
    )
