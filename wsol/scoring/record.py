"""Record how the boxes or pixels of every image match at all thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.scoring.box_agreement import Extent, extent_of
from wsol.scoring.thresholds import LABEL_FREE, best_index, find_threshold

FRAME = 0.95  # share of the frame above which a box covers it


@dataclass(frozen=True)
class PixelRecord:
    """Per-image outcomes of one classifier and one map method, pixel by pixel, on one split."""

    image_ids: NDArray[np.str_]  # (N,)
    class_ids: NDArray[np.int64]  # (N,) true classes
    class_rank: NDArray[np.int64]  # (N,) rank of the true class among the logits; 0 is top-1, -1: nothing classified
    histograms: NDArray[np.int32]  # (N, 2, T + 1) pixels off and on the object, as of `score_histograms`
    thresholds: NDArray[np.float64]  # (T,) score-map thresholds, ascending in [0, 1)
    protocol: Mapping[str, object] = field(default_factory=dict)  # protocol of the numbers, as plain data

    def to_frame(self) -> pd.DataFrame:
        """Return one row per image; `attrs` contains the thresholds, and Parquet keeps it."""
        frame = pd.DataFrame(
            {
                "image_id": self.image_ids,
                "class_id": self.class_ids,
                "class_rank": self.class_rank,
                "histograms": list(self.histograms.reshape(len(self.histograms), -1)),
            }
        )
        frame.attrs = {"thresholds": self.thresholds.tolist(), "protocol": dict(self.protocol)}
        return frame

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]], attrs: Mapping[str, Any]) -> "PixelRecord":
        """Rebuild the record that `to_frame` wrote; see `LocalizationRecord.from_columns`."""
        thresholds = np.asarray(attrs["thresholds"], dtype=np.float64)
        return cls(
            image_ids=columns["image_id"].astype(np.str_),
            class_ids=columns["class_id"].astype(np.int64),
            class_rank=columns["class_rank"].astype(np.int64),
            histograms=columns["histograms"].astype(np.int32).reshape(-1, 2, len(thresholds) + 1),
            thresholds=thresholds,
            protocol=attrs["protocol"],
        )


@dataclass(frozen=True)
class LocalizationRecord:
    """Per-image outcomes of one classifier, one map method and one box rule on one split."""

    image_ids: NDArray[np.str_]  # (N,)
    class_ids: NDArray[np.int64]  # (N,) true classes
    class_rank: NDArray[np.int64]  # (N,) rank of the true class among the logits; 0 is top-1, -1: nothing classified
    best_iou: NDArray[np.float32]  # (N, T) best IoU of any predicted with any ground-truth box
    boxes: NDArray[np.float32]  # (N, 4) the box that reached it at the operating point that was saved
    true_boxes: NDArray[np.float32]  # (N, 4) the ground-truth box that this one was compared with
    thresholds: NDArray[np.float64]  # (T,) score-map thresholds, ascending in [0, 1)
    operating_point: int  # index into thresholds: the τ chosen on val
    label_free: NDArray[np.int64]  # (N, L) index into thresholds: the τ that each map chooses, by each of `LABEL_FREE`
    peak_distance: NDArray[np.float32]  # (N,) pixels from the map's peak to the nearest true box; NaN without a map
    energy_inside: NDArray[np.float32]  # (N,) share of the map's sum inside the true boxes; NaN without a map
    protocol: Mapping[str, object] = field(default_factory=dict)  # protocol of the numbers, as plain data
    fills_frame: NDArray[np.bool_] | None = None  # (N, T) whether that box covers over 95 % of the frame; None: unknown
    map_side: NDArray[np.float32] | None = None  # (N,) shorter side of the score map in pixels; None: unknown
    has_boxes: bool = True  # False once the record is read at another threshold than `boxes` was saved at

    def at(self, score_threshold: float) -> "LocalizationRecord":
        """Return the record as read at another of its own thresholds.

        Only `best_iou` is kept for all thresholds; at another than the saved one the record has no boxes.

        Raises:
            ValueError: if no stored threshold equals it.
        """
        point = find_threshold(self.thresholds, score_threshold, "A score")
        return replace(self, operating_point=point, has_boxes=self.has_boxes and point == self.operating_point)

    def label_free_view(self, policy: str = "label_free") -> "LocalizationRecord":
        """Return the record as read at each image's own threshold: one column, whatever the threshold was.

        Args:
            policy: a key of `LABEL_FREE`.
        """
        images, points = np.arange(len(self.best_iou)), self.label_free[:, list(LABEL_FREE).index(policy)]
        fills = None if self.fills_frame is None else self.fills_frame[images, points][:, None]
        return replace(
            self,
            best_iou=self.best_iou[images, points][:, None],
            fills_frame=fills,
            thresholds=np.full(1, np.nan),
            operating_point=0,
            has_boxes=False,
        )

    def extent(self) -> Extent:
        """Return area ratio, coverage and leakage of each image's box.

        Raises:
            ValueError: if the boxes were saved at another threshold than the record is read at.
        """
        if not self.has_boxes:
            raise ValueError("Boxes are kept at the threshold chosen on val alone; read this score at `held_out`.")
        return self._extent

    @cached_property
    def _extent(self) -> Extent:
        # Several scores read it, of a record that may hold each image at a thousand thresholds.
        return extent_of(self.boxes, self.true_boxes)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per image; `attrs` contains thresholds and operating point, and Parquet keeps it."""
        frame = pd.DataFrame(
            {
                "image_id": self.image_ids,
                "class_id": self.class_ids,
                "class_rank": self.class_rank,
                "best_iou": list(self.best_iou),
                "box": list(self.boxes),
                "true_box": list(self.true_boxes),
                "label_free": list(self.label_free),
                "peak_distance": self.peak_distance,
                "energy_inside": self.energy_inside,
            }
        )
        if self.fills_frame is not None:
            frame["fills_frame"] = list(self.fills_frame)
        if self.map_side is not None:
            frame["map_side"] = self.map_side
        frame.attrs = {
            "thresholds": self.thresholds.tolist(),
            "operating_point": self.operating_point,
            "protocol": dict(self.protocol),
        }
        return frame

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]], attrs: Mapping[str, Any]) -> "LocalizationRecord":
        """Rebuild the record that `to_frame` wrote.

        Args:
            columns: of the frame, by name; its columns of lists as (N, ...) arrays.
            attrs: of the frame.
        """
        return cls(
            image_ids=columns["image_id"].astype(np.str_),
            class_ids=columns["class_id"].astype(np.int64),
            class_rank=columns["class_rank"].astype(np.int64),
            best_iou=columns["best_iou"].astype(np.float32),
            boxes=columns["box"].astype(np.float32),
            thresholds=np.asarray(attrs["thresholds"], dtype=np.float64),
            operating_point=int(attrs["operating_point"]),
            true_boxes=columns["true_box"].astype(np.float32),
            label_free=columns["label_free"].astype(np.int64).reshape(-1, len(LABEL_FREE)),
            peak_distance=columns["peak_distance"].astype(np.float32),
            energy_inside=columns["energy_inside"].astype(np.float32),
            protocol=attrs["protocol"],
            fills_frame=columns["fills_frame"].astype(bool) if "fills_frame" in columns else None,
            map_side=columns["map_side"].astype(np.float32) if "map_side" in columns else None,
        )


def choose_operating_point(best_iou: NDArray[np.float32], iou_threshold: float = 0.5) -> int:
    """Choose the threshold with most hits at this IoU; of equals the one with the highest mean IoU, then the lowest.

    Args:
        best_iou: (N, T), of the split that may choose.
        iou_threshold: δ in (0, 1].
    """
    return best_index((best_iou >= iou_threshold).sum(axis=0), best_iou.sum(axis=0, dtype=np.float64))
