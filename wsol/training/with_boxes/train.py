"""Train a network on images with boxes, by any loss of its output and the boxes."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from wsol.data.sample import Batch, Sample, collate
from wsol.geometry import Size
from wsol.machine import THIS_MACHINE, Machine
from wsol.training.augment import augment_with_boxes
from wsol.training.train import TrainSettings, frozen_parts, lr_factor, make_optimizer

# (output, N arrays of (B, 4) boxes in pixels of the crop, size of the crop) -> loss, a scalar
BoxLoss = Callable[[Tensor, list[NDArray[np.float32]], Size], Tensor]

_REPORTS = 20  # largest number of rows of the history


@dataclass(frozen=True)
class BoxTraining:
    """Settings of a training on boxes.

    Attributes:
        settings: the classifier's own; `label_smoothing` and `select` have no effect, and `epochs` and `warmup_epochs`
            are shares of the steps.
        seed: draws the order of the images, their augmentation, and what is random in the network.
        image_size: side of the random crops in pixels.
        steps: number of batches, at least 1.

    Raises:
        ValueError: if `steps` is below 1.
    """

    settings: TrainSettings
    seed: int
    image_size: int
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}.")


def training_steps(images: int, settings: TrainSettings) -> int:
    """Return the number of steps that `wsol.training.train.train` takes on one device.

    Args:
        images: number of training images.
        settings: batch size and number of epochs.
    """
    batches, rest = divmod(images, settings.batch_size)
    # `train` drops a last batch of one image, unless it is the only batch.
    return settings.epochs * (batches + 1 if rest > 1 or not batches else batches)


def train_on_boxes(
    network: nn.Module,
    images: Dataset[Sample],
    loss: BoxLoss,
    training: BoxTraining,
    machine: Machine = THIS_MACHINE,
    label: str = "",
) -> list[dict[str, Any]]:
    """Train a network in place, with the crops, mirror images, optimizer and schedule of `wsol.training.train.train`.

    Random numbers depend on (seed, step) alone. Images are read pass by pass, each in its own order, and a batch may
    reach into the next pass. A batch has `batch_size` images, or all images if there are fewer, but never one, because
    batch norm cannot be trained on a single image.

    Args:
        network: a network with a `backbone`, whose parameters learn at `lr`, all others at `head_lr`; it ends in eval
            mode on the training device.
        images: samples of one size, at least `image_size` on each side, with their boxes.
        loss: loss of a batch.
        training: settings, seed, crop size and number of steps.
        machine: accelerator, loading processes and progress bar; one device is used.
        label: text before the progress bar.

    Returns:
        Up to twenty dicts at even intervals: step, and the mean loss since the previous dict.

    Raises:
        FloatingPointError: if the loss is NaN or infinite.
    """
    settings, seed, steps = training.settings, training.seed, training.steps
    count = len(images)  # type: ignore[arg-type]
    batch_size = min(settings.batch_size, max(2, count))
    loader: DataLoader[Batch] = DataLoader(
        images,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=_Passes(count, steps * batch_size, seed),
        num_workers=machine.workers,
        collate_fn=collate,
    )
    fabric = Fabric(accelerator=machine.accelerator, devices=1, precision=settings.precision)
    if settings.freeze_backbone:
        for part in frozen_parts(network.get_submodule("backbone")):
            part.requires_grad_(False)
    optimizer = make_optimizer(network, settings)  # type: ignore[arg-type]  # make_optimizer reads only `backbone`
    model, wrapped = fabric.setup(network.to(memory_format=torch.channels_last), optimizer)
    scheduler = LambdaLR(wrapped, lambda step: lr_factor(step / steps * settings.epochs, settings))
    model.train()
    if settings.freeze_backbone:
        for part in frozen_parts(network.get_submodule("backbone")):
            part.eval()
    interval, losses, history = math.ceil(steps / _REPORTS), list[float](), list[dict[str, Any]]()
    hidden, size = None if machine.progress else True, (training.image_size, training.image_size)
    with seeded(seed), tqdm(loader, desc=label, unit="step", disable=hidden, leave=False) as bar:
        for step, batch in enumerate(bar, start=1):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
            crops, boxes = augment_with_boxes(batch.images, batch.boxes, training.image_size, generator)
            value = loss(model(crops.to(fabric.device)).float(), boxes, size)
            losses.append(value.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"Training on boxes diverged: loss {losses[-1]} in step {step}, at learning rates "
                    f"{scheduler.get_last_lr()}; lower train.lr or train.head_lr."
                )
            wrapped.zero_grad()
            fabric.backward(value)
            wrapped.step()
            scheduler.step()
            if step % interval == 0 or step == steps:
                history.append({"step": step, "loss": sum(losses) / len(losses)})
                bar.set_postfix(loss=f"{history[-1]['loss']:.3f}", refresh=False)
                losses.clear()
    network.eval()
    return history


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's own generators inside a `with` block, and restore their states afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class _Passes(Sampler[int]):
    """Sampler of successive passes over all images, each in a new random order, up to a total number of images."""

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
