"""List the target layers of a network, with the settings that a map method needs for each.

python benchmarks/layers.py backbone=timm backbone.name=resnet50
python benchmarks/layers.py backbone=timm backbone.name=vit_small_patch14_dinov2 pooling=gmp data.image_size=448 depth=4
python benchmarks/layers.py table=docs/networks.md

Settings are those of benchmarks/run.py; images have 224 px unless a data set or data.image_size is named, and nothing
is downloaded. A name under `layer` is a `target_layer` (maps.grad_cam.target_layer=backbone.layer3). A method needs any
layout other than channels_first as well (+maps.grad_cam.layout=tokens +maps.grad_cam.prefix_tokens=1). `depth` is the
largest number of parts of a name; by default, names are as deep as 40 lines allow. The list leaves out layers without a
square grid of cells, layers that run more than once or not at all, and layers that pass their input on.

table=FILE computes and prints the rows of the table of networks in FILE, from the names in its first two columns.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass
from math import isqrt, log2
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from config.build import build_classifier, parts_of
from config.options import command_words
from config.saved_runs import configuration, end, without_weights
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.timm import timm_network
from wsol.networks.backbones.torchvision import torchvision_network
from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode
from wsol.networks.token_grid import Layout
from wsol.networks.transformers import ClassAndPatches, ImageSize, TokenGrid

_LINES = 40
_CLASSES = 200  # classes of the head whose parameters are counted
_PASSED_ON = (nn.Identity, nn.Dropout, ImageSize)
LIBRARIES = {"torchvision": torchvision_network, "timm": timm_network}
_ROW = re.compile(r"^\| `(torchvision|timm)` \| `([^`]+)` \|", re.MULTILINE)


@dataclass(frozen=True)
class Layer:
    """A layer that map methods can read.

    Attributes:
        name: dotted module name.
        layout: layout of the layer's output.
        prefix_tokens: number of tokens before the patches.
        shape: (C, h, w) of the grid.
        parameters: number of parameters.
    """

    name: str
    layout: Layout
    prefix_tokens: int
    shape: tuple[int, int, int]
    parameters: int

    @property
    def depth(self) -> int:
        """Number of parts of the name."""
        return self.name.count(".") + 1


def layers_of(classifier: Classifier, image_size: int) -> list[Layer]:
    """List the layers of a classifier's backbone, parents before children, with the layout of each output.

    Args:
        classifier: left unchanged.
        image_size: height and width in pixels.
    """
    outputs: list[tuple[str, nn.Module, Any]] = []

    def keep(name: str) -> Any:
        return lambda module, inputs, output: outputs.append((name, module, output))

    backbone = classifier.backbone
    modules = {f"backbone.{name}" if name else "backbone": module for name, module in backbone.named_modules()}
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        with evaluation_mode(backbone), torch.no_grad():
            # Two images, so that windows of one image do not look like a batch.
            features = backbone(torch.zeros(2, 3, image_size, image_size, dtype=torch.uint8))
    finally:
        for handle in handles:
            handle.remove()
    runs = Counter(name for name, _, _ in outputs)
    grids = [module for module in modules.values() if isinstance(module, TokenGrid | ClassAndPatches)]
    prefix, cells = (grids[0].prefix_tokens if grids else 0), features[0, 0].numel()
    layers = []
    for name, module, output in outputs:
        read = _read(output, prefix, cells)
        if read and runs[name] == 1 and not isinstance(module, _PASSED_ON):
            layers.append(Layer(name, *read, sum(parameter.numel() for parameter in module.parameters())))
    # A module finishes after its children; here it comes before them, as in a table of contents.
    order = {name: place for place, name in enumerate(modules)}
    return sorted(layers, key=lambda layer: order[layer.name])


def _read(output: Any, prefix: int, cells: int) -> tuple[Layout, int, tuple[int, int, int]] | None:
    if not isinstance(output, Tensor) or len(output) != 2:
        return None
    shape = tuple(output.shape[1:])
    if len(shape) == 3 and shape[1] == shape[2] > 1:
        return "channels_first", 0, (shape[0], shape[1], shape[2])
    if len(shape) == 3 and shape[0] == shape[1] > 1:
        return "channels_last", 0, (shape[2], shape[0], shape[1])
    if len(shape) == 2:
        patches = {before: shape[0] - before for before in (prefix, 0)}
        squares = [before for before, count in patches.items() if count > 1 and isqrt(count) ** 2 == count]
        if squares:
            before = next((before for before in squares if patches[before] == cells), squares[0])
            side = isqrt(shape[0] - before)
            return "tokens", before, (shape[1], side, side)
    return None


def readable_depth(layers: list[Layer]) -> int:
    """Return the largest depth whose names fit on a page, at least 2."""
    deepest = max(layer.depth for layer in layers)
    fits = [depth for depth in range(2, deepest + 1) if sum(layer.depth <= depth for layer in layers) <= _LINES]
    return max(fits, default=2)


def listing(classifier: Classifier, image_size: int, depth: int | None) -> str:
    """Format the layers as aligned columns, with the totals."""
    layers = layers_of(classifier, image_size)
    depth = readable_depth(layers) if depth is None else depth
    shown = [layer for layer in layers if layer.depth <= depth]
    rows: list[tuple[str, ...]] = [("layer", "layout", "prefix_tokens", "C x h x w", "parameters")]
    for layer in shown:
        prefix = str(layer.prefix_tokens) if layer.layout == "tokens" else ""
        rows.append((layer.name, layer.layout, prefix, " x ".join(map(str, layer.shape)), f"{layer.parameters:,}"))
    if all(not row[2] for row in rows[1:]):
        rows = [(*row[:2], *row[3:]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([*cells[:-1], row[-1].rjust(widths[-1])]))
    total = sum(parameter.numel() for parameter in classifier.parameters())
    trunk = sum(parameter.numel() for parameter in classifier.backbone.parameters())
    lines.append(f"parameters: {total:,}; backbone {trunk:,}, head of {_CLASSES} classes {total - trunk:,}")
    if len(shown) < len(layers):
        lines.append(f"{len(layers) - len(shown)} deeper layers; depth={depth + 1} shows more.")
    return "\n".join(lines)


def network_row(library: str, name: str) -> str:
    """Return a row of the table of networks: channels, map for 224 px, parameters of the trunk, output strides."""
    make = LIBRARIES[library]
    backbone = make(name, None, 224)
    channels, height, width = _map_of(backbone)
    parameters = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    # Without padding, as in Inception, a map has fewer cells than 224 / stride: take the nearest power of two.
    strides = [224 // height if 224 % height == 0 else 2 ** round(log2(224 / height))]
    for stride in (32, 16, 8):
        if stride in strides:
            continue
        try:
            make(name, None, 224, stride)  # an impossible stride raises when the network is built
        except ValueError:
            continue
        strides.append(stride)
    cells = (
        f"`{library}`",
        f"`{name}`",
        channels,
        f"{height} x {width}",
        f"{parameters:.1f}",
        ", ".join(map(str, strides)),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _map_of(backbone: Backbone) -> tuple[int, int, int]:
    with evaluation_mode(backbone), torch.no_grad():
        features = backbone(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    _, channels, height, width = features.shape
    return channels, height, width


def rows_in(text: str) -> list[tuple[str, str]]:
    """Return library and name of each network in the table of a text."""
    return [(library, name) for library, name in _ROW.findall(text)]


def number(text: str) -> int:
    """Return the value of `depth`.

    Raises:
        ValueError: if the text is not a whole number above 0.
    """
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"depth must be a whole number above 0, got {text!r}.")
    return int(text)


def classifier_of(cfg: DictConfig) -> Classifier:
    """Build the configured classifier with random weights."""
    parts = parts_of(cfg)
    for name in ("backbone", "pooling"):
        parts[name] = without_weights({key: value for key, value in cfg[name].items()})
    return build_classifier(parts, _CLASSES)


def layers(words: list[str]) -> int:
    """Print the table; return the exit status."""
    if not words or set(words) & {"-h", "--help"}:
        print(__doc__)
        return 0
    values = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if "table" in values:
        for library, name in rows_in(Path(values["table"]).read_text(encoding="utf-8")):
            print(network_row(library, name), flush=True)
        return 0
    settings = [word for word in words if not word.startswith("depth=")]
    cfg = configuration(settings, [] if "data" in values else ["data.image_size=224"])
    depth = number(values["depth"]) if "depth" in values else None
    print(listing(classifier_of(cfg), cfg.data.image_size, depth))
    return 0


def main() -> int:
    """Run the command; return its exit status."""
    return end(lambda: layers(command_words()))


if __name__ == "__main__":
    sys.exit(main())
