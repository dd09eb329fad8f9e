"""Training a network on images with boxes; what it learns of them is its loss."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from wsol.data.sample import Batch, Sample, collate
from wsol.geometry import Size
from wsol.training.augment import augment_with_boxes
from wsol.training.train import TrainSettings, lr_factor, make_optimizer

# (output, N arrays of (B, 4) boxes in pixels of the crop, size of the crop) -> loss, a scalar
BoxLoss = Callable[[Tensor, list[NDArray[np.float32]], Size], Tensor]

_REPORTS = 20  # rows of the history


def training_steps(images: int, settings: TrainSettings) -> int:
    """How many steps `wsol.training.train.train` takes on so many images, on one device."""
    batches, rest = divmod(images, settings.batch_size)
    # A last batch of one image is left out, unless it is all there is.
    return settings.epochs * (batches + 1 if rest > 1 or not batches else batches)


def train_on_boxes(
    network: nn.Module,
    images: Dataset[Sample],
    loss: BoxLoss,
    settings: TrainSettings,
    *,
    seed: int,
    image_size: int,
    steps: int,
    accelerator: str = "auto",
    workers: int = 0,
    progress: str = "",
) -> list[dict[str, Any]]:
    """Train a network in place, with the crops, mirror images, optimizer and schedule of `wsol.training.train.train`.

    What is drawn depends on (seed, step) alone. Of the settings, those of classification say nothing here:
    `label_smoothing`, and `select`, since nothing is left to choose a step by; `epochs` and `warmup_epochs` are shares
    of the steps. Images are read pass by pass, each in an order of its own, and a batch may reach into the next pass:
    `batch_size` images, or all of them where there are fewer, but never one, on which batch norm cannot be trained.

    Args:
        network: with a `backbone`, whose parameters learn at `lr`, all others at `head_lr`; comes back in eval mode on
            the training device.
        images: samples of one size, at least `image_size` on each side, with their boxes.
        loss: of a batch.
        settings: how to train.
        seed: of order and augmentation, and of what is random in the network.
        image_size: side of the random crops in pixels.
        steps: how many batches.
        accelerator: Fabric's: auto, cpu, gpu; one device is used.
        workers: processes that load samples; 0 loads them in this one.
        progress: what a progress bar says; empty for none.

    Returns:
        Up to twenty dicts, evenly spaced: step, and the mean loss since the one before.

    Raises:
        ValueError: if there is no step to take.
        FloatingPointError: if the loss is NaN or infinite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    count = len(images)  # type: ignore[arg-type]
    batch_size = min(settings.batch_size, max(2, count))
    loader: DataLoader[Batch] = DataLoader(
        images,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=_Passes(count, steps * batch_size, seed),
        num_workers=workers,
        collate_fn=collate,
    )
    fabric = Fabric(accelerator=accelerator, devices=1, precision=settings.precision)
    if settings.freeze_backbone:
        network.get_submodule("backbone").requires_grad_(False)
    optimizer = make_optimizer(network, settings)  # type: ignore[arg-type]  # of a classifier it reads the backbone alone
    model, wrapped = fabric.setup(network.to(memory_format=torch.channels_last), optimizer)
    scheduler = LambdaLR(wrapped, lambda step: lr_factor(step / steps * settings.epochs, settings))
    model.train()
    if settings.freeze_backbone:
        network.get_submodule("backbone").eval()
    every, since, history = math.ceil(steps / _REPORTS), list[float](), list[dict[str, Any]]()
    with seeded(seed), tqdm(loader, desc=progress, unit="step", disable=None if progress else True, leave=False) as bar:
        for step, batch in enumerate(bar, start=1):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
            crops, boxes = augment_with_boxes(batch.images, batch.boxes, image_size, generator)
            value = loss(model(crops.to(fabric.device)).float(), boxes, (image_size, image_size))
            since.append(value.item())
            if not math.isfinite(since[-1]):
                raise FloatingPointError(
                    f"Training on boxes diverged: loss {since[-1]} in step {step}, at learning rates "
                    f"{scheduler.get_last_lr()}; lower train.lr or train.head_lr."
                )
            wrapped.zero_grad()
            fabric.backward(value)
            wrapped.step()
            scheduler.step()
            if step % every == 0 or step == steps:
                history.append({"step": step, "loss": sum(since) / len(since)})
                bar.set_postfix(loss=f"{history[-1]['loss']:.3f}", refresh=False)
                since.clear()
    network.eval()
    return history


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's own generators start at this seed; afterwards they go on from where they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class _Passes(Sampler[int]):
    """Pass after pass over all images, each shuffled anew, up to a number of images."""

    def __init__(self, count: int, total: int, seed: int) -> None:
        self._count, self._total, self._seed = count, total, seed

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._endless(), self._total)

    def _endless(self) -> Iterator[int]:
        for turn in itertools.count():
            generator = torch.Generator().manual_seed((self._seed * 1_000_033 + turn) % 2**63)
            yield from torch.randperm(self._count, generator=generator).tolist()
