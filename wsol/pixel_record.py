"""The record that pixel scores read: a histogram of each image's scores, on the object and off it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class PixelRecord:
    """Per-image outcomes of one classifier and one map method, pixel by pixel, on one split."""

    image_ids: NDArray[np.str_]  # (N,)
    class_ids: NDArray[np.int64]  # (N,) true classes
    class_rank: NDArray[np.int64]  # (N,) place of the true class among the logits; 0 is top-1, -1: nothing classified
    histograms: NDArray[np.int32]  # (N, 2, T + 1) pixels off and on the object, as of `score_histograms`
    thresholds: NDArray[np.float64]  # (T,) score-map thresholds, ascending in [0, 1)
    protocol: Mapping[str, object] = field(default_factory=dict)  # what the numbers were made by, as plain data

    def to_frame(self) -> pd.DataFrame:
        """One row per image; the thresholds travel in `attrs`, which Parquet keeps."""
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
        """The record that `to_frame` wrote; see `LocalizationRecord.from_columns`."""
        thresholds = np.asarray(attrs["thresholds"], dtype=np.float64)
        return cls(
            image_ids=columns["image_id"].astype(np.str_),
            class_ids=columns["class_id"].astype(np.int64),
            class_rank=columns["class_rank"].astype(np.int64),
            histograms=columns["histograms"].astype(np.int32).reshape(-1, 2, len(thresholds) + 1),
            thresholds=thresholds,
            protocol=attrs["protocol"],
        )
