"""Compute class scores for changed images and for changed activations."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wsol.maps.forward_pass import LAST
from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode

CHUNK = 64  # images per call: enough to keep a processor busy, few enough for any memory


def scores(network: nn.Module, images: Tensor) -> Tensor:
    """Compute the (N, K) logits of any number of images in chunks, without a graph; the network stays unchanged."""
    with evaluation_mode(network), torch.inference_mode(False), torch.no_grad():
        return torch.cat([network(chunk) for chunk in images.split(CHUNK)])


def replayed(network: nn.Module, images: Tensor, layer: str, output: Tensor) -> Tensor:
    """Compute the (M, K) logits with another output in place of a layer's own.

    Args:
        network: left unchanged, also after an error.
        images: (M, 3, H, W) input of the network.
        layer: dotted module name. For the last layer of a wsol `Classifier` only the head runs.
        output: (M, ...) in the layer's own layout, also in half precision.
    """
    if layer == LAST and isinstance(network, Classifier):
        with evaluation_mode(network):
            return network.head(output.to(network.fc.weight.dtype))  # outside the autocast that the network may run in
    handle = network.get_submodule(layer).register_forward_hook(_replace(output))
    try:
        with evaluation_mode(network):
            return network(images)
    finally:
        handle.remove()


def _replace(output: Tensor) -> Callable[[nn.Module, Any, Any], Tensor]:
    return lambda *_: output.clone()  # an in-place ReLU may follow


def chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `count`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
