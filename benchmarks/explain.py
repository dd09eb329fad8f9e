"""Classify any images and explain the classes: draw the top 5 classes and every method's map with its box, as PNGs.

python benchmarks/explain.py results/runs/NAME bird.jpg
python benchmarks/explain.py efficientnet_lite0 photos/ class=hare,goldfish maps=[cam,layer_cam] --out explained
python benchmarks/explain.py timm:resnet18 bird.jpg maps.grad_cam.target_layer=network.layer3 machine.batch_size=8

CHECKPOINT is the folder of a run, or a pretrained network: torchvision:NAME, timm:NAME, or efficientnet_lite0, 1 or 2,
which need no download. Settings follow the images: class=ID_OR_NAME[,...] (default: the predicted class), and the
options of benchmarks/run.py under maps, protocol (zhou2016) and machine. The exit status is 1 if an image could not be
read or no method works, 2 if an argument is wrong.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from config.build import build
from config.options import command_words
from config.saved_runs import configuration, end, made_by, one_line, read_run
from wsol.data.class_names import find_class, imagenet_names
from wsol.data.decode import read_image
from wsol.data.sample import Sample, collate, resize_sample
from wsol.explain.explainer import Explainer
from wsol.machine import device_of
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import LAST
from wsol.maps.target_layer import at_layer, last_spatial_layer
from wsol.networks.named_network import named_network
from wsol.networks.trained_network import count_classes
from wsol.report.pictures.explanation import draw_explanation
from wsol.report.pictures.panels import PictureText
from wsol.scoring.protocol import Protocol

_DEFAULTS = ("maps=[cam,grad_cam,grad_cam_pp,layer_cam,hires_cam]", "protocol=zhou2016")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    commands = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or a pretrained network's name")
    commands.add_argument("words", nargs="+", metavar="IMAGE_OR_FOLDER | SETTING=VALUE")
    out = Path("results/explained")
    commands.add_argument("--out", type=Path, default=out, metavar="DIR", help="results/explained")
    commands.add_argument(
        "--tau", type=float, metavar="τ", help="score threshold of the boxes (default: the protocol's, or 0.2)"
    )
    return commands


@dataclass(frozen=True)
class Explained:
    """A network to explain, with the size of its images and the names of its classes."""

    network: nn.Module
    image_size: int
    class_names: Sequence[str]
    is_foreign: bool


def network_of(name: str, cfg: DictConfig) -> Explained:
    """Load a network, with the names of its classes if they are known, otherwise with their ids.

    Raises:
        FileNotFoundError: for a folder that does not exist.
        ValueError: for an unknown name of a pretrained network.
    """
    if Path(name).is_dir():
        run = read_run(Path(name))
        try:
            names: Sequence[str] = run.splits(cfg).class_names
        except (OSError, ValueError) as error:
            print(f"classes are shown by their ids: {one_line(error)}", file=sys.stderr)
            names = [f"class {index}" for index in range(run.settings["num_classes"])]
        return Explained(run.classifier, run.image_size, names, is_foreign=False)
    if os.sep in name or name.startswith("."):
        raise FileNotFoundError(f"there is no folder {name}.")
    trained = named_network(name)
    count = count_classes(trained.network, trained.image_size)
    names = imagenet_names() if count == 1000 else [f"class {index}" for index in range(count)]
    return Explained(trained.network, trained.image_size, names, is_foreign=True)


def explainer_of(explained: Explained, cfg: DictConfig, protocol: Protocol, tau: float) -> tuple[Explainer, str]:
    """Return an explainer with all methods on a network, and a text that names the target layers."""
    methods: dict[str, MapMethod] = build(cfg.maps)
    network = explained.network.to(device_of(cfg.machine.accelerator))
    failed: dict[str, str] = {}
    usual, why = LAST, "the last convolution"
    if explained.is_foreign:
        unplaced = [name for name, method in methods.items() if LAST in method.target_layers]
        try:
            layer = last_spatial_layer(network, explained.image_size)
        except ValueError as error:
            failed = dict.fromkeys(unplaced, one_line(error))
            methods = {name: method for name, method in methods.items() if name not in failed}
            usual, why = "none", "no layer has a grid of channels"
        else:
            methods = {name: at_layer(method, layer) for name, method in methods.items()}
            usual, why = layer.name, "the last one with a spatial grid before pooling"
    others = [
        f"{name} reads {', '.join(method.target_layers)}"
        for name, method in methods.items()
        if method.target_layers not in ((usual,), ())
    ]
    example = next((name for name in cfg.maps if "target_layer" in cfg.maps[name]), "grad_cam")
    text = f"target layer: {usual}, {why}; name another with maps.{example}.target_layer=..."
    return Explainer(network, methods, protocol, tau, failed), "; ".join([text, *others])


def images_in(places: Sequence[str], out: Path) -> dict[Path, Path]:
    """Find all image files and name their pictures; no two pictures share a name.

    Args:
        places: image files, and folders, which are searched in order.
        out: folder of the pictures, which is not searched.

    Returns:
        Image file -> file of its picture.

    Raises:
        FileNotFoundError: for a file or folder that does not exist.
        ValueError: if there is no image.
    """
    files: list[tuple[Path, Path]] = []  # (image file, name below `out`)
    for place in map(Path, places):
        if place.is_dir():
            inside = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in _SUFFIXES and path.is_file()]
            files += [(path, path.relative_to(place)) for path in inside if out.resolve() not in path.resolve().parents]
        elif place.exists():
            files.append((place, Path(place.name)))
        else:
            raise FileNotFoundError(f"there is no image or folder {place}.")
    if not files:
        raise ValueError(f"there is no image in {', '.join(places)}; looked for {' '.join(sorted(_SUFFIXES))}.")
    pictures: dict[Path, Path] = {}
    taken: set[Path] = set()
    for path, name in files:
        if path not in pictures:
            names = itertools.chain([name.stem, name.name], (f"{name.name}-{number}" for number in itertools.count(2)))
            candidates = (out / name.with_name(f"{stem}.png") for stem in names)
            pictures[path] = next(picture for picture in candidates if picture not in taken)
            taken.add(pictures[path])
    return pictures


def box_text(protocol: Protocol, tau: float) -> str:
    """Return a text that describes which box is drawn."""
    cut = f"{tau:.0%} of the map's maximum" if protocol.normalization == "max" else f"τ = {tau:g} of the score map"
    return f"box: the largest region above {cut}, protocol {protocol.name}"


def explain(arguments: argparse.Namespace) -> int:
    """Write the pictures; return the exit status."""
    settings = [word for word in arguments.words if "=" in word and not Path(word).exists()]
    places = [word for word in arguments.words if word not in settings]
    class_words = [word.removeprefix("class=") for word in settings if word.startswith("class=")]
    wanted = [class_name for word in class_words for class_name in word.split(",")]
    cfg = configuration([word for word in settings if not word.startswith("class=")], _DEFAULTS)
    protocol: Protocol = build(cfg.protocol)
    tau = arguments.tau if arguments.tau is not None else 0.2 if protocol.threshold is None else protocol.threshold
    if not 0 <= tau < 1:
        raise ValueError(f"--tau must lie in [0, 1), got {tau:g}.")
    pictures = images_in(places, arguments.out)
    explained = network_of(arguments.checkpoint, cfg)
    class_ids = [find_class(class_name, explained.class_names) for class_name in wanted] or None
    explainer, layer_text = explainer_of(explained, cfg, protocol, tau)
    print(layer_text)
    caption = [layer_text, box_text(protocol, tau), made_by()]
    shown_names = [name.split(", ")[0] for name in explained.class_names]
    reported: set[str] = set()
    unreadable: list[str] = []
    paths = list(pictures)
    hide = None if cfg.machine.progress else True
    with tqdm(total=len(paths), desc="explaining", unit="image", leave=False, disable=hide) as bar:
        for start in range(0, len(paths), cfg.machine.batch_size):
            batch: dict[Path, NDArray[np.uint8]] = {}
            for path in paths[start : start + cfg.machine.batch_size]:
                try:
                    batch[path] = read_image(path)
                except (OSError, ValueError) as error:
                    unreadable.append(one_line(error))
                    tqdm.write(f"skipped: {unreadable[-1]}", file=sys.stderr)
                    bar.update()
            if not batch:
                continue
            size = (explained.image_size, explained.image_size)
            samples = [resize_sample(Sample(image, 0, str(path)), size) for path, image in batch.items()]
            images = collate(samples).images.to(device_of(cfg.machine.accelerator))
            explanations = explainer(images, [str(path) for path in batch], class_ids)
            for name in explainer.failed.keys() - reported:
                tqdm.write(f"{name} is left out: {explainer.failed[name]}", file=sys.stderr)
                reported.add(name)
            if not explainer.methods:
                print("error: no method works on this network.", file=sys.stderr)
                return 1
            for (path, image), explanation in zip(batch.items(), explanations, strict=True):
                text = PictureText(f"{path.name}, {arguments.checkpoint}", shown_names, caption)
                draw_explanation(pictures[path], image, explanation, size, text)
                ((best, probability),) = explanation.top(1)
                tqdm.write(f"{path}: {probability:.2f} {shown_names[best]}, {pictures[path]}")
                bar.update()
    if unreadable:
        print(f"{len(unreadable)} of {len(paths)} images could not be read:", *unreadable, sep="\n  ", file=sys.stderr)
    return 1 if unreadable else 0


def main() -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_intermixed_args(command_words())
    return end(lambda: explain(arguments))


if __name__ == "__main__":
    sys.exit(main())
