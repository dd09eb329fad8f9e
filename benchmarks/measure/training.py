"""How many images a second are trained on, by `wsol.training.train` and by plain loops, compared in the same run.

python benchmarks/measure/training.py [--networks small_cnn resnet18 resnet50] [--batch-size N] [--image-size N]
    [--rounds 5] [--steps 4] [--modes float32 bf16 "bf16, compiled"] [--device auto] [--workers N] [--out FILE.md]

All train the same network of random weights with AdamW on the same random images, which lie decoded in memory, and
tell the loss and the accuracy of each step. They take turns in each round, so that what else the machine does falls on
all of them. What each needs of memory is measured in a process of its own.
"""

import argparse
import functools
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.transforms import v2
from tqdm import tqdm

from wsol.atomic_files import write_text
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
from wsol.versions import commit, versions

CLASSES = 200
LR, WEIGHT_DECAY = 1e-3, 1e-4
WARM_UP = 1  # steps of each run that are not timed: the first one makes the state of the optimizer
DISTINCT = 256  # images in memory; a longer epoch shows them again
GOAL = 0.95  # times a plain loop's images a second

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
    """What every loop does."""

    network: str
    batch_size: int
    image_size: int
    steps: int
    workers: int
    device: torch.device
    mode: str

    @property
    def train_size(self) -> int:
        """Side of the images that are cropped, in pixels: 256 for 224."""
        return round(self.image_size * 8 / 7)

    @property
    def images(self) -> int:
        """Of an epoch, the steps that warm up included."""
        return self.batch_size * (WARM_UP + self.steps)


@dataclass
class Clock:
    """Seconds of the steps of one run: looked at in each step, when the images are ready for the network."""

    device: torch.device
    looks: int = 0
    first: float = 0.0
    last: float = 0.0

    def look(self) -> None:
        """From one look to the next is one step's work."""
        if self.looks == WARM_UP:
            self.first = now(self.device)
        self.looks += 1

    def stop(self) -> None:
        """After the last step."""
        self.last = now(self.device)

    def seconds(self) -> float:
        """Of all steps but the first."""
        return self.last - self.first


def now(device: torch.device) -> float:
    """The time when the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass(frozen=True)
class Watched(TrainingMethod):
    """Plain training, with a look at the clock in each step."""

    clock: Clock = field(kw_only=True)

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """As in plain training."""
        self.clock.look()
        return super().loss(classifier, batch)


@dataclass
class Pixels:
    """Random images of (train_size, train_size) and their classes, in memory."""

    images: Tensor  # (n, S, S, 3) uint8
    class_ids: list[int]

    @classmethod
    def of(cls, work: Work) -> "Pixels":
        """The same each time."""
        generator, count = torch.Generator().manual_seed(0), min(DISTINCT, work.images)
        shape = (count, work.train_size, work.train_size, 3)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return cls(images, torch.randint(CLASSES, (count,), generator=generator).tolist())


class Samples(Dataset[Sample]):
    """As wsol reads images: (H, W, 3) arrays."""

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
    """As torchvision reads images: (3, H, W) tensors, transformed one by one."""

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
    """Normalizes inside; random weights."""
    torch.manual_seed(0)
    return Classifier(BACKBONES[name](), GAP(), CLASSES)


def plain_network(name: str, weights: Classifier) -> nn.Module:
    """The same network and weights as users of torchvision write it: it takes normalized images."""
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


Loop = Callable[[Clock], Any]  # one run over the images


def our_loop(work: Work, pixels: Pixels) -> Loop:
    """`wsol.training.train.train`."""
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
    """As in torchvision's references/classification: each image is cropped, mirrored and normalized by the loader."""
    ours = our_network(work.network)
    mean, std = (one.flatten().tolist() for one in (ours.backbone.mean, ours.backbone.std))
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
            images, class_ids = (one.to(work.device, non_blocking=True) for one in batch)
            return images.to(memory_format=torch.channels_last) if channels_last else images, class_ids

        plain_epoch(work, network, loader, ready, clock)
        return network

    return run


def batched_loop(work: Work, pixels: Pixels) -> Loop:
    """A plain loop over the same batches as ours: it differs from `train` in what `train` adds to a loop alone."""
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
            generator = torch.Generator().manual_seed(1_009 * step)  # as `train` with seed 0: the same images
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
    """One pass over the images; the mean loss and the accuracy, which are read in each step as the references do."""
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
    """Seconds of one run's steps."""
    clock = Clock(device)
    loop(clock)
    clock.stop()
    return clock.seconds()


def compare(work: Work, rounds: int, bar: tqdm) -> dict[str, list[float]]:
    """Seconds of each loop in each round, all in turn; each round begins with another, and the first warms up."""
    pixels = Pixels.of(work)
    loops = {name: make(work, pixels) for name, make in LOOPS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    for turn in range(rounds + 1):
        names = list(LOOPS)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            bar.set_postfix_str(f"{work.network}, {work.mode}: {name}")
            taken = timed(loops[name], work.device)
            if turn:
                seconds[name].append(taken)
        bar.update()
    return seconds


def added_mib(device: torch.device, run: Callable[[], Any]) -> float:
    """The most that a call takes: of a GPU's memory by tensors, all of them; or by which this process grows, on Linux.

    Not from getrusage: its largest memory is that of the parent, where that is larger.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the largest becomes that of now
    before = resident_mib("VmRSS")
    run()
    return resident_mib("VmHWM") - before


def resident_mib(which: str) -> float:
    """Memory of this process: VmRSS now, VmHWM the largest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def measure(work: Work, name: str) -> float:
    """In a process of its own: what one run adds to the memory of the images and the network, in MiB."""
    loop = LOOPS[name](work, Pixels.of(work))
    return added_mib(work.device, functools.partial(timed, loop, work.device))


def measure_apart(work: Work, name: str) -> float:
    """`measure` in a fresh process.

    Raises:
        subprocess.CalledProcessError: if it failed; what it said stands above.
    """
    told = {**vars(work), "device": str(work.device), "loop": name}
    done = subprocess.run(
        [sys.executable, __file__, "--measure", json.dumps(told)], stdout=subprocess.PIPE, check=True, text=True
    )
    return float(done.stdout.split()[-1])


@dataclass(frozen=True)
class Found:
    """What was measured of one network in one mode."""

    work: Work
    seconds: dict[str, list[float]]  # loop -> of each round
    memory: dict[str, float]  # loop -> MiB


def ratios(seconds: dict[str, list[float]], name: str, peer: str) -> list[float]:
    """Images a second of one loop over another's, in each round."""
    return [theirs / own for own, theirs in zip(seconds[name], seconds[peer], strict=True)]


def spread(values: list[float], form: str) -> str:
    """Median, lowest and highest."""
    return f"{np.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table_of(all_found: list[Found]) -> str:
    """A row for each network, mode and loop, as Markdown."""
    rows = []
    for found in all_found:
        images = found.work.batch_size * found.work.steps
        for name, seconds in found.seconds.items():
            against = [ratios(found.seconds, name, peer) for peer in (WRITTEN, BATCHED)]
            goal = ""
            if name == OURS:
                goal = "met" if min(np.median(one) for one in against) >= GOAL else "missed"
            rows.append(
                [
                    found.work.network,
                    found.work.mode,
                    name,
                    spread([images / one for one in seconds], ".1f"),
                    *(spread(one, ".2f") for one in against),
                    f"{found.memory[name]:.0f}",
                    goal,
                ]
            )
    head = ["network", "mode", "loop", "images/s", "times as written", "times with our augmentation", "MiB", "goal"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def command_of(words: list[str]) -> str:
    """What was typed; but an absolute path of the table is its owner's business."""
    shown = ["python", "benchmarks/measure/training.py"]
    for before, word in zip(["", *words], words, strict=False):
        shown.append(Path(word).name if before == "--out" and Path(word).is_absolute() else word)
    return shlex.join(shown)


def notes(work: Work, rounds: int) -> list[str]:
    """What a reader must know."""
    cuda = work.device.type == "cuda"
    name = torch.cuda.get_device_name(work.device) if cuda else f"{torch.get_num_threads()} threads"
    memory = (
        "the most that tensors took of the GPU at a time, weights included"
        if cuda
        else "by how much the process grew in the run, over what the libraries, the images and the weights take, "
        "loader processes left out"
    )
    return [
        f"{work.batch_size} images a step, cut at random to {work.image_size} x {work.image_size} px out of "
        f"{work.train_size} x {work.train_size} and mirrored at random; uint8 noise that lies in memory; {CLASSES} "
        f"classes, random weights, AdamW as torch has it, cross entropy; loss and accuracy are read in each step. "
        f"{work.workers} loader processes. On {work.device.type}, {name}, {os.cpu_count()} processors.",
        f"Each run is {WARM_UP} step that is not timed and {work.steps} that are. The loops take turns in each of "
        f"{rounds} rounds, which begin with another loop each, after a round that warms up. Medians, in brackets the "
        "lowest and the highest; times: the images a second over those of the other loop in the same round. What "
        "happens once in a training, such as starting loader processes, is not in it.",
        f"{WRITTEN}: a DataLoader over tensors that torchvision's transforms v2 crop, mirror, turn into float and "
        "normalize one by one; the network in torch's default layout. The second row changes the layout alone, the "
        f"third also takes whole batches of bytes to the device. So {OURS} over the first row is what a user gains, "
        f"and over the third, which trains on the very same images, what {OURS}.train costs beside a bare loop.",
        f"Goal: {OURS} trains at least {GOAL} times as many images a second as either.",
        f"MiB: {memory}; each loop in a process of its own.",
        f"Command: `{command_of(sys.argv[1:])}`. Code: `{commit()}`.",
        "Versions: " + ", ".join(f"{package} {version}" for package, version in versions().items()) + ".",
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--networks", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--batch-size", type=int, help="images a step; default 16 on a CPU, 64 on a GPU")
    parser.add_argument("--image-size", type=int, help="side in pixels; default 112 on a CPU, 224 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed in each run; default 4 on a CPU, 40 on a GPU")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), help="default float32; on a GPU also both of bf16")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--workers", type=int, help="loader processes; default none on a CPU, up to 8 on a GPU")
    parser.add_argument("--out", type=Path, help="where to write the table as Markdown")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        told = json.loads(asked.measure)
        name = told.pop("loop")
        print(measure(Work(**{**told, "device": torch.device(told["device"])}), name))
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
    all_found = []
    with tqdm(total=len(works) * (asked.rounds + 2), unit="round", disable=None, leave=False) as bar:
        for work in works:
            seconds = compare(work, asked.rounds, bar)
            bar.set_postfix_str(f"{work.network}, {work.mode}: memory")
            all_found.append(Found(work, seconds, {name: measure_apart(work, name) for name in LOOPS}))
            bar.update()
    text = table_of(all_found) + "\n\n" + "".join(f"- {note}\n" for note in notes(works[0], asked.rounds))
    print(text)
    if asked.out:
        write_text(asked.out, text)


if __name__ == "__main__":
    main()
