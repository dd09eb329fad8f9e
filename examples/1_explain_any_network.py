"""Ask any trained network where it sees a class, draw the box, and measure it against the ground truth."""

import torch
from torch import nn

import wsol

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
)
images = torch.rand(2, 3, 32, 32)  # normalized as in the network's training
ground_truth = [[[4, 4, 20, 28]], [[0, 8, 16, 24]]]  # boxes (x0, y0, x1, y1) of each image, in pixels

class_ids = network(images).argmax(dim=1)
activation_maps = wsol.maps_of_batch(network, images, class_ids, wsol.GradCAM(target_layer="1"))
for score_map, true_boxes in zip(wsol.to_score_maps(activation_maps, size=(32, 32)), ground_truth, strict=True):
    (boxes,) = wsol.largest_boxes(score_map, thresholds=[0.2])
    print(f"box {boxes.tolist()}, IoU {wsol.box_iou(boxes, true_boxes).max():.2f}")
