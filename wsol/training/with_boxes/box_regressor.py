"""Define and train a network that gives one box per image, whatever the class."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from wsol.data.sample import Sample
from wsol.geometry import Size
from wsol.machine import THIS_MACHINE, Machine
from wsol.networks.backbone import Backbone
from wsol.training.with_boxes.train import BoxTraining, seeded, train_on_boxes

LOSS_WEIGHT = 50.0  # factor of the squared error in the published code of PSOL; it matters for sgd only


class BoxRegressor(nn.Module):
    """A trunk, the mean over its cells, two linear layers: a box as (x, y, w, h), each a share of the image's side.

    Source: Zhang, Cao and Wu, "Rethinking the Route Towards Weakly Supervised Object Localization", CVPR 2020. The head
    follows their published code: 512 units, ReLU, and a sigmoid on the four numbers.

    Args:
        backbone: maps images to features (N, C, h, w).
        hidden: number of units between the two linear layers.
    """

    def __init__(self, backbone: Backbone, hidden: int = 512) -> None:
        super().__init__()
        self.backbone = backbone
        self.box = nn.Sequential(
            nn.Linear(backbone.out_channels, hidden), nn.ReLU(), nn.Linear(hidden, 4), nn.Sigmoid()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), uint8 or float in [0, 1], to (N, 4) in [0, 1]: left, top, width, height."""
        return self.box(self.backbone(images).mean(dim=(2, 3)))


def regression_loss(predicted: Tensor, boxes: list[NDArray[np.float32]], size: Size) -> Tensor:
    """Return 50 times the mean squared error of the four numbers, as in the published code of PSOL.

    The target of a box that a random crop clips is its visible part. Images whose box lies outside their crop are left
    out.

    Args:
        predicted: (N, 4) output of `BoxRegressor`.
        boxes: N arrays (1, 4), edges in pixels.
        size: (H, W) of the images.

    Raises:
        ValueError: if an image does not have exactly one box, or a box is not finite.
    """
    counts = {len(image_boxes) for image_boxes in boxes}
    if counts != {1}:
        raise ValueError(f"A box regressor learns one box for each image, got images with {sorted(counts)} boxes.")
    edges = np.concatenate(boxes)
    if not np.isfinite(edges).all():
        raise ValueError("A box regressor learns known boxes, got NaN or infinity; leave images without a box out.")
    height, width = size
    x0, y0, x1, y1 = edges.T
    shares = np.stack([x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height], axis=1)
    visible = torch.from_numpy((x1 > x0) & (y1 > y0)).to(predicted)
    error = (predicted - torch.from_numpy(shares).to(predicted)).square().mean(dim=1)
    return LOSS_WEIGHT * (error * visible).sum() / visible.sum().clamp(min=1)


def train_regressor(
    backbone: Backbone,
    images: Dataset[Sample],
    training: BoxTraining,
    machine: Machine = THIS_MACHINE,
) -> tuple[BoxRegressor, list[dict[str, Any]]]:
    """Train a box regressor.

    Args:
        backbone: a new backbone like the run's own; trained in place.
        images: samples with one box each, as large as the run's training images, such as `PseudoBoxed`.
        training: settings, seed, crop size and number of steps; the seed also draws the weights of the head.
        machine: accelerator, loading processes and progress bar; one device is used.

    Returns:
        The network in eval mode on the training device, and its losses; `wsol.runs.folder.save_classifier` saves both.

    Raises:
        ValueError: if an image does not have exactly one box.
        FloatingPointError: if the loss is NaN or infinite.
    """
    with seeded(training.seed):
        network = BoxRegressor(backbone)
    history = train_on_boxes(network, images, regression_loss, training, machine, "box regressor")
    return network, history
