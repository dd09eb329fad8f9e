"""Provide predictions that need no network: a method's number means something only where it beats theirs."""

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.data.ground_truth import GroundTruth
from wsol.geometry import Size
from wsol.scoring.box_ranges import BoxRanges
from wsol.scoring.protocol import Protocol

NONE = "none"  # the backbone and the pooling of a baseline

CENTER_GAUSSIAN = "center_gaussian"
BASELINES = (CENTER_GAUSSIAN, "whole_frame")


def center_gaussian(size: Size, sigma: float = 0.25) -> NDArray[np.float64]:
    """Return a Gaussian at the image's centre as a score map.

    Source: the center-Gaussian baseline of Choe et al., "Evaluating Weakly Supervised Object Localization Methods
    Right", CVPR 2020. Isotropic in pixels of the map; whatever sigma is, its boxes are centred squares, and the
    threshold chooses their side. The peak is the pixel (H // 2, W // 2), half a pixel off the middle of an even side:
    with the peak there, the baseline has its published scores.

    Args:
        size: (H, W).
        sigma: standard deviation as a fraction of the shorter side.

    Returns:
        (H, W) float64 in [0, 1], min-max normalized.
    """
    height, width = size
    y = np.arange(height)[:, None] - height // 2
    x = np.arange(width)[None, :] - width // 2
    bump = np.exp(-(x**2 + y**2) / (2 * (sigma * min(size)) ** 2))
    return (bump - bump.min()) / max(bump.max() - bump.min(), np.finfo(np.float64).tiny)


class CenterGaussians:
    """`center_gaussian` as the map of every image, at the size that a protocol brings maps to."""

    def __init__(self, truth: GroundTruth, protocol: Protocol) -> None:
        self._truth, self._grid = truth, protocol.grid
        self.image_ids = truth.image_ids

    def read(self, index: int) -> NDArray[np.float64]:
        """Return the (H, W) map of one image."""
        return _remembered_gaussian(self._grid or self._truth.size(index))


@functools.lru_cache(maxsize=64)
def _remembered_gaussian(size: Size) -> NDArray[np.float64]:
    return center_gaussian(size)


def whole_frame(score_map: NDArray[np.floating], thresholds: ArrayLike, protocol: Protocol) -> BoxRanges:
    """Return the whole map as the box, whatever its scores are: a box rule.

    Source: the whole-image baseline of Choe et al., CVPR 2020. No other rule returns this box of a constant map, which
    has no foreground.
    """
    height, width = score_map.shape
    count = len(np.asarray(thresholds))
    zero = np.zeros(1, np.int32)
    return BoxRanges(np.array([[0, 0, width, height]], np.float32), zero, zero + 1, np.zeros(count, np.int64))
