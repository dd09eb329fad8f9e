"""A network that learns from boxes which cells of an image are foreground."""

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.backbone import Backbone
from wsol.box_coverage import box_coverage
from wsol.box_training import seeded, train_on_boxes
from wsol.geometry import Size
from wsol.image_set import ImageSet
from wsol.network_outputs import network_outputs
from wsol.stored_maps import StoredMaps
from wsol.train import TrainSettings

SALIENCY = "saliency"  # the name of its maps, where those of a classifier have their method's


class SaliencyNetwork(nn.Module):
    """A trunk and a 1x1 convolution: one foreground score for each cell, whatever the class.

    Source: the few-shot learning baseline of Choe et al., "Evaluating Weakly Supervised Object Localization Methods
    Right", CVPR 2020.

    Args:
        backbone: images -> features (N, C, h, w).
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.score = nn.Conv2d(backbone.out_channels, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8, or float in [0, 1] -> logits (N, h, w)."""
        return self.score(self.backbone(images))[:, 0]


def saliency_loss(logits: Tensor, boxes: list[NDArray[np.float32]], size: Size) -> Tensor:
    """The mean binary cross entropy of all cells.

    Choe et al. train every pixel against a mask made of the boxes. Here a cell's target is the share of its area that
    lies inside a box, at the map's own resolution: what the mask's mean over the cell is.

    Args:
        logits: (N, h, w).
        boxes: N arrays (B, 4), in pixels of the images.
        size: (H, W) of the images.
    """
    grid = (logits.shape[1], logits.shape[2])
    targets = torch.from_numpy(np.stack([box_coverage(its, size, grid) for its in boxes]))
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits))


def train_saliency(
    backbone: Backbone,
    images: ImageSet,
    settings: TrainSettings,
    *,
    seed: int,
    image_size: int,
    steps: int,
    accelerator: str = "auto",
    workers: int = 0,
    progress: str = "",
) -> tuple[SaliencyNetwork, list[dict[str, Any]]]:
    """Train a saliency network on images with boxes.

    Args:
        backbone: built as the run's own; trained in place.
        images: all with boxes, as large as the run's training images.
        settings: the run's own; see `train_on_boxes` for what of them is read.
        seed: of the 1x1 convolution, the order of the images and their augmentation.
        image_size: side of the random crops in pixels.
        steps: how many batches.
        accelerator: Fabric's: auto, cpu, gpu.
        workers: processes that load samples; 0 loads them in this one.
        progress: what a progress bar says; empty for none.

    Returns:
        The network in eval mode on the training device, and its losses; `wsol.runs.save_classifier` keeps both.

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
    with seeded(seed):
        network = SaliencyNetwork(backbone)
    images.preload()
    history = train_on_boxes(
        network,
        images,
        saliency_loss,
        settings,
        seed=seed,
        image_size=image_size,
        steps=steps,
        accelerator=accelerator,
        workers=workers,
        progress=progress,
    )
    return network, history


def saliency_maps(
    network: SaliencyNetwork,
    images: ImageSet,
    *,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
    progress: str = "",
) -> StoredMaps:
    """The maps of a split, scored like any others: each cell's probability of foreground, not its logit.

    Args:
        network: moved to `device`.
        images: of the size that the run's maps are made at.
        device: where to compute.
        batch_size: images at a time.
        workers: processes that decode; 0 decodes in this one.
        progress: what a progress bar says; empty for none.

    Raises:
        ValueError: for a map with NaN or infinity, naming its image.
    """
    begun = time.perf_counter()
    outputs = network_outputs(network, images, device=device, batch_size=batch_size, workers=workers, progress=progress)
    made = StoredMaps.concatenate([StoredMaps.of(image_ids, logits.sigmoid()) for image_ids, logits in outputs])
    return StoredMaps(made.image_ids, made.values, made.scale, time.perf_counter() - begun)
