"""Define and train a network that finds the foreground cells of an image, from boxes."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.data.image_set import ImageSet
from wsol.geometry import Size, as_boxes
from wsol.machine import THIS_MACHINE, Machine
from wsol.networks.backbone import Backbone
from wsol.training.with_boxes.train import BoxTraining, seeded, train_on_boxes

SALIENCY = "saliency"  # name of the network's maps, in place of a map method's


def box_coverage(boxes: NDArray[np.floating], size: Size, grid: Size) -> NDArray[np.float32]:
    """Compute the share of each cell's area that lies inside at least one box; overlaps of boxes count once.

    Args:
        boxes: (B, 4) edges in pixels; parts outside the image are ignored.
        size: (H, W) of the image.
        grid: (h, w) of the cells, which divide the image evenly.

    Returns:
        (h, w) float32 in [0, 1]; zeros without a box.
    """
    (height, width), (rows, columns) = size, grid
    x0, y0, x1, y1 = as_boxes(boxes).astype(np.float64).T
    # The edges of cells and of boxes cut the image into pieces, each of which lies inside a box wholly or not at all.
    x = np.unique(np.concatenate([np.linspace(0, width, columns + 1), np.clip([*x0, *x1], 0, width)]))
    y = np.unique(np.concatenate([np.linspace(0, height, rows + 1), np.clip([*y0, *y1], 0, height)]))
    x_middle, y_middle = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    across = (x0[:, None] < x_middle) & (x_middle < x1[:, None])  # (B, pieces)
    down = (y0[:, None] < y_middle) & (y_middle < y1[:, None])
    inside = (down[:, :, None] & across[:, None, :]).any(axis=0)
    area = np.zeros((rows, columns))
    row, column = (y_middle * rows / height).astype(int), (x_middle * columns / width).astype(int)
    np.add.at(area, (row[:, None], column[None, :]), inside * np.diff(y)[:, None] * np.diff(x))
    return np.minimum(area * (rows * columns / (height * width)), 1).astype(np.float32)


class SaliencyNetwork(nn.Module):
    """A trunk and a 1x1 convolution that gives a foreground score for each cell, whatever the class.

    Source: the few-shot learning baseline of Choe et al., "Evaluating Weakly Supervised Object Localization Methods
    Right", CVPR 2020.

    Args:
        backbone: maps images to features (N, C, h, w).
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.score = nn.Conv2d(backbone.out_channels, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), uint8 or float in [0, 1], to logits (N, h, w)."""
        return self.score(self.backbone(images))[:, 0]


def saliency_loss(logits: Tensor, boxes: list[NDArray[np.float32]], size: Size) -> Tensor:
    """Return the mean binary cross entropy of all cells.

    Differs from Choe et al., who train every pixel against a mask made of the boxes. Here the target of a cell is the
    share of its area that lies inside a box, which is the mean of that mask over the cell.

    Args:
        logits: (N, h, w).
        boxes: N arrays (B, 4), in pixels of the images.
        size: (H, W) of the images.
    """
    grid = (logits.shape[1], logits.shape[2])
    targets = torch.from_numpy(np.stack([box_coverage(image_boxes, size, grid) for image_boxes in boxes]))
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits))


def train_saliency(
    backbone: Backbone,
    images: ImageSet,
    training: BoxTraining,
    machine: Machine = THIS_MACHINE,
) -> tuple[SaliencyNetwork, list[dict[str, Any]]]:
    """Train a saliency network on images with boxes.

    Args:
        backbone: a new backbone like the run's own; trained in place.
        images: images with boxes, as large as the run's training images.
        training: settings, seed, crop size and number of steps; the seed also draws the weights of the head.
        machine: accelerator, loading processes and progress bar; one device is used.

    Returns:
        The network in eval mode on the training device, and its losses; `wsol.runs.folder.save_classifier` saves both.

    Raises:
        ValueError: for an image without a box, naming it.
        FloatingPointError: if the loss is NaN or infinite.
    """
    (without,) = np.nonzero(images.entries.box_counts == 0)
    if len(without):
        raise ValueError(
            f"{images.name}: {len(without)} of {len(images)} images have no box to learn from, the first is "
            f"{images.image_ids[int(without[0])]!r}; train on images with boxes alone."
        )
    with seeded(training.seed):
        network = SaliencyNetwork(backbone)
    images.preload()
    history = train_on_boxes(network, images, saliency_loss, training, machine, images.name)
    return network, history
