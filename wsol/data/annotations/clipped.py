"""Clip the boxes of ground truth to their images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsol.data.clipping import clip_split
from wsol.data.ground_truth import GroundTruth


def clip_truth(truth: GroundTruth, source: Path, origin: Callable[[int], str]) -> GroundTruth:
    """Clip all boxes to the sizes of their images, and log how many reach out.

    Args:
        truth: with boxes for at least one image.
        source: what was read, for the log.
        origin: place of a box, counted over all images -> its file and line, for messages.

    Raises:
        ValueError: naming file, line and image, for a box that is empty or has nothing inside its image.
    """
    ends = np.concatenate([[0], np.cumsum([len(boxes) for boxes in truth.boxes])]).astype(np.int64)
    boxes = np.concatenate(truth.boxes)
    clipped = clip_split(str(source), boxes, ends, truth.sizes, origin, lambda place: str(truth.image_ids[place]))
    return replace(truth, boxes=np.split(clipped, ends[1:-1]))
