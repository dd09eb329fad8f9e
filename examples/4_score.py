"""Score maps of any origin against the ground truth: MaxBoxAcc of Choe et al., CVPR 2020."""

import numpy as np

import wsol
from wsol.data.ground_truth import GroundTruth, same_size
from wsol.scoring.baselines import CenterGaussians
from wsol.scoring.protocol import REFERENCE

image_ids = np.array(["a.jpg", "b.jpg"])
boxes = [np.float32([[20, 30, 150, 180]]), np.float32([[60, 60, 160, 160], [0, 0, 40, 40]])]
ground_truth = GroundTruth(image_ids, np.array([0, 3]), boxes, same_size(2, (224, 224)))

maps = CenterGaussians(ground_truth, REFERENCE)  # or any object with image_ids and read(index) -> (h, w)
thresholds = np.arange(0, 1, 0.001)
matches = wsol.match_maps(maps, ground_truth, wsol.largest_boxes, thresholds, REFERENCE)
accuracy = (matches.best_iou >= 0.5).mean(axis=0)
print(f"MaxBoxAcc {accuracy.max():.2f} at the score threshold {thresholds[accuracy.argmax()]:.3f}")
