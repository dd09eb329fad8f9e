"""Turn networks of timm and torchvision into backbones: check names, find the layout of features, remove heads."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsol.networks.token_grid import Layout


def check_name(name: str, known: Sequence[str], library: str) -> None:
    """Raise ValueError if a library has no network of a name.

    Raises:
        ValueError: listing close names.
    """
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known, n=3)) or "none"
        raise ValueError(f"{library} has no network {name!r}; close names: {close}.")


def try_features(network: nn.Module, name: str, image_size: int) -> Any:
    """Compute the features of one black image in eval mode, with their graph; the network ends in train mode.

    Args:
        network: maps (1, 3, H, W) to features.
        name: name of the network, for the message.
        image_size: height and width in pixels.

    Raises:
        ValueError: if the network does not take images of this size.
    """
    device = next(network.parameters()).device
    network.eval()
    try:
        with torch.enable_grad():
            return network(torch.zeros(1, 3, image_size, image_size, device=device))
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{name} does not take images of {image_size} x {image_size} px: {reason}.") from None
    finally:
        network.train()  # also drops the fused weights that timm's LeViT and its like cache in eval mode


def layout_of(features: Any, channels: int, name: str, prefix_tokens: int = 0) -> Layout:
    """Return the layout of a network's features, from the place of the channels in their shape.

    Args:
        features: output for one image.
        channels: C.
        name: name of the network, for the message.
        prefix_tokens: number of tokens before the patches, for a network of tokens.

    Raises:
        ValueError: if the features are not a grid of more than one cell.
    """
    shape = tuple(features.shape) if isinstance(features, Tensor) else ()
    if len(shape) == 4 and shape[1] == channels and min(shape[2:]) > 1:
        return "channels_first"
    if len(shape) == 4 and shape[3] == channels and min(shape[1:3]) > 1:
        return "channels_last"
    if len(shape) == 3 and shape[2] == channels:
        side = round(max(0, shape[1] - prefix_tokens) ** 0.5)
        if side > 1 and side * side == shape[1] - prefix_tokens:
            return "tokens"
    output = f"shape {shape}" if shape else type(features).__name__
    raise ValueError(
        f"{name} ends without a spatial grid of features: one image gives {output}, of {channels} channels and "
        f"{prefix_tokens} prefix tokens. Take another network, or larger images if one cell is left."
    )


def remove_unused(network: nn.Module, features: Tensor) -> None:
    """Replace every module that the features do not depend on, which is the head, by an identity.

    Unused parameters of modules that also have used ones are frozen, because distributed training waits for the
    gradient of every parameter that requires one.

    Args:
        network: changed in place.
        features: output of the network, with its graph.
    """
    used = {id(parameter) for parameter in _leaves(features)}
    _replace(network, used | {id(parameter) for parameter in network.parameters() if not parameter.requires_grad})
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in used)


def _replace(module: nn.Module, used: set[int]) -> None:
    for name, child in list(module.named_children()):
        parameters = [id(parameter) for parameter in child.parameters()]
        if parameters and used.isdisjoint(parameters):
            module.add_module(name, nn.Identity())
        elif not used.issuperset(parameters):
            _replace(child, used)


def _leaves(output: Tensor) -> Iterator[Tensor]:
    """Yield all parameters in the graph of a tensor."""
    waiting: list[Any] = [output.grad_fn]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting.extend(before for before, _ in node.next_functions)
