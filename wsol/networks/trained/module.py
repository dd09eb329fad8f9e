"""Load a network of one's own, from its Python function and a file of weights."""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from wsol.networks.checkpoint import load_weights, read_weights
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork


def module_classifier(
    build: str,
    weights: str | Path | None = None,
    image_size: int = 224,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    settings: Mapping[str, Any] | None = None,
    classes: str | Path | None = None,
) -> TrainedNetwork:
    """Build a network by a function that the command line names, and load its weights.

    The function is imported and called, so it must be the user's own.

    Args:
        build: `package.module:function`, which returns the network: images (N, 3, H, W) to logits (N, K).
        weights: see `read_weights`; None: the function returns the network with its weights.
        image_size: side in pixels of the square images that the network takes.
        mean: mean of each colour channel that the network was trained with, for images in [0, 1]; 0 if it normalizes
            itself.
        std: standard deviation of each; 1 if the network normalizes itself.
        settings: arguments of the function.
        classes: a text file with a line for each output, its name or wnid; None: unknown.

    Raises:
        FileNotFoundError: if the file of weights or of classes is missing.
        ImportError: if the module cannot be imported.
        ValueError: if `build` has another form, the function returns no module, or the weights do not fit.
    """
    network = _call(build, settings or {})
    if not isinstance(network, nn.Module):
        raise ValueError(f"{build} must return a torch.nn.Module, got {type(network).__name__}.")
    if weights is not None:
        load_weights(network, read_weights(Path(weights)), str(weights))
    name = Path(weights).stem if weights is not None else build.rpartition(":")[2]
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"network.mean and network.std must be three numbers, std above 0, got {mean} and {std}.")
    normalized = NormalizedNetwork(network, mean, std)
    return TrainedNetwork(re.sub(r"[^\w.+]+", "_", name), normalized, image_size, _read_classes(classes))


def _read_classes(path: str | Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no list of classes {path}; network.classes names a text file.")
    return tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())


def _call(build: str, settings: Mapping[str, Any]) -> Any:
    module, colon, function = build.partition(":")
    if not (module and colon and function):
        raise ValueError(f"network.build must be package.module:function, got {build!r}.")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} cannot be imported ({error}); install it, or put its folder on PYTHONPATH: PYTHONPATH=FOLDER "
            "python benchmarks/run.py ..."
        ) from None
    if not hasattr(imported, function):
        raise ValueError(f"{module} has no function {function!r}; network.build is package.module:function.")
    return getattr(imported, function)(**settings)
