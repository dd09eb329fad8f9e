"""What is summed up over images while they stream by, so that memory does not grow with them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsol.extent import extent_of
from wsol.pixel_scores import pixel_iou

# Whose class must be right for a hit to count: anybody's; the true class first; among the first five.
ANY, TOP1, TOP5 = 0, 1, 2
# (n,) ranks of the true class -> which images count; a rank of -1 is not known.
RIGHT_CLASS: tuple[Callable[[NDArray[np.int64]], NDArray[np.bool_]], ...] = (
    lambda ranks: np.full(len(ranks), True),
    lambda ranks: ranks == 0,
    lambda ranks: (ranks >= 0) & (ranks < 5),
)


@dataclass
class BoxTally:
    """The outcomes of one box rule at every threshold."""

    hits: NDArray[np.int64]  # (3, D, T) images whose IoU reaches each IoU threshold; by ANY, TOP1 and TOP5
    iou: NDArray[np.float64]  # (T,) sums of the images' best IoU
    boxes: NDArray[np.int64]  # (T,) images with a predicted box
    log_area_ratio: NDArray[np.float64]  # (T,) sums over those
    coverage: NDArray[np.float64]  # (T,) sums over all
    leakage: NDArray[np.float64]  # (T,)

    @classmethod
    def of(
        cls,
        best_iou: NDArray[np.float32],
        boxes: NDArray[np.float32],
        true_boxes: NDArray[np.float32],
        ranks: NDArray[np.int64],
        iou_thresholds: NDArray[np.float64],
    ) -> "BoxTally":
        """Of some images.

        Args:
            best_iou: (n, T).
            boxes: (n, T, 4) predicted, zeros where there is none.
            true_boxes: (n, T, 4) that they are compared with.
            ranks: (n,) place of the true class among the predicted ones; -1: not known.
            iou_thresholds: (D,).
        """
        reached = best_iou[:, None] >= iou_thresholds.astype(np.float32)[:, None]
        area_ratio, coverage, leakage = extent_of(boxes, true_boxes)
        found = area_ratio > 0
        logs = np.log(area_ratio, out=np.zeros_like(area_ratio), where=found)
        return cls(
            np.stack([reached[right(ranks)].sum(axis=0) for right in RIGHT_CLASS]),
            best_iou.sum(axis=0, dtype=np.float64),
            found.sum(axis=0),
            logs.sum(axis=0),
            coverage.sum(axis=0),
            leakage.sum(axis=0),
        )

    def add(self, other: "BoxTally") -> None:
        """Add other images."""
        self.hits += other.hits
        self.iou += other.iou
        self.boxes += other.boxes
        self.log_area_ratio += other.log_area_ratio
        self.coverage += other.coverage
        self.leakage += other.leakage


@dataclass
class PixelTally:
    """The outcomes against masks."""

    histograms: NDArray[np.int64]  # (2, T + 1), as of `score_histograms`
    iou: NDArray[np.float64]  # (T,) sums of each image's own IoU

    @classmethod
    def of(cls, histograms: NDArray[np.int64]) -> "PixelTally":
        """Of some images, (n, 2, T + 1)."""
        return cls(histograms.sum(axis=0), pixel_iou(histograms).sum(axis=0))

    def add(self, other: "PixelTally") -> None:
        """Add other images."""
        self.histograms += other.histograms
        self.iou += other.iou
