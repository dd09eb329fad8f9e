"""Train a classifier with image labels alone.

Lightning's Fabric provides devices, precision and distribution. Its Trainer would save a few lines, but does not
guarantee what a benchmark needs: a resumed run that ends with exactly the weights of an uninterrupted run, and
checkpoints that are either complete or absent.
"""

import logging
import math
import os
import pickle
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from tqdm import tqdm

from wsol.data.sample import Batch, Sample, collate
from wsol.data.views import Views
from wsol.identity import describe
from wsol.machine import THIS_MACHINE, Machine
from wsol.networks.classifier import Classifier
from wsol.networks.frozen_trunk import pool_ahead, reading
from wsol.networks.inference import evaluation_mode
from wsol.networks.stored_features import FeatureSet
from wsol.training.augment import augment
from wsol.training.base_method import TrainingBatch, TrainingMethod

log = logging.getLogger(__name__)

PLAIN = TrainingMethod()
# Fields added later, with the values of all runs before them, so that a new option renames no run.
_LATER = {
    "freeze_backbone": False,
    "select": "last",
    "views": None,
    "new_lr": None,
    "nesterov": False,
    "decay_every": None,
}
# Seconds between two checkpoints of a head on stored features, whose epochs take milliseconds.
_BETWEEN_CHECKPOINTS = 5.0
_PIECE = 2  # images whose cells a head on stored features reads at a time
# Changes the seed of a step, because dropout would otherwise draw the same numbers that placed the crops.
_DROPOUT = 0x5DEECE66


@dataclass(frozen=True)
class TrainSettings:
    """Settings of the training of a classifier; every field can change a number.

    Attributes:
        epochs: number of passes over the training images.
        batch_size: number of images per step, over all devices together.
        optimizer: adamw or sgd.
        lr: peak learning rate of the backbone.
        head_lr: peak learning rate of pooling and fc; None: `new_lr`.
        new_lr: peak learning rate of what is new in a pretrained network: the layers that a backbone adds to its trunk,
            and the head; None: `head_lr`, or `lr` if both are None. Choe et al., CVPR 2020, train new parts at ten
            times the rate of the trunk.
        weight_decay: weight decay of all parameters.
        momentum: momentum of sgd.
        nesterov: use Nesterov's momentum; of sgd alone.
        schedule: cosine: to zero over all steps; step: times 0.1 after every `decay_every` epochs; constant.
        decay_every: number of epochs between two steps of the schedule `step`; None: a third of the epochs.
        warmup_epochs: number of epochs, possibly a fraction, over which the learning rate first rises linearly.
        label_smoothing: label smoothing of the cross entropy, in [0, 1).
        precision: Fabric's name, such as 32-true, bf16-mixed, 16-mixed.
        freeze_backbone: keep the weights and the batch norms' statistics of the trunk; the head alone learns, as in
            linear probing, and with it the layers that a backbone adds to a pretrained trunk, which are random.
        select: last: keep the weights of the last epoch; best: those of the epoch with the best top-1 accuracy on
            `val`, of equals the earliest. Boxes never choose.
        views: number of fixed views of each training image, for a frozen trunk: 1 is the centre crop; each further view
            is a crop and mirroring that is drawn once (see `Views`), and each step draws one view of each image. None:
            a new random crop in each step.

    Raises:
        ValueError: for a value outside its range, or views of a trunk that learns.
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
    freeze_backbone: bool = False
    select: Literal["last", "best"] = "last"
    views: int | None = None
    new_lr: float | None = None
    nesterov: bool = False
    decay_every: float | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer must be adamw or sgd, got {self.optimizer!r}.")
        if self.schedule not in ("cosine", "step", "constant"):
            raise ValueError(f"schedule must be cosine, step or constant, got {self.schedule!r}.")
        if self.select not in ("last", "best"):
            raise ValueError(f"select must be last or best, got {self.select!r}.")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer=sgd with a momentum above 0.")
        if self.decay_every is not None and self.schedule != "step":
            raise ValueError(f"decay_every is read by schedule=step alone, got schedule={self.schedule}.")
        numbers = ("lr", "head_lr", "new_lr", "weight_decay", "momentum", "warmup_epochs", "label_smoothing")
        for name in (*numbers, "decay_every"):
            if getattr(self, name) is not None and not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)}.")
        for name in ("epochs", "batch_size", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        for name in ("head_lr", "new_lr", "decay_every"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0 or null, got {getattr(self, name)}.")
        if self.views is not None and self.views < 1:
            raise ValueError(f"views must be at least 1 or null, got {self.views}.")
        if self.views is not None and not self.freeze_backbone:
            raise ValueError("views are for a frozen trunk; set train.views=null or train.freeze_backbone=true.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}.")
        for name in ("weight_decay", "momentum", "warmup_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be below 0, got {getattr(self, name)}.")

    def identity(self) -> dict[str, Any]:
        """Return the settings as plain data, for the names of runs."""
        return {key: value for key, value in describe(self).items() if key not in _LATER or value != _LATER[key]}


@dataclass(frozen=True)
class Checkpointing:
    """File that keeps the state of training, and images that choose the epoch whose weights are kept.

    Attributes:
        path: written whole after every epoch, and resumed from where it exists; None keeps no state.
        validation: samples of the training crops' size, or their stored features where the head trains on such; read
            after each epoch where `TrainSettings.select` is best.
    """

    path: Path | None = None
    validation: Dataset[Sample] | FeatureSet | None = None


NO_CHECKPOINT = Checkpointing()


def with_later(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings of a run's identity, with the fields that it omits."""
    return {**_LATER, **stored}


def train(
    classifier: Classifier,
    dataset: Dataset[Sample] | FeatureSet,
    settings: TrainSettings,
    *,
    seed: int,
    image_size: int,
    method: TrainingMethod = PLAIN,
    checkpointing: Checkpointing = NO_CHECKPOINT,
    machine: Machine = THIS_MACHINE,
) -> list[dict[str, Any]]:
    """Train a classifier in place, from a checkpoint if it exists.

    The order of an epoch's images depends on (seed, epoch) alone; augmentation and dropout depend on (seed, epoch,
    step, device) alone. A run that was killed and resumed therefore ends with the same weights as an uninterrupted run.
    torch's own generators, which dropout draws from, are seeded for each step and restored at the end.

    Args:
        classifier: built after seeding (`torch.manual_seed`); it ends in eval mode on the training device.
        dataset: samples of one size, at least `image_size` on each side; only images and class ids are read. Or the
            stored features of `settings.views` views, from which the head alone learns what it would learn from the
            images, to the rounding of the features.
        settings: optimizer, schedule and number of epochs.
        seed: seed of order and augmentation, and of the network's own random numbers.
        image_size: side of the random crops in pixels.
        method: training method, which computes the loss of a step; its `attach` must have prepared the classifier.
        checkpointing: file of the training state, and the images that choose the best epoch.
        machine: accelerator, devices, loading processes, progress bar and compilation. Above one device, each takes
            its share of every batch in a process of its own. With `compile`, torch.compile runs the classifier and
            moves numbers by rounding alone; the code of `method` around the classifier, and parts of the classifier
            that `method` calls directly, stay uncompiled.

    Returns:
        One dict per epoch: epoch, loss, accuracy (on the augmented training images), seconds, and val_accuracy if
        `settings.select` is best.

    Raises:
        ValueError: if `settings.select` is best and there are no validation images.
        RuntimeError: if the classifier is to be compiled and torch.compile does not work, naming what torch lacks; or
            if the checkpoint cannot be read.
        FloatingPointError: if the loss is NaN or infinite; the checkpoint of the last good epoch stays.
    """
    if settings.select == "best" and checkpointing.validation is None:
        raise ValueError("train.select=best chooses the epoch by the classification of val; give `validation`.")
    learner = classifier
    if isinstance(dataset, FeatureSet):
        if not settings.views or settings.views > len(dataset.files):
            raise ValueError(
                f"train.views must lie in 1 ... {len(dataset.files)}, the number of stored views, got {settings.views}."
            )
        classifier.backbone.requires_grad_(False)
        dataset = pool_ahead(classifier, dataset)
        if isinstance(checkpointing.validation, FeatureSet):
            checkpointing = replace(checkpointing, validation=pool_ahead(classifier, checkpointing.validation))
        learner = reading(classifier, dataset)
    job = _Job(learner, dataset, settings, seed, image_size, method, checkpointing, machine)
    accelerator, devices, precision = machine.accelerator, machine.devices, settings.precision
    if devices == 1:
        history = _fit_compiled(job, Fabric(accelerator=accelerator, devices=1, precision=precision))
    else:
        # Spawned processes, not copies of the whole program, because only the training runs on several devices.
        fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn", precision=precision)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trained.pt"
            fabric.launch(partial(_fit_and_save, job, path))
            trained = torch.load(path, weights_only=True, map_location="cpu")
        learner.load_state_dict(trained["classifier"])
        history = trained["history"]
    classifier.to(next(learner.parameters()).device).eval()
    return history


@dataclass(frozen=True)
class _Job:
    classifier: Classifier
    dataset: Dataset[Sample] | FeatureSet
    settings: TrainSettings
    seed: int
    image_size: int
    method: TrainingMethod
    checkpointing: Checkpointing
    machine: Machine


class _Trained(nn.Module):
    """A classifier and its method as one module, so that all computations of a step go through one `forward`."""

    def __init__(self, job: _Job) -> None:
        super().__init__()
        self.classifier, self.method, self.frozen = job.classifier, job.method, job.settings.freeze_backbone
        self.in_pieces = _works_in_pieces(job)
        if self.frozen:
            for part in frozen_parts(self.classifier.backbone):
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> "_Trained":
        super().train(mode)
        if self.frozen:
            for part in frozen_parts(self.classifier.backbone):
                part.eval()
        return self

    def forward(self, images: Tensor, class_ids: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
        # The batch is built here, because Fabric moves tensors inside containers and fails on a frozen dataclass.
        batch = TrainingBatch(images, class_ids, **settings)
        if not self.in_pieces:
            return self.method.loss(self.classifier, batch)
        logits = torch.cat([self.classifier(piece) for piece in images.split(_PIECE)])
        return batch.cross_entropy(logits), logits


def _works_in_pieces(job: _Job) -> bool:
    """Return True if the head gives the same logits for a few images at a time, which takes less time on a CPU.

    The cells of a whole batch do not fit into its caches. A pooling that draws random numbers would draw others.
    """
    features, head = job.dataset, job.classifier
    if not isinstance(features, FeatureSet) or features.pooled or type(job.method) is not TrainingMethod:
        return False
    return type(head) is Classifier and features.same_in_training(head.pooling)


def _fit_and_save(job: _Job, path: Path, fabric: Fabric) -> None:
    """Train, and save the result to a file.

    The launcher waits for the processes before it reads what they return, so a result that exceeds the 64 KiB of a pipe
    would block both sides forever.
    """
    history = _fit_compiled(job, fabric)
    if fabric.is_global_zero:
        torch.save({"classifier": job.classifier.state_dict(), "history": history}, path)


def _fit_compiled(job: _Job, fabric: Fabric) -> list[dict[str, Any]]:
    if not job.machine.compile:
        return _fit(job, fabric)
    try:  # on one line of code, so that a missing compiler is reported before the data are read
        torch.compile(lambda numbers: numbers + 1)(torch.zeros(8, device=fabric.device))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise RuntimeError(
            f"torch.compile does not work on {fabric.device.type} here ({type(error).__name__}: {reason}); it needs a "
            "C++ compiler on a CPU and Triton on a GPU. Install what is missing, or train with compile=False."
        ) from error
    before = job.classifier._compiled_call_impl
    # In place, so that no module changes its name; not dynamic, so that a smaller last batch is compiled separately,
    # and the other batches keep the code for their size.
    job.classifier.compile(dynamic=False)
    try:
        return _fit(job, fabric)
    finally:
        job.classifier._compiled_call_impl = before


def _fit(job: _Job, fabric: Fabric) -> list[dict[str, Any]]:
    classifier, settings, checkpoint = job.classifier, job.settings, job.checkpointing.path
    loader = _loader(fabric, job)
    trained = _Trained(job)
    optimizer = make_optimizer(classifier, settings)
    # On two CPU cores small_cnn trains 1.4 times as fast in this layout.
    model, wrapped = fabric.setup(trained.to(memory_format=torch.channels_last), optimizer)
    scheduler = LambdaLR(wrapped, lambda step: lr_factor(step / len(loader), settings))
    state: dict[str, Any] = {"model": model, "optimizer": wrapped, "scheduler": scheduler, "history": [], "best": {}}
    _resume(fabric, checkpoint, state)
    first = len(state["history"])
    if first:
        log.info("Training continues after epoch %d of %d.", first, settings.epochs)
    model.train()
    total = settings.epochs * len(loader)
    done = first * len(loader)
    saved = time.perf_counter()
    hide = None if job.machine.progress and fabric.is_global_zero else True  # None: shown only in a terminal
    with (
        # This device only, because reading the state of another device would take memory on it.
        torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []),
        tqdm(total=total, initial=done, desc="training", unit="step", disable=hide, leave=False) as bar,
    ):
        for epoch in range(first, settings.epochs):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            started, losses, right, seen = time.perf_counter(), 0.0, 0.0, 0.0
            for step, batch in enumerate(loader):
                generator = _generator(job.seed, epoch, step, fabric.global_rank)
                images, class_ids = _inputs(job, batch, generator, fabric.device)
                # Dropout draws from torch's own generators, which no checkpoint saves.
                _seed(generator.initial_seed() ^ _DROPOUT, fabric.device)
                loss, logits = model(
                    images,
                    class_ids,
                    generator=generator,
                    progress=(epoch + step / len(loader)) / settings.epochs,
                    label_smoothing=settings.label_smoothing,
                )
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
            row = {"epoch": epoch + 1, "loss": losses / seen, "accuracy": right / seen, "seconds": seconds}
            if settings.select == "best":
                row["val_accuracy"] = _accuracy(job, fabric)
                if row["val_accuracy"] > state["best"].get("val_accuracy", -1):
                    weights = {name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()}
                    state["best"] = {"val_accuracy": row["val_accuracy"], "classifier": weights}
            state["history"].append(row)
            saves = not isinstance(job.dataset, FeatureSet) or time.perf_counter() - saved > _BETWEEN_CHECKPOINTS
            if checkpoint is not None and saves:
                _save(fabric, checkpoint, state)
                saved = time.perf_counter()
    if state["best"]:
        classifier.load_state_dict(state["best"]["classifier"])
    return state["history"]


def _inputs(job: _Job, batch: Any, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what the classifier reads in one step, and the class ids.

    Args:
        job: of the training.
        batch: of the loader: samples, or places in a set of features.
        generator: draws crops or views.
        device: of the result.
    """
    if isinstance(job.dataset, FeatureSet):
        drawn = Views(job.image_size, job.settings.views or 1).draw(len(batch), generator)
        class_ids = torch.from_numpy(job.dataset.images.class_ids)[batch]
        return job.dataset.read(batch, drawn).to(device), class_ids.to(device)
    images = batch.images.to(device, non_blocking=True)
    if job.settings.views is None:
        images = augment(images, job.image_size, generator)
    else:
        views = Views(job.image_size, job.settings.views)
        images = views.cut(images, batch.image_ids, views.draw(len(images), generator))
    return images, batch.class_ids.to(device, non_blocking=True)


def _accuracy(job: _Job, fabric: Fabric) -> float:
    """Return the top-1 accuracy on the validation images; ties count against the ground truth, as in the scores."""
    validation = job.checkpointing.validation
    assert validation is not None
    loader: Iterable[Batch] = (
        validation.batches(job.settings.batch_size)
        if isinstance(validation, FeatureSet)
        else DataLoader(
            validation,
            batch_size=job.settings.batch_size,
            num_workers=job.machine.workers,
            collate_fn=collate,
        )
    )
    right, seen = 0, 0
    with evaluation_mode(job.classifier), torch.no_grad():
        for batch in loader:
            with fabric.autocast():
                logits = job.classifier(batch.images.to(fabric.device)).float()
            true = logits.gather(1, batch.class_ids.to(fabric.device)[:, None])
            right += ((logits >= true).sum(dim=1) == 1).sum().item()
            seen += len(logits)
    return right / seen


def _loader(fabric: Fabric, job: _Job) -> DataLoader[Any]:
    on_features = isinstance(job.dataset, FeatureSet)
    sampler: DistributedSampler[Sample] = DistributedSampler(
        job.dataset,  # type: ignore[arg-type]  # only its length is read
        num_replicas=fabric.world_size,
        rank=fabric.global_rank,
        shuffle=True,
        seed=job.seed,
    )
    batch_size = max(1, job.settings.batch_size // fabric.world_size)
    count = len(sampler)
    workers = 0 if on_features else job.machine.workers
    return DataLoader(
        range(len(job.dataset)) if on_features else job.dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=torch.tensor if on_features else collate,
        # Batch norm cannot be trained on a single image.
        drop_last=count % batch_size == 1 and count > batch_size,
    )


def make_optimizer(classifier: Classifier, settings: TrainSettings) -> Optimizer:
    """Return the optimizer of all trainable parameters.

    Those of `classifier.backbone` learn at `lr`, the layers that it adds to a pretrained trunk at `new_lr`, and all
    others at `head_lr`; see `TrainSettings` for rates that are None.
    """
    new_lr = settings.lr if settings.new_lr is None else settings.new_lr
    head_lr = new_lr if settings.head_lr is None else settings.head_lr
    new_lr = head_lr if settings.new_lr is None else new_lr
    trunk = {id(parameter) for parameter in classifier.backbone.parameters()}
    added = {
        id(parameter)
        for name in getattr(classifier.backbone, "added", ())
        for parameter in classifier.backbone.get_submodule(name).parameters()
    }
    learning = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if id(p) in trunk - added], "lr": settings.lr},
        {"params": [p for p in learning if id(p) not in trunk], "lr": head_lr},
    ]
    if added:
        groups.append({"params": [p for p in learning if id(p) in added], "lr": new_lr})
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def frozen_parts(backbone: nn.Module) -> list[nn.Module]:
    """Return the parts of a trunk that freezing keeps as they are: all but those that were added with random weights.

    Args:
        backbone: a `Backbone`; of any other module, all parts.
    """
    added = getattr(backbone, "added", ())
    return [part for name, part in backbone.named_children() if name not in added] if added else [backbone]


def lr_factor(epochs_done: float, settings: TrainSettings) -> float:
    """Return the factor of the learning rates.

    Args:
        epochs_done: number of epochs so far, possibly a fraction.
        settings: schedule, warmup and number of epochs.

    Returns:
        A factor in [0, 1].
    """
    if epochs_done < settings.warmup_epochs:
        return max(epochs_done, 1e-3) / settings.warmup_epochs
    done = min(1.0, (epochs_done - settings.warmup_epochs) / max(1e-9, settings.epochs - settings.warmup_epochs))
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "step" and settings.decay_every is not None:
        # The small term keeps a quotient like 2.9999999 from being cut to 2 where an epoch ends.
        return 0.1 ** int(epochs_done / settings.decay_every + 1e-9)
    return 0.1 ** min(2, int(3 * done)) if settings.schedule == "step" else 1.0


def _generator(seed: int, epoch: int, step: int, rank: int) -> torch.Generator:
    # A tuple's hash differs between Python builds; mixing by primes does not.
    mixed = (seed * 1_000_003 + epoch) * 1_000_003 + step * 1_009 + rank
    return torch.Generator().manual_seed(mixed % 2**63)


def _seed(seed: int, device: torch.device) -> None:
    """Seed torch's own generators, as `torch.manual_seed`.

    On a CPU that function also queues the seed for a GPU with a formatted stack, which takes longer than a head's step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _resume(fabric: Fabric, checkpoint: Path | None, state: dict[str, Any]) -> None:
    if checkpoint is None or not checkpoint.exists():
        return
    try:
        fabric.load(checkpoint, state, weights_only=True)
    except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = f"{type(error).__name__}: {str(error).split('. ')[0]}"
        raise RuntimeError(
            f"The checkpoint {checkpoint} cannot be read ({reason}); delete it to start over."
        ) from error


def _save(fabric: Fabric, checkpoint: Path, state: dict[str, Any]) -> None:
    aside = checkpoint.with_name(f".{checkpoint.name}.part")  # one name for all devices; the first writes it
    fabric.save(aside, state)
    if fabric.is_global_zero:
        os.replace(aside, checkpoint)
    fabric.barrier()
