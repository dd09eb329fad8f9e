"""Spearman's rank correlation of many pairs at once."""

import numpy as np
from numpy.typing import NDArray


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman's ρ of each pair of rows; values that are equal share the average of their ranks.

    Args:
        first: (N, M) finite values.
        second: (N, M) finite values.

    Returns:
        (N,) in [-1, 1]; NaN where a row is constant: it has no order to compare, and any number would be made up.

    Raises:
        ValueError: for arrays that are not two of the same (N, M).
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"spearman needs two arrays of the same shape (N, M), got {first.shape} and {second.shape}.")
    correlations = np.full(len(first), np.nan)
    for n, rows in enumerate(zip(first, second, strict=True)):
        one, other = (_centred_ranks(row) for row in rows)
        spread = np.sqrt((one @ one) * (other @ other))
        if spread > 0:
            correlations[n] = np.clip(one @ other / spread, -1, 1)
    return correlations


def _centred_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average ranks less their mean; multiples of 1/2, so that a constant row is exactly zero."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # 1-based: the middle of each run of equal values
    return ranks[place] - (len(values) + 1) / 2
