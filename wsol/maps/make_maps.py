"""Run a trained classifier over a split once: make predictions, and the maps of every method."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.geometry import Size
from wsol.machine import THIS_MACHINE, Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.classifier import Classifier
from wsol.networks.frozen_trunk import pool_ahead, reading
from wsol.networks.stored_features import FeatureSet


def make_maps(
    classifier: nn.Module,
    images: ImageSet | FeatureSet,
    maps: Mapping[str, MapMethod],
    machine: Machine = THIS_MACHINE,
    places: range | None = None,
) -> tuple[pd.DataFrame, dict[str, StoredMaps]]:
    """Classify every image and make its maps for the ground-truth class; the trunk runs once per image.

    Args:
        classifier: moved to the device of `machine`.
        images: one split, or its stored features, which take the place of the trunk of a `Classifier`.
        maps: name -> map method; may be empty. Only methods that `read_features` can be made from stored features.
        machine: device, batch size, decoding processes and progress bar.
        places: the images to read, decoded when their turn comes; None: all, kept in memory if they fit.

    Returns:
        A frame with a row per image (image_id, class_id, class_rank, top5_class_ids, true_class_probability, boxes: the
        ground-truth boxes on the prepared image, flat), whose `attrs` are `size`, the (height, width) of the prepared
        images, and `seconds`, the duration of the forward passes, with the trunk's where its features were stored; and
        the maps by name.

    Raises:
        ValueError: for a map with NaN or infinity, naming its method and image; or for a method that cannot be made
            from stored features.
    """
    device = machine.device
    classifier = classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size: Size | None = None
    seconds = 0.0
    if isinstance(images, FeatureSet):
        if not isinstance(classifier, Classifier) or not all(map(read_features, maps.values())):
            raise ValueError(
                f"Stored features give a wsol Classifier's maps at its trunk's output, got {', '.join(maps)} of a "
                f"{type(classifier).__name__}; give the images."
            )
        size, seconds = images.size, images.seconds
        images = images if maps else pool_ahead(classifier, images)
        classifier = reading(classifier, images)
        loader: Iterable[Any] = images.batches(machine.batch_size)
        steps = math.ceil(len(images) / machine.batch_size)
    else:
        if places is None:
            images.preload()
        loader = DataLoader(
            images if places is None else Subset(images, places),
            batch_size=machine.batch_size,
            num_workers=machine.workers,
            collate_fn=collate,
        )
        steps = len(loader)
    layers = [layer for method in maps.values() for layer in method.target_layers]
    leaves = [layer for method in maps.values() if method.needs == "gradient" for layer in method.target_layers]
    frames, stored = [], {name: list[StoredMaps]() for name in maps}
    hidden = None if machine.progress else True
    part = "" if places is None else f", {places.start + 1:,} to {places.stop:,} of {len(images):,}"
    title = f"maps of {images.name}{part}"
    bar = tqdm(loader, desc=title, total=steps, unit="batch", disable=hidden, leave=False)
    for batch in bar:
        class_ids = batch.class_ids.to(device)
        begun = _now(device)
        forward = forward_pass(classifier, batch.images.to(device), layers, leaves)
        seconds += _now(device) - begun
        frame = _predictions(forward.logits.detach().float(), class_ids)
        frames.append(frame.assign(image_id=batch.image_ids, boxes=[boxes.ravel() for boxes in batch.boxes]))
        for name, method in maps.items():
            bar.set_postfix_str(name)  # some methods take minutes
            begun = _now(device)
            activation_maps = method(forward, class_ids)
            duration = _now(device) - begun
            finite = activation_maps.isfinite().flatten(1).all(dim=1)
            if not finite.all():
                image_id = batch.image_ids[int(finite.logical_not().nonzero()[0])]
                raise ValueError(
                    f"The {name} map of image {image_id!r} holds NaN or infinity. "
                    "Train the classifier again at a lower learning rate, or leave the method out."
                )
            stored[name].append(StoredMaps.of(batch.image_ids, activation_maps, duration))
    predictions = pd.concat(frames, ignore_index=True)
    predictions.attrs = {"size": list(size or batch.images.shape[-2:]), "seconds": seconds}
    return predictions, {name: StoredMaps.concatenate(parts) for name, parts in stored.items()}


def read_features(method: MapMethod) -> bool:
    """Return True if a method reads no more than the trunk's output and the layers after it.

    A method without the attribute `reads_images` is taken to read images.
    """
    inside = any(layer.startswith(f"{LAST}.") for layer in method.target_layers)
    return not inside and not getattr(method, "reads_images", True)


def _now(device: torch.device) -> float:
    if device.type == "cuda":  # kernels run asynchronously
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _predictions(logits: Tensor, class_ids: Tensor) -> pd.DataFrame:
    true_logit = logits.gather(1, class_ids[:, None])
    # Ties count against the true class: a collapsed network with equal logits must not look right.
    rank = (logits >= true_logit).sum(dim=1) - 1
    top5 = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return pd.DataFrame(
        {
            "class_id": class_ids.cpu().numpy(),
            "class_rank": rank.cpu().numpy(),
            "top5_class_ids": top5.cpu().tolist(),
            "true_class_probability": logits.softmax(dim=1).gather(1, class_ids[:, None])[:, 0].cpu().numpy(),
        }
    )
