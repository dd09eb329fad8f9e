"""Find the target layer of any network, and make map methods read it."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from wsol.maps.forward_pass import LAST
from wsol.networks.inference import evaluation_mode
from wsol.networks.token_grid import Layout

M = TypeVar("M")


@dataclass(frozen=True)
class TargetLayer:
    """A layer that map methods read, and the layout of its output."""

    name: str
    layout: Layout = "channels_first"


def last_spatial_layer(network: nn.Module, image_size: int) -> TargetLayer:
    """Find the last module, in the order of finishing, whose output has a square grid of more than one cell.

    The network runs once on a gray image. Adaptive poolings are skipped, whatever grid they make, and so are modules
    that run more than once, which maps cannot read.

    Args:
        network: takes uint8 images; left unchanged.
        image_size: height and width in pixels.

    Raises:
        ValueError: if no module has such an output, or if tokens come after it, as in a vision transformer: the layers
            where tokens have a gradient depend on the head, so the user has to name the layer.
    """
    outputs: list[tuple[str, nn.Module, Tensor]] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and name:
                outputs.append((name, module, output))

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules()]
    device = next(network.parameters()).device
    try:
        with evaluation_mode(network), torch.no_grad():
            network(torch.full((1, 3, image_size, image_size), 128, dtype=torch.uint8, device=device))
    finally:
        for handle in handles:
            handle.remove()
    names = [name for name, _, _ in outputs]
    for name, module, output in reversed(outputs):
        if names.count(name) > 1 or isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            continue
        if output.ndim == 3 and output.shape[1] > 1:
            raise ValueError(
                f"The last layers of this network give tokens ({name}: {tuple(output.shape)}), and no layer is chosen "
                "among them; name one for each method, with maps.grad_cam.target_layer=LAYER "
                "+maps.grad_cam.layout=tokens +maps.grad_cam.prefix_tokens=NUMBER."
            )
        if output.ndim == 4 and min(output.shape[1:]) > 1:
            if output.shape[2] == output.shape[3]:
                return TargetLayer(name)
            if output.shape[1] == output.shape[2]:
                return TargetLayer(name, "channels_last")
    raise ValueError(f"{type(network).__name__} has no layer with a square grid of cells.")


def at_layer(method: M, layer: TargetLayer) -> M:
    """Replace the target layer `backbone`, a wsol `Classifier`'s last layer, by a layer of another network.

    Settings of the map method are searched at any depth. Other layers stay, and so does a method without a layer.

    Args:
        method: a map method; left unchanged.
        layer: the new target layer.
    """
    if not is_dataclass(method) or isinstance(method, type):
        return method
    changes: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if value == LAST:
            changes[field.name] = layer.name
        elif isinstance(value, tuple | list) and LAST in value:
            changes[field.name] = type(value)(layer.name if name == LAST else name for name in value)
        elif is_dataclass(value):
            changed = at_layer(value, layer)
            changes |= {} if changed == value else {field.name: changed}
    if changes and layer.layout != "channels_first" and hasattr(method, "layout"):
        changes["layout"] = layer.layout
    return replace(method, **changes) if changes else method
