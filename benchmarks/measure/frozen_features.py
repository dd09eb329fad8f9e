"""Measure the training of heads on stored features beside the same training through the frozen trunk, in one run.

python benchmarks/measure/frozen_features.py [--heads gap lse_learned ...] [--images 1500] [--epochs 30]
    [--trunk-images 96] [--rounds 3] [--out FILE.md]

The trunk is EfficientNet-Lite0 at output stride 16 with random weights; the images are noise. Both ways train by
`wsol.training.train.train`, in turn. The way through the trunk trains one epoch of a few images, and its time is scaled
to all images and epochs. The peak memory of whole processes is measured for a number of images and for four times as
many.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.index import Entry
from wsol.data.sample import Sample
from wsol.data.views import Views
from wsol.geometry import as_boxes
from wsol.machine import Machine
from wsol.networks.backbones.efficientnet_lite0 import efficientnet_lite0
from wsol.networks.base_pooling import Pooling, PoolSite
from wsol.networks.classifier import Classifier
from wsol.networks.frozen_trunk import pool_ahead
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.networks.pooling.gmp import GMP
from wsol.networks.pooling.lse import LSE
from wsol.networks.pooling.mixed import Mixed
from wsol.networks.stored_features import FeatureSet, store_features
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
    seconds_of,
    spread,
)

CLASSES = 20
BATCH = 32
GOALS = {True: 300, False: 50}  # pooled ahead -> times as fast
MOST_MIB = 2048
MORE = 4  # times as many images in the second process whose memory is measured


@dataclass(frozen=True)
class Head:
    """A pooling and its site."""

    pooling: Callable[[], Pooling]
    site: PoolSite = "features"


HEADS = {
    "gap": Head(GAP),
    "gmp": Head(GMP),
    "lse": Head(LSE),
    "lse_learned": Head(partial(LSE, learned=True)),
    "gem": Head(GeM),
    "mixed": Head(Mixed),
    "attention": Head(Attention),
    "gmp_on_scores": Head(GMP, "scores"),
}


def noise(entry: Entry, side: int) -> Sample:
    """Return an image of noise that depends on the image's id alone."""
    number = int(entry.image_id)
    pixels = np.frombuffer(np.random.default_rng(number).bytes(3 * side * side), np.uint8).reshape(side, side, 3)
    return Sample(pixels, entry.class_id, entry.image_id)


def noise_images(count: int, side: int) -> ImageSet:
    """Return a split of noise, which is not kept in memory unless it is preloaded."""
    entries = [Entry(str(number), number % CLASSES, as_boxes([]), Path(str(number))) for number in range(count)]
    return ImageSet(entries, partial(noise, side=side), labels_only=True, name=f"{count} images")


@dataclass(frozen=True)
class Work:
    """Settings of one measurement.

    Attributes:
        images: number of training images.
        epochs: number of epochs of a head.
        trunk_images: number of images of the epoch through the trunk.
        image_size: side of the crops in pixels.
    """

    images: int
    epochs: int
    trunk_images: int
    image_size: int

    @property
    def train_size(self) -> int:
        """Side in pixels of the images before the crop: 256 for 224."""
        return round(self.image_size * 8 / 7)

    @property
    def scale(self) -> float:
        """Number of image passes of a whole training, over those of the measured epoch through the trunk."""
        return self.images * self.epochs / self.trunk_images


MACHINE = Machine(accelerator="cpu", progress=False)


def classifier_of(name: str) -> Classifier:
    """Make a classifier of random weights."""
    torch.manual_seed(0)
    head = HEADS[name]
    return Classifier(efficientnet_lite0(weights=None, output_stride=16), head.pooling(), CLASSES, head.site)


def through_trunk(name: str, work: Work, images: ImageSet) -> Callable[[], float]:
    """Train one epoch with a new random crop in each step; return the seconds, scaled to the whole training."""
    classifier = classifier_of(name)
    settings = TrainSettings(epochs=1, batch_size=BATCH, lr=1e-3, freeze_backbone=True)

    def run() -> float:
        fit = partial(train, classifier, images, settings, seed=0, image_size=work.image_size, machine=MACHINE)
        return work.scale * seconds_of(fit)

    return run


def on_features(name: str, work: Work, features: FeatureSet) -> Callable[[], float]:
    """Train all epochs on stored features, and return the seconds."""
    classifier = classifier_of(name)
    settings = TrainSettings(epochs=work.epochs, batch_size=BATCH, lr=1e-3, freeze_backbone=True, views=1)
    fit = partial(train, classifier, features, settings, seed=0, image_size=work.image_size, machine=MACHINE)
    return partial(seconds_of, fit)


def table_of(seconds: Mapping[str, list[float]], ahead: Mapping[str, bool]) -> str:
    """Return a table with a row for each head."""
    rows = []
    for name, pooled in ahead.items():
        times = ratios(seconds, f"{name} on features", f"{name} through the trunk")
        rows.append(
            [
                name,
                "once" if pooled else "in each step",
                spread(seconds[f"{name} through the trunk"], ".0f"),
                spread(seconds[f"{name} on features"], ".2f"),
                spread(times, ".0f"),
                f"{GOALS[pooled]}: {'met' if np.median(times) >= GOALS[pooled] else 'missed'}",
            ]
        )
    return markdown(rows, ["head", "pooled", "s through the trunk", "s on features", "times as fast", "goal"])


def memory_table(mib: Mapping[int, float]) -> str:
    """Return a table of the peak memory by the number of images."""
    rows = [[images, f"{peak:.0f}", "met" if peak < MOST_MIB else "missed"] for images, peak in mib.items()]
    return markdown(rows, ["images", "MiB", f"goal: below {MOST_MIB}"])


def measure_memory(images: int, image_size: int) -> float:
    """Return the peak MiB of this process after storing features and one epoch of a learned pooling."""
    name = "lse_learned"
    work = Work(images, 1, BATCH, image_size)
    classifier = classifier_of(name)
    features = store_features(
        classifier.backbone, noise_images(images, work.train_size), Views(image_size), {}, MACHINE
    )
    on_features(name, work, features)()
    return process_mib("VmHWM")


def main() -> None:
    """Measure, print and write the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--trunk-images", type=int, default=96, help="images of the epoch through the trunk")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(measure_memory(**asked.measure))
        return
    if min(asked.images, asked.epochs, asked.trunk_images, asked.rounds) < 1 or asked.image_size < 32:
        parser.error("all numbers must be at least 1, and --image-size at least 32.")
    work = Work(asked.images, asked.epochs, asked.trunk_images, asked.image_size)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["WSOL_CACHE"] = cache
        few = noise_images(work.trunk_images, work.train_size)
        few.preload()
        trunk = classifier_of(asked.heads[0]).backbone
        images, begun = noise_images(work.images, work.train_size), now()
        features = store_features(trunk, images, Views(work.image_size), {}, Machine(accelerator="cpu"))
        once = now() - begun
        ahead = {name: pool_ahead(classifier_of(name), features).pooled for name in asked.heads}
        runs = {}
        for name in asked.heads:
            runs[f"{name} through the trunk"] = through_trunk(name, work, few)
            runs[f"{name} on features"] = on_features(name, work, features)
        with tqdm(total=asked.rounds + 1, unit="round", disable=None, leave=False) as bar:
            seconds = in_turn(runs, asked.rounds, bar.update)
        shape, size = features.arrays[0].shape, features.files[0].stat().st_size / 2**20
        mib = {
            images: float(
                measure_apart(__file__, {"images": images, "image_size": work.image_size}, {"WSOL_CACHE": cache})
            )
            for images in (work.images // MORE, work.images)
        }
    notes = [
        f"EfficientNet-Lite0 at output stride 16, random weights, images of noise, {work.image_size} px, {CLASSES} "
        f"classes, {BATCH} images a step, AdamW, on {torch.get_num_threads()} CPU threads.",
        f"On features: {work.images} images x {work.epochs} epochs, all of them. Through the trunk: one epoch of "
        f"{work.trunk_images} images in memory with a new random crop in each step, and the seconds times "
        f"{work.scale:.0f}, for as many images and epochs.",
        f"The feature pass took {once:.0f} s, {1000 * once / work.images:.1f} ms an image with the noise of the image, "
        f"once for all heads. It is not in the table. {' x '.join(map(str, shape))} float16, {size:.0f} MiB.",
        "Pooled once: the pooling has no parameters and reads features, so that a step is a matrix product on pooled "
        "vectors; they are computed before the rounds.",
        f"Medians of {asked.rounds} rounds after one that warms up, in brackets the lowest and the highest. Times as "
        "fast: the ratio within a round.",
        "MiB: peak of a whole process, with libraries, that stores the features of this number of images and trains "
        "one epoch of lse_learned on them.",
    ]
    publish([table_of(seconds, ahead), memory_table(mib)], notes, asked.out, command_of(__file__, sys.argv[1:]))


if __name__ == "__main__":
    main()
