"""Predictions that need no network: what a method must beat before its number means anything."""

import numpy as np
from numpy.typing import NDArray

from wsol.components import BoxRule
from wsol.geometry import Size


def center_gaussian(size: Size, sigma: float = 0.25) -> NDArray[np.float64]:
    """A Gaussian at the image's centre as a score map.

    Source: the center-Gaussian baseline of Choe et al., "Evaluating Weakly Supervised Object Localization Methods
    Right", CVPR 2020. Isotropic in pixels of the prepared image; whatever sigma is, its boxes are centred squares,
    and the threshold chooses their side.

    Args:
        size: (H, W).
        sigma: standard deviation as a fraction of the shorter side.

    Returns:
        (H, W) float64 in [0, 1], min-max normalized.
    """
    height, width = size
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width)[None, :] - (width - 1) / 2
    bump = np.exp(-(x**2 + y**2) / (2 * (sigma * min(size)) ** 2))
    return (bump - bump.min()) / (bump.max() - bump.min())


def baseline_boxes(
    size: Size, box_rule: BoxRule, thresholds: NDArray[np.float64]
) -> dict[str, list[NDArray[np.float32]]]:
    """Baseline name -> the boxes that it predicts in every image, one (B, 4) array per threshold."""
    height, width = size
    frame = np.array([[0, 0, width, height]], dtype=np.float32)
    return {
        "center_gaussian": box_rule(center_gaussian(size), thresholds),
        "whole_frame": [frame] * len(thresholds),  # no map: a constant one has no foreground
    }
