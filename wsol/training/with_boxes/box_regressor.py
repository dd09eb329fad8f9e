"""A network that gives one box for an image, whatever the class."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from wsol.data.sample import Sample
from wsol.geometry import Size
from wsol.networks.backbone import Backbone
from wsol.training.train import TrainSettings
from wsol.training.with_boxes.train import seeded, train_on_boxes

LOSS_WEIGHT = 50.0  # of the squared error, in the published code of PSOL; it matters to sgd alone


class BoxRegressor(nn.Module):
    """A trunk, the mean over its cells, two linear layers: a box as (x, y, w, h), each a share of the image's side.

    Source: Zhang, Cao and Wu, "Rethinking the Route Towards Weakly Supervised Object Localization", CVPR 2020; the
    head as in their published code: 512 units, ReLU, and a sigmoid on the four numbers.

    Args:
        backbone: images -> features (N, C, h, w).
        hidden: units between the two linear layers.
    """

    def __init__(self, backbone: Backbone, hidden: int = 512) -> None:
        super().__init__()
        self.backbone = backbone
        self.box = nn.Sequential(
            nn.Linear(backbone.out_channels, hidden), nn.ReLU(), nn.Linear(hidden, 4), nn.Sigmoid()
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8, or float in [0, 1] -> (N, 4) in [0, 1]: left and upper edge, width, height."""
        return self.box(self.backbone(images).mean(dim=(2, 3)))


def regression_loss(predicted: Tensor, boxes: list[NDArray[np.float32]], size: Size) -> Tensor:
    """The mean squared error of the four numbers, times 50, as in the published code of PSOL.

    A box that a random crop cut is learned as what is left of it; an image whose box lies outside its crop is left out.

    Args:
        predicted: (N, 4) as of `BoxRegressor`.
        boxes: N arrays (1, 4), edges in pixels.
        size: (H, W) of the images.

    Raises:
        ValueError: if an image has not one box, or a box is not finite.
    """
    counts = {len(its) for its in boxes}
    if counts != {1}:
        raise ValueError(f"A box regressor learns one box for each image, got images with {sorted(counts)} boxes.")
    edges = np.concatenate(boxes)
    if not np.isfinite(edges).all():
        raise ValueError("A box regressor learns known boxes, got NaN or infinity; leave images without a box out.")
    height, width = size
    x0, y0, x1, y1 = edges.T
    shares = np.stack([x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height], axis=1)
    there = torch.from_numpy((x1 > x0) & (y1 > y0)).to(predicted)
    error = (predicted - torch.from_numpy(shares).to(predicted)).square().mean(dim=1)
    return LOSS_WEIGHT * (error * there).sum() / there.sum().clamp(min=1)


def train_regressor(
    backbone: Backbone,
    images: Dataset[Sample],
    settings: TrainSettings,
    *,
    seed: int,
    image_size: int,
    steps: int,
    accelerator: str = "auto",
    workers: int = 0,
    progress: str = "",
) -> tuple[BoxRegressor, list[dict[str, Any]]]:
    """Train a box regressor.

    Args:
        backbone: built as the run's own; trained in place.
        images: samples with one box each, as large as the run's training images, such as `PseudoBoxed`.
        settings: the run's own; see `train_on_boxes` for what of them is read.
        seed: of the linear layers, the order of the images and their augmentation.
        image_size: side of the random crops in pixels.
        steps: how many batches.
        accelerator: Fabric's: auto, cpu, gpu.
        workers: processes that load samples; 0 loads them in this one.
        progress: what a progress bar says; empty for none.

    Returns:
        The network in eval mode on the training device, and its losses; `wsol.runs.folder.save_classifier` keeps both.

    Raises:
        ValueError: if an image has not one box.
        FloatingPointError: if the loss is NaN or infinite.
    """
    with seeded(seed):
        network = BoxRegressor(backbone)
    history = train_on_boxes(
        network,
        images,
        regression_loss,
        settings,
        seed=seed,
        image_size=image_size,
        steps=steps,
        accelerator=accelerator,
        workers=workers,
        progress=progress,
    )
    return network, history
