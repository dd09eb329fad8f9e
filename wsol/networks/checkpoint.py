"""Read the weights of a network from a file that anybody may have written, and load them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

# Keys under which training programs keep the weights; the first that holds some is read.
_KEYS = ("state_dict", "model_state_dict", "model", "classifier", "network", "net", "module", "weights")
# What wrappers put before the names: DistributedDataParallel, torch.compile, Lightning modules.
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
_NAMED = 3  # parameters that a message names
_UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError, SafetensorError)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, weights alone: nothing in the file is imported or called.

    Args:
        path: a file of `torch.save` with a state dict, or with one under a key such as `state_dict` or `model`; or a
            `.safetensors` file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read as weights alone, or holds no state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights {path}; set network.weights=FILE.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"{path} cannot be read as weights alone ({reason}); save network.state_dict() with torch.save or "
            "safetensors."
        ) from None
    candidates = [saved, *(saved[key] for key in _KEYS if key in saved)] if isinstance(saved, Mapping) else []
    for candidate in candidates:
        if _is_state_dict(candidate):
            return dict(candidate)
    keys = ", ".join(map(str, list(saved)[:5])) if isinstance(saved, Mapping) else type(saved).__name__
    raise ValueError(f"{path} holds no state dict, under none of the keys {', '.join(_KEYS)}; it holds {keys}.")


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Fill a network with weights whose names may have the prefix of a wrapper, such as `module.`.

    Args:
        network: changed in place.
        weights: every parameter and buffer; `num_batches_tracked`, which old files lack, is left as it is.
        source: the file, for messages.

    Raises:
        ValueError: if names or shapes do not fit, naming the first three.
    """
    expected = network.state_dict()
    named = _without_prefix(weights, expected)
    missing = [key for key in expected if key not in named and not key.endswith("num_batches_tracked")]
    unknown = [key for key in named if key not in expected]
    if missing or unknown:
        texts = [f"{what} {_first(keys)}" for what, keys in (("lacks", missing), ("also has", unknown)) if keys]
        raise ValueError(
            f"{source} does not fit {type(network).__name__}: it {' and '.join(texts)}. Build the network that was "
            "trained, with its number of classes."
        )
    other = [key for key, tensor in named.items() if tensor.shape != expected[key].shape]
    if other:
        shapes = [f"{key} is {tuple(named[key].shape)}, not {tuple(expected[key].shape)}" for key in other]
        raise ValueError(
            f"{source} does not fit {type(network).__name__}: {_first(shapes, '; ')}. Build the network that was "
            "trained, with its number of classes."
        )
    network.load_state_dict(named, strict=False)


def _is_state_dict(candidate: Any) -> bool:
    return isinstance(candidate, Mapping) and bool(candidate) and all(isinstance(v, Tensor) for v in candidate.values())


def _without_prefix(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Remove prefixes that all names share, one after another, until the names fit."""
    named = dict(weights)
    while not set(named) & set(expected):
        prefix = next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in named)), None)
        if prefix is None:
            return weights
        named = {key.removeprefix(prefix): tensor for key, tensor in named.items()}
    return named


def _first(texts: list[str], separator: str = ", ") -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return separator.join(texts[:_NAMED]) + more
