"""Run a trained classifier over a split once: make predictions, and the maps of every method."""

import time
from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.machine import THIS_MACHINE, Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import forward_pass
from wsol.maps.stored_maps import StoredMaps


def make_maps(
    classifier: nn.Module,
    images: ImageSet,
    maps: Mapping[str, MapMethod],
    machine: Machine = THIS_MACHINE,
    places: range | None = None,
) -> tuple[pd.DataFrame, dict[str, StoredMaps]]:
    """Classify every image and make its maps for the ground-truth class; the trunk runs once per image.

    Args:
        classifier: moved to the device of `machine`.
        images: one split.
        maps: name -> map method; may be empty.
        machine: device, batch size, decoding processes and progress bar.
        places: the images to read, decoded when their turn comes; None: all, kept in memory if they fit.

    Returns:
        A frame with a row per image (image_id, class_id, class_rank, top5_class_ids, true_class_probability, boxes: the
        ground-truth boxes on the prepared image, flat), whose `attrs` are `size`, the (height, width) of the prepared
        images, and `seconds`, the duration of the forward passes; and the maps by name.

    Raises:
        ValueError: for a map with NaN or infinity, naming its method and image.
    """
    device = machine.device
    classifier = classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if places is None:
        images.preload()
    loader: DataLoader = DataLoader(
        images if places is None else Subset(images, places),
        batch_size=machine.batch_size,
        num_workers=machine.workers,
        collate_fn=collate,
    )
    layers = [layer for method in maps.values() for layer in method.target_layers]
    leaves = [layer for method in maps.values() if method.needs == "gradient" for layer in method.target_layers]
    frames, stored, seconds = [], {name: list[StoredMaps]() for name in maps}, 0.0
    hidden = None if machine.progress else True
    part = "" if places is None else f", {places.start + 1:,} to {places.stop:,} of {len(images):,}"
    bar = tqdm(loader, desc=f"maps of {images.name}{part}", unit="batch", disable=hidden, leave=False)
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
    predictions.attrs = {"size": list(batch.images.shape[-2:]), "seconds": seconds}
    return predictions, {name: StoredMaps.concatenate(parts) for name, parts in stored.items()}


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
