"""Load unchanged networks of torchvision and timm, normalize their input inside, and find their target layer."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import timm
import torch
import torchvision.models
from torch import Tensor, nn

from wsol.maps.forward_pass import LAST
from wsol.networks.inference import evaluation_mode
from wsol.networks.pretrained import packaged_efficientnet_lite0, timm_weights, torchvision_weights
from wsol.networks.token_grid import Layout

_LITE0 = "efficientnet_lite0"
_HOW = f"a network is torchvision:NAME, timm:NAME or {_LITE0} (whose weights come with the package wsol[pretrained])"

M = TypeVar("M")


class NormalizedNetwork(nn.Module):
    """Any classifier behind the normalization that its weights were trained with.

    The layers keep their names below `network`: `network.layer4`.

    Args:
        network: maps (N, 3, H, W) normalized to logits (N, K).
        mean: mean of each colour channel, for images in [0, 1].
        std: standard deviation of each colour channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), uint8 or float in [0, 1], to logits (N, K)."""
        pixels = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        return self.network((pixels - self.mean) / self.std)


@dataclass(frozen=True)
class ForeignNetwork:
    """A pretrained network, and the side in pixels of the square images that it was trained for."""

    network: NormalizedNetwork
    image_size: int


def foreign_network(name: str) -> ForeignNetwork:
    """Load a pretrained classifier with its head, in eval mode.

    Args:
        name: `torchvision:NAME`, `timm:NAME`, or `efficientnet_lite0`, which needs no download.

    Raises:
        ValueError: for a name that neither library has, listing close names.
        ConnectionError: with a message of one line, if the weights cannot be downloaded.
        ImportError: if the package with the weights of `efficientnet_lite0` is not installed.
    """
    library, _, model = name.partition(":")
    if name == _LITE0:
        foreign = _packaged_lite0()
    elif library == "torchvision" and model:
        _check_name(model, torchvision.models.list_models(module=torchvision.models), name)
        foreign = _torchvision(model)
    elif library == "timm" and model:
        _check_name(model.split(".")[0], timm.list_models(), name)
        foreign = _timm(model)
    else:
        raise ValueError(f"{name!r} is no network; {_HOW}.")
    foreign.network.eval()
    return foreign


def _check_name(model: str, known: Sequence[str], name: str) -> None:
    if model not in known:
        close = difflib.get_close_matches(model, known, n=3)
        raise ValueError(f"{name!r} is no network; close names: {', '.join(close) or 'none'}; {_HOW}.")


def _packaged_lite0() -> ForeignNetwork:
    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(packaged_efficientnet_lite0(network.state_dict()))
    return ForeignNetwork(NormalizedNetwork(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 224)


def _torchvision(model: str) -> ForeignNetwork:
    _, mean, std = torchvision_weights(model, "imagenet")  # raises a message of one line if the download fails
    weights = torchvision.models.get_model_weights(model).DEFAULT
    # Built with its weights, because some networks (GoogLeNet) compute another function with weights than without.
    network = torchvision.models.get_model(model, weights=weights)
    return ForeignNetwork(NormalizedNetwork(network, mean, std), weights.transforms().crop_size[0])


def _timm(model: str) -> ForeignNetwork:
    state, mean, std = timm_weights(model)
    network: Any = timm.create_model(model, pretrained=False)
    network.load_state_dict(state)
    return ForeignNetwork(NormalizedNetwork(network, mean, std), network.pretrained_cfg["input_size"][-1])


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


def count_classes(network: nn.Module, image_size: int) -> int:
    """Return K, the number of classes, from the shape of the logits of one gray image.

    Args:
        network: takes uint8 images; left unchanged.
        image_size: height and width in pixels.

    Raises:
        ValueError: if the network does not give (1, K).
    """
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad():
        logits = network(torch.full((1, 3, image_size, image_size), 128, dtype=torch.uint8, device=device))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ValueError(f"{type(network).__name__} must give logits (1, K) for one image.")
    return logits.shape[1]
