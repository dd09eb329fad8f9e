"""Convert scores and thresholds to whole numbers: the number of levels that each pixel is above."""

import numpy as np
from numba import njit

MOST = 32000  # levels, that int16 holds them
BAD_SCORES, BAD_THRESHOLDS = -1, -2


@njit(cache=True, nogil=True)
def to_levels(scores, taus, quantized):
    """Convert a score map to whole levels: at threshold t, foreground is where values > of_threshold[t].

    Args:
        scores: (H, W) float64, in [0, 1].
        taus: (T,) float64 ascending in [0, 1).
        quantized: cut scores to q = 0 ... 255; foreground is where q > int(τ max q). Otherwise where score > τ.

    Returns:
        values: (H, W) int16 in 0 ... L.
        levels: L, at least 1; BAD_SCORES if one is outside [0, 1] or NaN; BAD_THRESHOLDS if they are not as above.
        of_threshold: (T,) int64 ascending, in 0 ... L - 1.
    """
    values = np.empty(scores.shape, np.int16)
    of_threshold = np.empty(len(taus), np.int64)
    ascending = taus[0] >= 0 and taus[-1] < 1
    for t in range(1, len(taus)):
        ascending &= taus[t] > taus[t - 1]
    if not ascending:
        return values, BAD_THRESHOLDS, of_threshold
    if not quantized:
        levels = len(taus) if _count_thresholds_below(scores, taus, values) else BAD_SCORES
        for t in range(len(taus)):
            of_threshold[t] = t
        return values, levels, of_threshold
    highest = _cut_to_bytes(scores, values)
    for t in range(len(taus)):
        of_threshold[t] = int(taus[t] * highest)  # truncated
    return values, max(highest, 1) if highest >= 0 else BAD_SCORES, of_threshold


@njit(cache=True, nogil=True)
def only_asked_for(values, levels, of_threshold):
    """Keep only the levels that a threshold cuts at; a rough map then has fewer steps.

    Returns:
        values, levels, of_threshold.
    """
    below = np.zeros(levels + 2, np.int16)  # value -> number of kept levels below it
    renumbered = np.empty_like(of_threshold)
    count = 0
    for t in range(len(of_threshold)):
        if t == 0 or of_threshold[t] != of_threshold[t - 1]:
            below[of_threshold[t] + 1] = 1
            count += 1
        renumbered[t] = count - 1
    for value in range(1, levels + 1):
        below[value] += below[value - 1]
    fewer = np.empty_like(values)
    for y in range(values.shape[0]):
        for x in range(np.uint64(values.shape[1])):
            fewer[y, x] = below[values[y, x]]
    return fewer, count, renumbered


@njit(cache=True, nogil=True)
def _cut_to_bytes(scores, values):
    """Fill values with uint8(255 scores), truncated; return the highest, or -1 if a score is outside [0, 1]."""
    highest, valid = np.int16(0), True
    for y in range(scores.shape[0]):
        for x in range(np.uint64(scores.shape[1])):
            score = scores[y, x]
            valid &= (score >= 0) & (score <= 1)
            values[y, x] = np.int16(score * 255)
            highest = max(highest, values[y, x])
    return np.int64(highest) if valid else np.int64(-1)


@njit(cache=True, nogil=True)
def _count_thresholds_below(scores, taus, values):
    """Fill values with the number of thresholds below each score; return False if a score is outside [0, 1]."""
    count = len(taus)
    start, per_step = taus[0], (count - 1) / (taus[-1] - taus[0]) if count > 1 else 0.0
    for y in range(scores.shape[0]):
        for x in range(scores.shape[1]):
            score = scores[y, x]
            if not (score >= 0 and score <= 1):
                return False
            # A guess that is right for even steps; then exact for any.
            below = min(max(int((score - start) * per_step), 0), count)
            while below < count and taus[below] < score:
                below += 1
            while below > 0 and taus[below - 1] >= score:
                below -= 1
            values[y, x] = below
    return True
