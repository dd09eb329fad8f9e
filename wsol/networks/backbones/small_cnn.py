"""Build a small convolutional network for small images."""

from collections.abc import Sequence

from torch import nn

from wsol.networks.backbone import Backbone


def small_cnn(channels: Sequence[int] = (16, 32, 64, 128)) -> Backbone:
    """Build blocks of 3x3 convolution, batch norm and ReLU, with 2x2 max pooling between them and random weights.

    Args:
        channels: width of each block. The output stride is 2 ** (len(channels) - 1), so 64 px give 8 x 8 cells.

    Raises:
        ValueError: if `channels` is empty.
    """
    if not channels:
        raise ValueError("channels of small_cnn must be at least one block, got none. Try channels=[16,32].")
    trunk, before = nn.Sequential(), 3
    for index, width in enumerate(channels, start=1):
        layers = [nn.MaxPool2d(2)] if index > 1 else []
        block = [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        trunk.add_module(f"block{index}", nn.Sequential(*layers, *block))
        before = width
    return Backbone(trunk, out_channels=before)
