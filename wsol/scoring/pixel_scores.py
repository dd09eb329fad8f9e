"""Score maps against masks, pixel by pixel: PxAP and the pixels' IoU, from histograms."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsol.data.ground_truth import BACKGROUND, OBJECT


def score_histograms(
    score_map: NDArray[np.float64], mask: NDArray[np.uint8], thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Count the pixels of background (row 0) and object (row 1) at each score; ignored pixels are left out.

    Args:
        score_map: (H, W) float64, in [0, 1].
        mask: (H, W) of BACKGROUND, OBJECT and IGNORED.
        thresholds: (T,) ascending in [0, 1).

    Returns:
        (2, T + 1): bin t counts thresholds[t] <= score < thresholds[t + 1]; the last bin counts scores of exactly 1,
        the one before it those from the last threshold on. No bin counts scores below the first threshold.

    Raises:
        ValueError: if map and mask differ in size.
    """
    if score_map.shape != mask.shape:
        raise ValueError(f"Map and mask must have one size, got {score_map.shape} and {mask.shape}.")
    return _histograms(score_map, mask, np.append(thresholds, 1.0))


@njit(cache=True, nogil=True)
def _histograms(scores, mask, edges):
    counts = np.zeros((2, len(edges)), np.int64)
    per_step = (len(edges) - 1) / (edges[-1] - edges[0])
    for y in range(scores.shape[0]):
        for x in range(scores.shape[1]):
            if mask[y, x] != BACKGROUND and mask[y, x] != OBJECT:
                continue
            score = scores[y, x]
            # A guess that is right for even steps; then exact for any.
            place = min(max(int((score - edges[0]) * per_step), 0), len(edges) - 1)
            while place < len(edges) - 1 and edges[place + 1] <= score:
                place += 1
            while place >= 0 and edges[place] > score:
                place -= 1
            if place >= 0:
                counts[mask[y, x], place] += 1
    return counts


def px_ap(histograms: NDArray[np.int64]) -> float:
    """Compute the PxAP of one pooled histogram; see `average_precision`.

    Raises:
        ValueError: if no pixel is on an object.
    """
    value = float(average_precision(histograms))
    if np.isnan(value):
        raise ValueError("No mask has a pixel on an object, so PxAP is not defined.")
    return value


def average_precision(histograms: NDArray[np.generic]) -> NDArray[np.float64]:
    """Compute PxAP: the area under the precision-recall curve of all pixels, pooled over images.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4.1; the
    sum of precision times the step in recall, as in their evaluation.

    Args:
        histograms: (..., 2, T + 1), from `score_histograms`, summed or averaged over images.

    Returns:
        (...) fractions in [0, 1]; NaN where no pixel is on an object.
    """
    at_least = histograms[..., ::-1].cumsum(axis=-1, dtype=np.float64)  # at or above each threshold, from the highest
    false, true = at_least[..., 0, :], at_least[..., 1, :]
    precision = np.divide(true, true + false, out=np.zeros(true.shape), where=true + false > 0)
    everything = true[..., -1:]
    recall = np.divide(true, everything, out=np.full(true.shape, np.nan), where=everything > 0)
    return (precision * np.diff(recall, prepend=0)).sum(axis=-1)


def pixel_iou(histograms: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the IoU of the pixels that score at least each threshold with the object's pixels.

    Args:
        histograms: (..., 2, T + 1), of one image, or summed or averaged over images.

    Returns:
        (..., T): for each threshold; 0 where both are empty.
    """
    at_least = histograms[..., ::-1].cumsum(axis=-1)[..., ::-1][..., :-1]
    false, true = at_least[..., 0, :], at_least[..., 1, :]
    union = false + histograms[..., 1, :].sum(axis=-1, keepdims=True)
    return np.divide(true, union, out=np.zeros(union.shape), where=union > 0)
