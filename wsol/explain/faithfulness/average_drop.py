"""Average Drop and Increase in Confidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wsol.explain.base_measure import Column
from wsol.explain.explained_batch import ExplainedBatch


@dataclass(frozen=True)
class AverageDrop:
    """Average Drop and Increase in Confidence: the class probability of the image times its score map.

        drop = max(0, y - o) / y,  increase = 1[y < o],  y = p(class | image), o = p(class | score map * image)

    Source: Chattopadhay et al., "Grad-CAM++", WACV 2018, as a percentage; here it is a fraction.

    The normalized image is multiplied: pixels with the score 0 take the mean colour (`ExplainedBatch.mean_color`), with
    which deletion paints, too. A product of pixel values would turn them black and penalize a dark map for the contrast
    it makes. A probability of 0 cannot drop, so its drop is 0.

    Columns: `average_drop` in [0, 1], lower is better; `increase_in_confidence` 0 or 1, higher is better. A map that is
    1 everywhere has drop 0, so the drop does not measure how small the map's region is. The cost is 2 forward passes
    per image, or 1 if another measure has already classified the unchanged image.
    """

    columns: ClassVar[Mapping[str, Column]] = {
        "average_drop": Column(0, 1, "lower"),
        "increase_in_confidence": Column(0, 1, "higher"),
    }

    def __call__(self, subject: ExplainedBatch) -> dict[str, NDArray[np.float64]]:
        """Return both columns of one batch, (N,) each."""
        pixels, mean = subject.pixels, subject.mean_color
        # score * (pixel - mean) / std, back in pixel values: std cancels.
        shown = mean + subject.score_maps.to(pixels)[:, None] * (pixels - mean)
        whole = subject.confidence.double().cpu().numpy()
        left = subject.class_probability(shown, subject.class_ids).double().cpu().numpy()
        drop = np.maximum(whole - left, 0) / np.where(whole > 0, whole, 1)
        return {"average_drop": drop, "increase_in_confidence": (whole < left).astype(np.float64)}
