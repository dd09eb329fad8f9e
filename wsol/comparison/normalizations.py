"""Score one set of maps under several normalizations at one threshold, side by side."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from wsol.data.ground_truth import GroundTruth
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.boxes.largest import largest
from wsol.scoring.match_maps import match_maps
from wsol.scoring.protocol import Normalization, Protocol

NORMALIZATIONS: Mapping[Normalization, str] = {"min_max": "min-max", "max": "divided by the maximum"}
TAU = 0.2  # of Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016


class UnderNormalization(NamedTuple):
    """Scores of the boxes that one normalization gives."""

    gt_known_loc: float  # share of images whose box reaches IoU 0.5
    frame_share: float  # share of images whose box covers over 95 % of the frame


def by_normalization(
    maps: StoredMaps, ground_truth: GroundTruth, protocol: Protocol, tau: float = TAU
) -> dict[Normalization, UnderNormalization]:
    """Score the largest component of each map above one threshold, under each normalization.

    A threshold of 20 % means different things: of the range between minimum and maximum (min-max), or of the maximum.
    Where maps have negative values, the former lies lower, and boxes are larger.

    Args:
        maps: of N images.
        ground_truth: their boxes, in the same order.
        protocol: everything but the normalization and the threshold.
        tau: the threshold, in [0, 1).

    Raises:
        ValueError: if the maps belong to other images.
    """
    scores = {}
    for normalization in NORMALIZATIONS:
        changed = replace(
            protocol, name=f"{protocol.name} {normalization}", normalization=normalization, percentile=None
        )
        matches = match_maps(maps, ground_truth, largest, np.array([tau]), changed, point=0)
        hits, frames = matches.best_iou[:, 0] >= 0.5, matches.fills_frame[:, 0]
        scores[normalization] = UnderNormalization(float(hits.mean()), float(frames.mean()))
    return scores
