"""How much of the class is left when only what the map lights up is shown."""

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

    Source: Chattopadhay et al., "Grad-CAM++", WACV 2018; there a percentage, here a fraction.

    The image is multiplied after it is normalized, as the network sees it: what has the score 0 takes the mean colour
    (`ExplainedBatch.mean_color`), the same that deletion paints with. In pixel values it would turn black, and a dark
    map would be punished for the contrast it makes. A probability of 0 cannot drop: drop 0.

    Columns: `average_drop` in [0, 1], lower is better; `increase_in_confidence` 0 or 1, higher is better. A map that is
    1 everywhere has drop 0, so it says nothing of how small the lit part is. Costs 2 forward passes an image, or 1
    where another measure has asked for the image itself.
    """

    columns: ClassVar[Mapping[str, Column]] = {
        "average_drop": Column(0, 1, "lower"),
        "increase_in_confidence": Column(0, 1, "higher"),
    }

    def __call__(self, subject: ExplainedBatch) -> dict[str, NDArray[np.float64]]:
        """Both columns of one batch, (N,) each."""
        pixels, mean = subject.pixels, subject.mean_color
        # score * (pixel - mean) / std, back in pixel values: std cancels.
        shown = mean + subject.score_maps.to(pixels)[:, None] * (pixels - mean)
        whole = subject.confidence.double().cpu().numpy()
        left = subject.class_probability(shown, subject.class_ids).double().cpu().numpy()
        drop = np.maximum(whole - left, 0) / np.where(whole > 0, whole, 1)
        return {"average_drop": drop, "increase_in_confidence": (whole < left).astype(np.float64)}
