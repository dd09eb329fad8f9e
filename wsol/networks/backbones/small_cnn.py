"""A small convolutional network for small images."""

from collections.abc import Sequence

from torch import nn

from wsol.networks.backbone import Backbone


def small_cnn(channels: Sequence[int] = (16, 32, 64, 128)) -> Backbone:
    """Blocks of 3x3 convolution, batch norm and ReLU, with 2x2 max pooling between them; random weights.

    Args:
        channels: one block each; the output stride is 2 ** (len(channels) - 1), so 64 px give maps of 8 x 8 cells.

    Raises:
        ValueError: if there is no block.
    """
    if not channels:
        raise ValueError("small_cnn needs at least one block of channels.")
    trunk, before = nn.Sequential(), 3
    for index, width in enumerate(channels, start=1):
        layers = [nn.MaxPool2d(2)] if index > 1 else []
        block = [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        trunk.add_module(f"block{index}", nn.Sequential(*layers, *block))
        before = width
    return Backbone(trunk, out_channels=before)
