"""One pass of a trained classifier over a split: predictions, and the maps of every method."""

import time
from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import forward_pass
from wsol.maps.stored_maps import StoredMaps


def make_maps(
    classifier: nn.Module,
    images: ImageSet,
    maps: Mapping[str, MapMethod],
    *,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
    progress: bool = True,
) -> tuple[pd.DataFrame, dict[str, StoredMaps]]:
    """Classify every image and make its maps for the ground-truth class; the trunk runs once per image.

    Args:
        classifier: moved to `device`.
        images: one split.
        maps: name -> map method; none is fine.
        device: where to compute.
        batch_size: images at a time.
        workers: processes that decode; 0 decodes in this one.
        progress: show a bar.

    Returns:
        A frame with a row per image (image_id, class_id, class_rank, top5_class_ids, true_class_probability, boxes: the
        true boxes on the prepared image, flat) and `attrs`: `size`, the prepared images' (height, width), and
        `seconds`, what the forward passes took; and the maps by name.

    Raises:
        ValueError: for a map with NaN or infinity, naming its method and image.
    """
    classifier = classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images.preload()
    loader: DataLoader = DataLoader(images, batch_size=batch_size, num_workers=workers, collate_fn=collate)
    layers = [layer for method in maps.values() for layer in method.target_layers]
    leaves = [layer for method in maps.values() if method.needs == "gradient" for layer in method.target_layers]
    frames, found, seconds = [], {name: list[StoredMaps]() for name in maps}, 0.0
    hidden = None if progress else True
    bar = tqdm(loader, desc=f"maps of {images.name}", unit="batch", disable=hidden, leave=False)
    for batch in bar:
        class_ids = batch.class_ids.to(device)
        begun = _now(device)
        forward = forward_pass(classifier, batch.images.to(device), layers, leaves)
        seconds += _now(device) - begun
        frame = _predictions(forward.logits.detach().float(), class_ids)
        frames.append(frame.assign(image_id=batch.image_ids, boxes=[boxes.ravel() for boxes in batch.boxes]))
        for name, method in maps.items():
            bar.set_postfix_str(name)  # some take minutes
            begun = _now(device)
            made = method(forward, class_ids)
            taken = _now(device) - begun
            finite = made.isfinite().flatten(1).all(dim=1)
            if not finite.all():
                image_id = batch.image_ids[int(finite.logical_not().nonzero()[0])]
                raise ValueError(f"The {name} map of image {image_id!r} holds NaN or infinity.")
            found[name].append(StoredMaps.of(batch.image_ids, made, taken))
    predictions = pd.concat(frames, ignore_index=True)
    predictions.attrs = {"size": list(batch.images.shape[-2:]), "seconds": seconds}
    return predictions, {name: StoredMaps.concatenate(parts) for name, parts in found.items()}


def _now(device: torch.device) -> float:
    if device.type == "cuda":  # which works on while this process goes ahead
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
