"""Represent a score as per-image outcomes and a function that combines their means into one number."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# (..., K) means over images -> (...) scores
Combine = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def only(means: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean itself as the score, (..., 1) -> (...)."""
    return means[..., 0]


def ratio(means: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean over the images that count: (..., 2) mean of value times counts, mean of counts -> (...)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return means[..., 0] / means[..., 1]


def _mean(means: NDArray[np.floating]) -> NDArray[np.floating]:
    return means.mean(axis=-1)


@dataclass(frozen=True)
class Outcomes:
    """A score as a function of means over images, so that it can be computed for any sample of them.

    Attributes:
        values: (N, K), bool or number.
        combine: from the K means to the score.
        iou_thresholds: of a score that takes the best of T score-map thresholds, for each of these D: K = D T.
        bounded: the score lies in [0, 1] whatever the images are; None: as its values do.
        pooled: `combine` gives the same score for sums over images as for means, so that sums need no division.
        curve: of a score that is the highest point of a curve over T score-map thresholds, (..., K) -> (..., T).
    """

    values: NDArray[np.generic]
    combine: Combine = only
    iou_thresholds: tuple[float, ...] = ()
    bounded: bool | None = None
    pooled: bool = False
    curve: Combine | None = None

    def value(self) -> float:
        """Return the score of all images; NaN where one of them has none."""
        return float(self.combine(self.values.mean(axis=0, dtype=np.float64)))

    @property
    def hits(self) -> NDArray[np.bool_] | None:
        """Images that count, (N,), of a score that is their share at one operating point; None for other scores."""
        if self.values.dtype == bool and self.values.shape[1] == 1 and self.combine is only:
            return self.values[:, 0].astype(bool)
        return None

    def curves(self, means: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the score at each IoU and score-map threshold, of a score that chooses thresholds: (..., D, T)."""
        return means.reshape(*means.shape[:-1], len(self.iou_thresholds), -1)

    def at(self, points: Sequence[int]) -> "Outcomes":
        """Return the same score at thresholds that were chosen on other images.

        Args:
            points: D indices into the T score-map thresholds.

        Raises:
            ValueError: if the score does not choose thresholds.
        """
        if len(points) != len(self.iou_thresholds) or not points:
            raise ValueError(f"This score chooses {len(self.iou_thresholds)} thresholds, got {len(points)}.")
        by_threshold = self.values.reshape(len(self.values), len(points), -1)
        chosen = by_threshold[:, np.arange(len(points)), list(points)]
        return Outcomes(chosen, _mean) if len(points) > 1 else Outcomes(chosen)


def best_over_thresholds(best_iou: NDArray[np.floating], iou_thresholds: Sequence[float]) -> Outcomes:
    """Return hits at each IoU and score-map threshold; the score is the mean over the former of the best of the latter.

    Args:
        best_iou: (N, T).
        iou_thresholds: D of them.
    """
    hits = np.stack([best_iou >= delta for delta in iou_thresholds], axis=1)  # (N, D, T)
    count, ious, taus = hits.shape

    def best(means: NDArray[np.floating]) -> NDArray[np.floating]:
        return means.reshape(*means.shape[:-1], ious, taus).max(axis=-1).mean(axis=-1)

    return Outcomes(hits.reshape(count, ious * taus), best, tuple(float(delta) for delta in iou_thresholds))


def best_of_curve(values: NDArray[np.generic], curve: Combine, pooled: bool = False) -> Outcomes:
    """Return a score in [0, 1] that is the highest point of a curve over score-map thresholds.

    Args:
        values: (N, K).
        curve: (..., K) means over images -> (..., T).
        pooled: `curve` gives the same for sums over images as for their means.
    """
    return Outcomes(values, lambda means: curve(means).max(axis=-1), bounded=True, pooled=pooled, curve=curve)


def mean_of_known(values: NDArray[np.floating]) -> Outcomes:
    """Return a score that is the mean of (N,) values, leaving out images whose value is NaN."""
    known = ~np.isnan(values)
    return Outcomes(np.stack([np.where(known, values, 0), known], axis=1), ratio, pooled=True)


def share_of(hits: NDArray[np.bool_]) -> Outcomes:
    """Return a score that is the share of images that count, from (N,) flags."""
    return Outcomes(hits[:, None])


def mean_of(values: NDArray[np.floating]) -> Outcomes:
    """Return a score that is the mean of (N,) values; NaN where one of them is."""
    return Outcomes(values[:, None])


class per_image:
    """Make a score of a function (record, ...) -> Outcomes: called, it returns the number."""

    def __init__(self, outcomes: Callable[..., Outcomes]) -> None:
        self.outcomes = outcomes
        functools.update_wrapper(self, outcomes)

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        """Return the score of a record."""
        return self.outcomes(*args, **kwargs).value()
