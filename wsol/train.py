"""Training with image labels alone.

Lightning's Fabric brings devices, precision and distribution. Its Trainer would leave a few lines less, but cannot
promise what a benchmark needs: a resumed run that ends with exactly the weights of an uninterrupted one, and
checkpoints that are whole or not there.
"""

import logging
import math
import os
import pickle
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from tqdm import tqdm

from wsol.augment import augment
from wsol.classifier import Classifier
from wsol.sample import Batch, Sample, collate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """How a classifier is trained; every field can change a number.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step, over all devices together.
        optimizer: adamw or sgd.
        lr: peak learning rate of the backbone.
        head_lr: peak learning rate of pooling and fc; None: as the backbone.
        weight_decay: on all parameters.
        momentum: of sgd.
        schedule: cosine: to zero over all steps; step: times 0.1 after each third of the epochs; constant.
        warmup_epochs: the learning rate first rises linearly over so many epochs, which may be a fraction.
        label_smoothing: of the cross entropy, in [0, 1).
        precision: Fabric's, e.g. 32-true, bf16-mixed, 16-mixed.
    """

    epochs: int = 12
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    head_lr: float | None = None
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    precision: Any = "32-true"

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer must be adamw or sgd, got {self.optimizer!r}.")
        if self.schedule not in ("cosine", "step", "constant"):
            raise ValueError(f"schedule must be cosine, step or constant, got {self.schedule!r}.")
        for name in ("epochs", "batch_size", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.head_lr is not None and self.head_lr <= 0:
            raise ValueError(f"head_lr must be above 0 or null, got {self.head_lr}.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}.")
        for name in ("weight_decay", "momentum", "warmup_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be below 0, got {getattr(self, name)}.")


def train(
    classifier: Classifier,
    dataset: Dataset[Sample],
    settings: TrainSettings,
    *,
    seed: int,
    image_size: int,
    checkpoint: Path | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    workers: int = 0,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Train a classifier in place, from a checkpoint if there is one.

    The order of an epoch's images depends on (seed, epoch) and their augmentation on (seed, epoch, step, device)
    alone, so a run that was killed and resumed ends with the same weights as one that was not.

    Args:
        classifier: built after seeding (`torch.manual_seed`); comes back in eval mode on the training device.
        dataset: samples of one size, at least `image_size` on each side; only images and class ids are read.
        settings: how to train.
        seed: of order and augmentation.
        image_size: side of the random crops in pixels.
        checkpoint: written whole after every epoch; resumed from where it exists.
        accelerator: Fabric's: auto, cpu, gpu.
        devices: how many; above one, each takes its share of every batch in a process of its own.
        workers: processes that load samples; 0 loads them in this one.
        progress: show a bar.

    Returns:
        One dict per epoch: epoch, loss, accuracy (on the augmented training images), seconds.

    Raises:
        FloatingPointError: if the loss is NaN or infinite; the checkpoint of the last good epoch stays.
    """
    job = _Job(classifier, dataset, settings, seed, image_size, checkpoint, workers, progress)
    if devices == 1:
        history = _fit(job, Fabric(accelerator=accelerator, devices=1, precision=settings.precision))
    else:
        # Processes of their own, and not copies of the whole program: only the training is spread over devices.
        fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn", precision=settings.precision)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trained.pt"
            fabric.launch(partial(_fit_and_save, job, path))
            trained = torch.load(path, weights_only=True, map_location="cpu")
        classifier.load_state_dict(trained["classifier"])
        history = trained["history"]
    classifier.eval()
    return history


@dataclass(frozen=True)
class _Job:
    classifier: Classifier
    dataset: Dataset[Sample]
    settings: TrainSettings
    seed: int
    image_size: int
    checkpoint: Path | None
    workers: int
    progress: bool


def _fit_and_save(job: _Job, path: Path, fabric: Fabric) -> None:
    """Leaves the result in a file: the launcher waits for the processes before it takes what they return.

    What is larger than a pipe holds, 64 KiB, would be waited for from both sides, and for ever.
    """
    history = _fit(job, fabric)
    if fabric.is_global_zero:
        torch.save({"classifier": job.classifier.state_dict(), "history": history}, path)


def _fit(job: _Job, fabric: Fabric) -> list[dict[str, Any]]:
    classifier, settings, checkpoint = job.classifier, job.settings, job.checkpoint
    loader = _loader(fabric, job)
    optimizer = _optimizer(classifier, settings)
    # On two CPU cores small_cnn trains 1.4 times as fast in this layout.
    model, wrapped = fabric.setup(classifier.to(memory_format=torch.channels_last), optimizer)
    scheduler = LambdaLR(wrapped, lambda step: _lr_factor(step / len(loader), settings))
    state: dict[str, Any] = {"model": model, "optimizer": wrapped, "scheduler": scheduler, "history": []}
    _resume(fabric, checkpoint, state)
    first = len(state["history"])
    if first:
        log.info("Training goes on after epoch %d of %d.", first, settings.epochs)
    model.train()
    total = settings.epochs * len(loader)
    done = first * len(loader)
    hide = None if job.progress and fabric.is_global_zero else True  # None: only where there is a terminal
    with tqdm(total=total, initial=done, desc="training", unit="step", disable=hide, leave=False) as bar:
        for epoch in range(first, settings.epochs):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            started, losses, right, seen = time.perf_counter(), 0.0, 0.0, 0.0
            for step, batch in enumerate(loader):
                generator = _generator(job.seed, epoch, step, fabric.global_rank)
                images = augment(batch.images.to(fabric.device, non_blocking=True), job.image_size, generator)
                class_ids = batch.class_ids.to(fabric.device, non_blocking=True)
                logits = model(images)
                loss = F.cross_entropy(logits, class_ids, label_smoothing=settings.label_smoothing)
                value = loss.item()
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"Training diverged: loss {value} in epoch {epoch + 1}, step {step + 1}, at learning rates "
                        f"{scheduler.get_last_lr()}; lower train.lr or train.head_lr."
                    )
                wrapped.zero_grad()
                fabric.backward(loss)
                wrapped.step()
                scheduler.step()
                losses += value * len(class_ids)
                right += (logits.argmax(dim=1) == class_ids).sum().item()
                seen += len(class_ids)
                bar.update()
                bar.set_postfix(
                    epoch=epoch + 1, loss=f"{losses / seen:.3f}", accuracy=f"{right / seen:.2f}", refresh=False
                )
            sums: Any = fabric.all_reduce(torch.tensor([losses, right, seen], dtype=torch.float64), reduce_op="sum")
            losses, right, seen = sums.tolist()
            seconds = time.perf_counter() - started
            state["history"].append(
                {"epoch": epoch + 1, "loss": losses / seen, "accuracy": right / seen, "seconds": seconds}
            )
            if checkpoint is not None:
                _save(fabric, checkpoint, state)
    return state["history"]


def _loader(fabric: Fabric, job: _Job) -> DataLoader[Batch]:
    sampler: DistributedSampler[Sample] = DistributedSampler(
        job.dataset, num_replicas=fabric.world_size, rank=fabric.global_rank, shuffle=True, seed=job.seed
    )
    batch_size = max(1, job.settings.batch_size // fabric.world_size)
    count = len(sampler)
    return DataLoader(
        job.dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
        collate_fn=collate,
        # Batch norm cannot be trained on a single image.
        drop_last=count % batch_size == 1 and count > batch_size,
    )


def _optimizer(classifier: Classifier, settings: TrainSettings) -> Optimizer:
    head_lr = settings.lr if settings.head_lr is None else settings.head_lr
    head = nn.ModuleList([classifier.pooling, classifier.fc])
    groups = [
        {"params": [p for p in classifier.backbone.parameters() if p.requires_grad], "lr": settings.lr},
        {"params": [p for p in head.parameters() if p.requires_grad], "lr": head_lr},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)


def _lr_factor(epochs_done: float, settings: TrainSettings) -> float:
    if epochs_done < settings.warmup_epochs:
        return max(epochs_done, 1e-3) / settings.warmup_epochs
    done = min(1.0, (epochs_done - settings.warmup_epochs) / max(1e-9, settings.epochs - settings.warmup_epochs))
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 0.1 ** min(2, int(3 * done)) if settings.schedule == "step" else 1.0


def _generator(seed: int, epoch: int, step: int, rank: int) -> torch.Generator:
    # A tuple's hash differs between Python builds; mixing by primes does not.
    mixed = (seed * 1_000_003 + epoch) * 1_000_003 + step * 1_009 + rank
    return torch.Generator().manual_seed(mixed % 2**63)


def _resume(fabric: Fabric, checkpoint: Path | None, state: dict[str, Any]) -> None:
    if checkpoint is None or not checkpoint.exists():
        return
    try:
        fabric.load(checkpoint, state)
    except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = f"{type(error).__name__}: {str(error).split('. ')[0]}"
        raise RuntimeError(
            f"The checkpoint {checkpoint} cannot be read ({reason}); delete it to start over."
        ) from error


def _save(fabric: Fabric, checkpoint: Path, state: dict[str, Any]) -> None:
    aside = checkpoint.with_name(f".{checkpoint.name}.part")  # one name on all devices: only the first one writes
    fabric.save(aside, state)
    if fabric.is_global_zero:
        os.replace(aside, checkpoint)
    fabric.barrier()
