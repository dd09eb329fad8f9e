"""The `reference` protocol as one would write it down: OpenCV, one threshold after another. Slow, and the oracle.

What it must do was learned from clovaai/wsolevaluation (Choe et al., CVPR 2020) by running it.
"""

import cv2
import numpy as np


def score_map(activation_map, size=(224, 224)):
    """(h, w) -> (H, W) in [0, 1]."""
    if activation_map.min() == activation_map.max():
        return np.zeros(size)
    resized = cv2.resize(np.asarray(activation_map, np.float64), size[::-1], interpolation=cv2.INTER_CUBIC)
    lifted = resized - resized.min()
    return lifted / lifted.max()


def boxes(scores, thresholds, only_largest):
    """One (B, 4) array of inclusive x0, y0, x1, y1 per threshold."""
    height, width = scores.shape
    gray = (scores * 255).astype(np.uint8)
    found = []
    for threshold in thresholds:
        _, binary = cv2.threshold(gray, int(threshold * gray.max()), 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        if only_largest and contours:
            contours = [max(contours, key=cv2.contourArea)]
        rectangles = [cv2.boundingRect(contour) for contour in contours]
        ends = [[x, y, min(x + w, width - 1), min(y + h, height - 1)] for x, y, w, h in rectangles]
        found.append(np.array(ends or [[0, 0, 0, 0]]))
    return found


def true_boxes(original, image_size, grid=(224, 224)):
    """(B, 4) integer boxes of an image of (height, width), on the grid."""
    scale = np.array([grid[1], grid[0]] * 2)
    return (np.asarray(original, float) * scale / np.array([image_size[1], image_size[0]] * 2)).astype(int)


def iou(first, second):
    """(A, B), pixels at both ends inside."""
    a, b = np.asarray(first)[:, None], np.asarray(second)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    both = np.maximum(sides, 0).prod(-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2] + 1).prod(-1) for box in (a, b))
    return both / (area_a + area_b - both)


def best_iou(scores, thresholds, only_largest, truth):
    """(T,) best IoU of any box with any true box."""
    return np.array([iou(one, truth).max() for one in boxes(scores, thresholds, only_largest)])
