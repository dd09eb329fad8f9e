"""Measure how many images a second `wsol.training.train` and plain loops train on, in the same run.

python benchmarks/measure/training.py [--networks small_cnn resnet18 resnet50] [--batch-size N] [--image-size N]
    [--rounds 5] [--steps 4] [--modes float32 bf16 "bf16, compiled"] [--device auto] [--workers N] [--out FILE.md]

All train the same network of random weights with AdamW on the same random images, which are decoded in memory, and read
the loss and the accuracy of each step. They take turns in each round. The memory of each is measured in a separate
process.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.transforms import v2
from tqdm import tqdm

from wsol.data.sample import Sample, collate
from wsol.machine import Machine
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.resnet import resnet18, resnet50
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.training.augment import augment
from wsol.training.base_method import TrainingBatch, TrainingMethod
from wsol.training.train import TrainSettings, train

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure.harness import (
    command_of,
    in_turn,
    make_parser,
    markdown,
    measure_apart,
    now,
    process_mib,
    publish,
    ratios,
    spread,
)

CLASSES = 200
LR, WEIGHT_DECAY = 1e-3, 1e-4
WARM_UP = 1  # steps of each run that are not timed: the first step makes the state of the optimizer
DISTINCT = 256  # images in memory; a longer epoch repeats them
GOAL = 0.95  # smallest share of a plain loop's images a second

BACKBONES: dict[str, Callable[[], Backbone]] = {
    "small_cnn": small_cnn,
    "resnet18": functools.partial(resnet18, weights=None),
    "resnet50": functools.partial(resnet50, weights=None),
}
MODES = {  # name -> (Fabric's precision, compiled)
    "float32": ("32-true", False),
    "float32, compiled": ("32-true", True),
    "bf16": ("bf16-mixed", False),
    "bf16, compiled": ("bf16-mixed", True),
}


@dataclass(frozen=True)
class Work:
    """Settings that all loops share."""

    network: str
    batch_size: int
    image_size: int
    steps: int
    workers: int
    device: torch.device
    mode: str

    @property
    def train_size(self) -> int:
        """Side in pixels of the images before the crop: 256 for 224."""
        return round(self.image_size * 8 / 7)

    @property
    def images(self) -> int:
        """Number of images of an epoch, with the steps that warm up."""
        return self.batch_size * (WARM_UP + self.steps)


@dataclass
class Clock:
    """Clock of the steps of one run, which each step reads when the images are ready for the network."""

    device: torch.device
    looks: int = 0
    first: float = 0.0
    last: float = 0.0

    def look(self) -> None:
        """Count a step, and start the clock after the steps that warm up."""
        if self.looks == WARM_UP:
            self.first = now(self.device)
        self.looks += 1

    def stop(self) -> None:
        """Stop the clock after the last step."""
        self.last = now(self.device)

    def seconds(self) -> float:
        """Return the seconds of all steps but those that warm up."""
        return self.last - self.first


@dataclass(frozen=True)
class Watched(TrainingMethod):
    """Plain training that reads the clock in each step."""

    clock: Clock = field(kw_only=True)

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Read the clock, and compute the loss of plain training."""
        self.clock.look()
        return super().loss(classifier, batch)


@dataclass
class Pixels:
    """Random images of (train_size, train_size) and their classes, in memory."""

    images: Tensor  # (n, S, S, 3) uint8
    class_ids: list[int]

    @classmethod
    def of(cls, work: Work) -> "Pixels":
        """Draw the images of a task by a fixed seed."""
        generator, count = torch.Generator().manual_seed(0), min(DISTINCT, work.images)
        shape = (count, work.train_size, work.train_size, 3)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return cls(images, torch.randint(CLASSES, (count,), generator=generator).tolist())


class Samples(Dataset[Sample]):
    """Images as wsol reads them: (H, W, 3) arrays."""

    def __init__(self, pixels: Pixels, length: int) -> None:
        self.images, self.class_ids, self.length = pixels.images.numpy(), pixels.class_ids, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if index >= self.length:
            raise IndexError(index)
        place = index % len(self.images)
        return Sample(self.images[place], self.class_ids[place], str(index))


class Transformed(Dataset[tuple[Tensor, int]]):
    """Images as torchvision reads them: (3, H, W) tensors, transformed one by one."""

    def __init__(self, pixels: Pixels, length: int, transform: Callable[[Tensor], Tensor]) -> None:
        self.images = pixels.images.permute(0, 3, 1, 2).contiguous()
        self.class_ids, self.length, self.transform = pixels.class_ids, length, transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index >= self.length:
            raise IndexError(index)
        place = index % len(self.images)
        return self.transform(self.images[place]), self.class_ids[place]


def our_network(name: str) -> Classifier:
    """Make a classifier of random weights, which normalizes inside."""
    torch.manual_seed(0)
    return Classifier(BACKBONES[name](), GAP(), CLASSES)


def plain_network(name: str, weights: Classifier) -> nn.Module:
    """Make the same network and weights as users of torchvision write it, for normalized images."""
    if name == "small_cnn":
        blocks = {child: weights.backbone.get_submodule(child) for child in weights.backbone.trunk_names}
        network: nn.Module = nn.Sequential()
        for child, block in blocks.items():
            network.add_module(child, block)
        network.add_module("pool", nn.AdaptiveAvgPool2d(1))
        network.add_module("flat", nn.Flatten())
        network.add_module("fc", weights.fc)
        return network
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    trunk = {key.removeprefix("backbone."): value for key, value in weights.state_dict().items()}
    network.load_state_dict({key: value for key, value in trunk.items() if key not in ("mean", "std")})
    return network


Loop = Callable[[Clock], nn.Module]  # one run over the images; returns the trained network


def our_loop(work: Work, pixels: Pixels) -> Loop:
    """Train by `wsol.training.train.train`."""
    precision, compiled = MODES[work.mode]
    classifier, dataset = our_network(work.network), Samples(pixels, work.images)
    settings = TrainSettings(
        epochs=1,
        batch_size=work.batch_size,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        schedule="constant",
        precision=precision,
    )

    def run(clock: Clock) -> Classifier:
        train(
            classifier,
            dataset,
            settings,
            seed=0,
            image_size=work.image_size,
            method=Watched(clock=clock),
            machine=Machine(accelerator=work.device.type, workers=work.workers, progress=False, compile=compiled),
        )
        return classifier

    return run


def written_loop(work: Work, pixels: Pixels, channels_last: bool = False) -> Loop:
    """Train as torchvision's references/classification, where the loader crops, mirrors and normalizes each image."""
    ours = our_network(work.network)
    mean, std = (values.flatten().tolist() for values in (ours.backbone.mean, ours.backbone.std))
    transform = v2.Compose(
        [
            v2.RandomCrop(work.image_size),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = plain_network(work.network, ours).to(work.device, memory_format=layout)  # type: ignore[call-overload]
    dataset = Transformed(pixels, work.images, transform)

    def run(clock: Clock) -> nn.Module:
        loader = DataLoader(
            dataset,
            batch_size=work.batch_size,
            shuffle=True,
            num_workers=work.workers,
            pin_memory=work.device.type == "cuda",
        )

        def ready(step: int, batch: list[Tensor]) -> tuple[Tensor, Tensor]:
            images, class_ids = (part.to(work.device, non_blocking=True) for part in batch)
            return images.to(memory_format=torch.channels_last) if channels_last else images, class_ids

        plain_epoch(work, network, loader, ready, clock)
        return network

    return run


def batched_loop(work: Work, pixels: Pixels) -> Loop:
    """Train by a plain loop over the same batches as wsol, which lacks only what `train` adds to a loop."""
    ours = our_network(work.network)
    mean, std = ours.backbone.mean.to(work.device), ours.backbone.std.to(work.device)
    network = plain_network(work.network, ours).to(
        work.device,  # type: ignore[call-overload]
        memory_format=torch.channels_last,
    )
    dataset = Samples(pixels, work.images)

    def run(clock: Clock) -> nn.Module:
        sampler: DistributedSampler[Sample] = DistributedSampler(dataset, num_replicas=1, rank=0, seed=0)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=work.batch_size,
            sampler=sampler,
            num_workers=work.workers,
            collate_fn=collate,
        )

        def ready(step: int, batch: Any) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(1_009 * step)  # the crops of `train` with seed 0
            images = augment(batch.images.to(work.device, non_blocking=True), work.image_size, generator)
            return (images.float() / 255 - mean) / std, batch.class_ids.to(work.device, non_blocking=True)

        plain_epoch(work, network, loader, ready, clock)
        return network

    return run


def plain_epoch(
    work: Work,
    network: nn.Module,
    loader: DataLoader[Any],
    ready: Callable[[int, Any], tuple[Tensor, Tensor]],
    clock: Clock,
) -> tuple[float, float]:
    """Train for one epoch, and return the mean loss and the accuracy, which each step reads as the references do."""
    precision, compiled = MODES[work.mode]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    model: Callable[[Tensor], Tensor] = torch.compile(network) if compiled else network
    network.train()
    losses = right = seen = 0.0
    for step, batch in enumerate(loader):
        images, class_ids = ready(step, batch)
        clock.look()
        with torch.autocast(work.device.type, torch.bfloat16) if precision != "32-true" else nullcontext():
            logits = model(images)
            loss = F.cross_entropy(logits, class_ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += loss.item() * len(class_ids)
        right += (logits.argmax(dim=1) == class_ids).sum().item()
        seen += len(class_ids)
    return losses / seen, right / seen


OURS = "wsol"
WRITTEN = "plain loop, as commonly written"
BATCHED = "plain loop, channels last, our augmentation on batches"
LOOPS: dict[str, Callable[[Work, Pixels], Loop]] = {
    WRITTEN: written_loop,
    "plain loop, channels last": functools.partial(written_loop, channels_last=True),
    BATCHED: batched_loop,
    OURS: our_loop,
}


def timed(loop: Loop, device: torch.device) -> float:
    """Return the seconds of one run's steps."""
    clock = Clock(device)
    loop(clock)
    clock.stop()
    return clock.seconds()


def compare(work: Work, rounds: int, bar: tqdm) -> dict[str, list[float]]:
    """Return the seconds of each loop in each round, all in turn."""
    pixels = Pixels.of(work)
    bar.set_postfix_str(f"{work.network}, {work.mode}")
    runs = {name: functools.partial(timed, make(work, pixels), work.device) for name, make in LOOPS.items()}
    return in_turn(runs, rounds, bar.update)


def added_mib(device: torch.device, run: Callable[[], Any]) -> float:
    """Return the peak memory of a call: all tensors on a GPU, or the growth of this process on Linux.

    getrusage would not do, as its largest memory is at least the parent's.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the largest resident memory, to the current VmRSS
    before = process_mib("VmRSS")
    run()
    return process_mib("VmHWM") - before


def measure(work: Work, name: str) -> float:
    """Return the MiB that one run adds to the memory of the images and the network; call it in a fresh process."""
    loop = LOOPS[name](work, Pixels.of(work))
    return added_mib(work.device, functools.partial(timed, loop, work.device))


@dataclass(frozen=True)
class Measurement:
    """Times and memory of one network in one mode."""

    work: Work
    seconds: dict[str, list[float]]  # loop -> seconds of each round
    memory: dict[str, float]  # loop -> MiB


def table_of(measurements: list[Measurement]) -> str:
    """Return a table with a row for each network, mode and loop."""
    rows = []
    for measurement in measurements:
        work = measurement.work
        for name, seconds in measurement.seconds.items():
            against = [ratios(measurement.seconds, name, peer) for peer in (WRITTEN, BATCHED)]
            goal = ""
            if name == OURS:
                goal = "met" if min(np.median(speeds) for speeds in against) >= GOAL else "missed"
            rows.append(
                [
                    work.network,
                    work.mode,
                    name,
                    spread([work.batch_size * work.steps / taken for taken in seconds], ".1f"),
                    *(spread(speeds, ".2f") for speeds in against),
                    f"{measurement.memory[name]:.0f}",
                    goal,
                ]
            )
    head = ["network", "mode", "loop", "images/s", "times as written", "times with our augmentation", "MiB", "goal"]
    return markdown(rows, head)


def notes(work: Work, rounds: int) -> list[str]:
    """Return the notes below the table."""
    cuda = work.device.type == "cuda"
    name = torch.cuda.get_device_name(work.device) if cuda else f"{torch.get_num_threads()} threads"
    memory = (
        "the largest memory of all tensors on the GPU at one time, with the weights"
        if cuda
        else "the growth of the process during the run, beyond the libraries, the images and the weights, and without "
        "loader processes"
    )
    return [
        f"{work.batch_size} images a step, cut at random to {work.image_size} x {work.image_size} px out of "
        f"{work.train_size} x {work.train_size} and mirrored at random; uint8 noise in memory; {CLASSES} classes, "
        f"random weights, torch's AdamW, cross entropy; loss and accuracy are read in each step. "
        f"{work.workers} loader processes. On {work.device.type}, {name}, {os.cpu_count()} processors.",
        f"Each run has {WARM_UP} step that is not timed and {work.steps} timed steps. The loops take turns in each of "
        f"{rounds} rounds, which begin with another loop each, after a round that warms up. Medians, in brackets the "
        "lowest and the highest; times: the images a second over those of the other loop in the same round. Work that "
        "occurs once in a training, such as starting loader processes, is not timed.",
        f"{WRITTEN}: a DataLoader over tensors that torchvision's transforms v2 crop, mirror, convert to float and "
        "normalize one by one; the network in torch's default layout. The second row changes the layout alone, the "
        f"third also moves whole batches of bytes to the device. So {OURS} over the first row is the gain of a user, "
        f"and {OURS} over the third row, which trains on the same images, is the cost of {OURS}.train beside a bare "
        "loop.",
        f"Goal: {OURS} trains at least {GOAL} times as many images a second as either.",
        f"MiB: {memory}; each loop in a separate process.",
    ]


def main() -> None:
    """Measure, print and write the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--batch-size", type=int, help="images a step; default 16 on a CPU, 64 on a GPU")
    parser.add_argument("--image-size", type=int, help="side in pixels; default 112 on a CPU, 224 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed steps of each run; default 4 on a CPU, 40 on a GPU")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), help="default float32; on a GPU also both of bf16")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--workers", type=int, help="loader processes; default none on a CPU, up to 8 on a GPU")
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        name = asked.measure.pop("loop")
        print(measure(Work(**{**asked.measure, "device": torch.device(asked.measure["device"])}), name))
        return
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(auto if asked.device == "auto" else asked.device)
    cuda = device.type == "cuda"
    chosen = {
        "batch_size": (asked.batch_size, 64 if cuda else 16),
        "image_size": (asked.image_size, 224 if cuda else 112),
        "steps": (asked.steps, 40 if cuda else 4),
        "workers": (asked.workers, min(8, os.cpu_count() or 1) if cuda else 0),
    }
    numbers = {key: default if value is None else value for key, (value, default) in chosen.items()}
    if min(asked.rounds, numbers["image_size"], numbers["steps"]) < 1 or numbers["batch_size"] < 2:
        parser.error("--rounds, --steps and --image-size must be at least 1, and --batch-size at least 2.")
    modes = asked.modes or (["float32", "bf16", "bf16, compiled"] if cuda else ["float32"])
    works = [Work(network, device=device, mode=mode, **numbers) for network in asked.networks for mode in modes]
    measurements = []
    with tqdm(total=len(works) * (asked.rounds + 2), unit="round", disable=None, leave=False) as bar:
        for work in works:
            seconds = compare(work, asked.rounds, bar)
            bar.set_postfix_str(f"{work.network}, {work.mode}: memory")
            task = {**vars(work), "device": str(work.device)}
            memory = {name: float(measure_apart(__file__, {**task, "loop": name})) for name in LOOPS}
            measurements.append(Measurement(work, seconds, memory))
            bar.update()
    publish([table_of(measurements)], notes(works[0], asked.rounds), asked.out, command_of(__file__, sys.argv[1:]))


if __name__ == "__main__":
    main()
