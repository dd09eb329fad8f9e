"""Define the interface of faithfulness measures, and apply them to a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.explain.explained_batch import ExplainedBatch
from wsol.machine import THIS_MACHINE, Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.protocol import TIGHT
from wsol.scoring.score_map import to_score_maps

_IMAGES = 16  # images per batch; measures make many changed copies of each


@dataclass(frozen=True)
class Column:
    """Range and direction of a measure's column.

    Attributes:
        lowest: lower bound of the values.
        highest: upper bound of the values.
        better: which values favour the map.
    """

    lowest: float
    highest: float
    better: Literal["higher", "lower", "near zero"]


class FaithfulnessMeasure(Protocol):
    """A measure of whether a map explains the network's decision, without boxes. See `wsol/explain/faithfulness`."""

    columns: ClassVar[Mapping[str, Column]]

    def __call__(self, subject: ExplainedBatch) -> dict[str, NDArray[np.float64]]:
        """Measure one batch.

        Returns:
            Column -> (N,), one value per image. NaN where the measure is undefined; a mean must leave such images out
            and report their number.
        """


def measure_faithfulness(
    network: nn.Module,
    images: ImageSet,
    method: MapMethod,
    maps: StoredMaps,
    measure: FaithfulnessMeasure,
    machine: Machine = THIS_MACHINE,
) -> pd.DataFrame:
    """Measure every image of a split.

    Whatever the protocol of the boxes, score maps are upsampled to the image with bicubic interpolation, then min-max
    normalized.

    Args:
        network: network that made the maps; moved to the device of `machine`.
        images: the split.
        method: method that made the maps.
        maps: map of each image's ground-truth class, in the order of the images.
        measure: measure to apply.
        machine: device, decoding processes and progress bar. Its batch size has no effect: 16 images are read at a
            time, and the network gets their changed copies in batches of `ExplainedBatch.batch_size`.

    Returns:
        A row per image: image_id and the measure's columns; NaN where the measure is undefined.

    Raises:
        ValueError: if the maps belong to other images.
    """
    if images.image_ids != maps.image_ids.tolist():
        raise ValueError("The stored maps belong to other images than this split. Delete the file and run again.")
    device = machine.device
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images.preload()
    loader: DataLoader = DataLoader(images, batch_size=_IMAGES, num_workers=machine.workers, collate_fn=collate)
    frames, start = [], 0
    label, hidden = f"{type(measure).__name__} of {type(method).__name__}", None if machine.progress else True
    for batch in tqdm(loader, desc=label, unit="batch", disable=hidden, leave=False):
        raw = maps.activation_maps(slice(start, start + len(batch.image_ids)))
        start += len(batch.image_ids)
        height, width = batch.images.shape[-2:]
        score_maps = torch.from_numpy(to_score_maps(raw, (height, width), TIGHT, batch.image_ids)).float()
        subject = ExplainedBatch(
            network,
            batch.images.to(device),
            batch.image_ids,
            batch.class_ids.to(device),
            method,
            raw.to(device),
            score_maps.to(device),
        )
        frames.append(pd.DataFrame({"image_id": batch.image_ids, **measure(subject)}))
    return pd.concat(frames, ignore_index=True)
