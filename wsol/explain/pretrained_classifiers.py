"""Networks of torchvision and timm as they are, made to read images like ours, with their target layer found."""

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
    """Any classifier, with the normalization that its weights were trained with put in front.

    Its layers are named below `network`: `network.layer4`.

    Args:
        network: (N, 3, H, W) normalized -> logits (N, K).
        mean: per channel, for images in [0, 1].
        std: per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8, or float in [0, 1] -> logits (N, K)."""
        pixels = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        return self.network((pixels - self.mean) / self.std)


@dataclass(frozen=True)
class ForeignNetwork:
    """A pretrained network and the side in pixels of the square images that it was made for."""

    network: NormalizedNetwork
    image_size: int


def foreign_network(name: str) -> ForeignNetwork:
    """A pretrained classifier, its head included, in eval mode.

    Args:
        name: `torchvision:NAME`, `timm:NAME`, or `efficientnet_lite0`, which needs no download.

    Raises:
        ValueError: for a name that neither library has, with close ones.
        ConnectionError: in one line, if weights cannot be downloaded.
        ImportError: if the package with the weights of `efficientnet_lite0` is not installed.
    """
    library, _, model = name.partition(":")
    if name == _LITE0:
        made = _packaged_lite0()
    elif library == "torchvision" and model:
        _check_name(model, torchvision.models.list_models(module=torchvision.models), name)
        made = _torchvision(model)
    elif library == "timm" and model:
        _check_name(model.split(".")[0], timm.list_models(), name)
        made = _timm(model)
    else:
        raise ValueError(f"{name!r} is no network; {_HOW}.")
    made.network.eval()
    return made


def _check_name(model: str, known: Sequence[str], name: str) -> None:
    if model not in known:
        close = difflib.get_close_matches(model, known, n=3)
        raise ValueError(f"{name!r} is no network; close names: {', '.join(close) or 'none'}; {_HOW}.")


def _packaged_lite0() -> ForeignNetwork:
    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(packaged_efficientnet_lite0(network.state_dict()))
    return ForeignNetwork(NormalizedNetwork(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 224)


def _torchvision(model: str) -> ForeignNetwork:
    _, mean, std = torchvision_weights(model, "imagenet")  # says in one line what cannot be downloaded
    weights = torchvision.models.get_model_weights(model).DEFAULT
    # Built with its weights: some networks (GoogLeNet) are another function with them than without.
    network = torchvision.models.get_model(model, weights=weights)
    return ForeignNetwork(NormalizedNetwork(network, mean, std), weights.transforms().crop_size[0])


def _timm(model: str) -> ForeignNetwork:
    state, mean, std = timm_weights(model)
    network: Any = timm.create_model(model, pretrained=False)
    network.load_state_dict(state)
    return ForeignNetwork(NormalizedNetwork(network, mean, std), network.pretrained_cfg["input_size"][-1])


@dataclass(frozen=True)
class TargetLayer:
    """The layer that maps are made at."""

    name: str
    layout: Layout = "channels_first"


def last_spatial_layer(network: nn.Module, image_size: int) -> TargetLayer:
    """The last module, in the order of finishing, whose output has a square grid of more than one cell.

    Found by running the network once on a gray image. Adaptive poolings are passed over, whatever grid they make, and
    so are modules that run more than once, which no map can be read at.

    Raises:
        ValueError: if there is none, or if tokens come after it, as in a vision transformer: where their gradient is
            not zero depends on the head, so that layer has to be named.
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
    """A map method whose settings say `backbone`, our classifiers' last layer, read at another network's layer.

    Settings are looked through at any depth; layers named otherwise stay, and so does a method that names none.
    """
    if not is_dataclass(method) or isinstance(method, type):
        return method
    changes: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if value == LAST:
            changes[field.name] = layer.name
        elif isinstance(value, tuple | list) and LAST in value:
            changes[field.name] = type(value)(layer.name if one == LAST else one for one in value)
        elif is_dataclass(value):
            changed = at_layer(value, layer)
            changes |= {} if changed == value else {field.name: changed}
    if changes and layer.layout != "channels_first" and hasattr(method, "layout"):
        changes["layout"] = layer.layout
    return replace(method, **changes) if changes else method


def count_classes(network: nn.Module, image_size: int) -> int:
    """K, the number of classes, from the shape of the logits of one gray image.

    Raises:
        ValueError: if the network does not give (1, K).
    """
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad():
        logits = network(torch.full((1, 3, image_size, image_size), 128, dtype=torch.uint8, device=device))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ValueError(f"{type(network).__name__} must give logits (1, K) for one image.")
    return logits.shape[1]
