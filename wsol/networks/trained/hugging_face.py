"""Load an image classifier from a Hugging Face folder on disk, as timm or transformers saved it."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import timm
from timm.data import infer_imagenet_subset
from torch import Tensor, nn

from wsol.atomic_files import read_json
from wsol.data.class_names import imagenet_classes
from wsol.networks.checkpoint import load_weights, read_weights
from wsol.networks.library_networks import check_name
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork

_FILES = ("model.safetensors", "pytorch_model.bin")


def hugging_face_classifier(folder: str | Path) -> TrainedNetwork:
    """Load the network of a folder with `config.json` and `model.safetensors` or `pytorch_model.bin`.

    Folders of timm state an architecture, those of transformers a type of model. Weights are read alone; code in the
    folder is never run.

    Args:
        folder: on this machine; nothing is downloaded.

    Raises:
        FileNotFoundError: if a file is missing.
        ImportError: if transformers saved the folder and is not installed.
        ValueError: if the folder states no network that the library has, or the weights do not fit.
    """
    place = Path(folder)
    if not (place / "config.json").is_file():
        raise FileNotFoundError(f"{place} is no Hugging Face folder: config.json is missing; set network.folder.")
    config = read_json(place / "config.json")
    file = next((place / name for name in _FILES if (place / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{place} has no weights: looked for {' and '.join(_FILES)}.")
    load = _from_timm if "architecture" in config else _from_transformers
    return load(re.sub(r"[^\w.+]+", "_", place.resolve().name), place, file, config)


def _from_timm(name: str, place: Path, file: Path, config: Mapping[str, Any]) -> TrainedNetwork:
    check_name(str(config["architecture"]), timm.list_models(), "timm")
    own = config.get("pretrained_cfg", {})
    count = config.get("num_classes", own.get("num_classes", 1000))
    network: Any = timm.create_model(str(config["architecture"]), pretrained=False, num_classes=int(count))
    load_weights(network, read_weights(file), str(file))
    usual = network.pretrained_cfg
    normalized = NormalizedNetwork(network, own.get("mean", usual["mean"]), own.get("std", usual["std"]))
    return TrainedNetwork(
        name, normalized, int(own.get("input_size", usual["input_size"])[-1]), _timm_names(network, config)
    )


def _timm_names(network: Any, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names that the folder gives its classes, else those of a subset of ImageNet with as many."""
    labels = config.get("label_names")
    if labels:
        texts = config.get("label_descriptions") or {}
        return tuple(f"{label} {texts[label]}" if label in texts else str(label) for label in labels)
    subset = infer_imagenet_subset(network)
    return None if subset is None else imagenet_classes(subset)


class LogitsOf(nn.Module):
    """A network of transformers that returns its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images (N, 3, H, W) to logits (N, K)."""
        return self.model(pixel_values=images).logits


def _are_names(labels: Collection[str]) -> bool:
    """Return whether labels are names, and not the numbers that transformers writes without any."""
    return bool(labels) and not all(re.fullmatch(r"LABEL_\d+", label) for label in labels)


def _from_transformers(name: str, place: Path, file: Path, config: Mapping[str, Any]) -> TrainedNetwork:
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError:
        raise ImportError(
            f"{place} was saved by transformers, which is not installed: pip install transformers."
        ) from None
    settings = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    network = AutoModelForImageClassification.from_config(settings, trust_remote_code=False)
    load_weights(network, read_weights(file), str(file))
    images = read_json(place / "preprocessor_config.json") if (place / "preprocessor_config.json").is_file() else {}
    size = images.get("crop_size") or images.get("size") or config.get("image_size", 224)
    while isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    mean, std = images.get("image_mean", (0.5, 0.5, 0.5)), images.get("image_std", (0.5, 0.5, 0.5))
    names = config.get("id2label") or {}
    return TrainedNetwork(
        name,
        NormalizedNetwork(LogitsOf(network), mean, std),
        int(size),
        tuple(names[key] for key in sorted(names, key=int)) if _are_names(names.values()) else None,
    )
