"""Define what a faithfulness measure is, and apply measures to a split."""

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
from wsol.maps.base_map import MapMethod
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.protocol import TIGHT
from wsol.scoring.score_map import to_score_maps


@dataclass(frozen=True)
class Column:
    """How to read a column.

    Attributes:
        lowest: no value lies below.
        highest: no value lies above.
        better: which values speak for the map.
    """

    lowest: float
    highest: float
    better: Literal["higher", "lower", "near zero"]


class FaithfulnessMeasure(Protocol):
    """Unlike localization, it needs no box: the network itself is the judge. See `wsol/explain/faithfulness`."""

    columns: ClassVar[Mapping[str, Column]]

    def __call__(self, subject: ExplainedBatch) -> dict[str, NDArray[np.float64]]:
        """Measure one batch.

        Returns:
            Column -> (N,), one value an image. NaN where the measure is undefined: leave it out of the mean, and say
            how many were left out.
        """


def measure_faithfulness(
    network: nn.Module,
    images: ImageSet,
    method: MapMethod,
    maps: StoredMaps,
    measure: FaithfulnessMeasure,
    *,
    device: torch.device,
    batch_size: int = 16,
    workers: int = 0,
    progress: str = "",
) -> pd.DataFrame:
    """Measure every image of a split.

    Maps are read as every measure needs them, whatever the protocol of the boxes is: upsampled to the image with
    bicubic interpolation, then min-max normalized.

    Args:
        network: what made the maps; moved to `device`.
        images: the split.
        method: what made the maps.
        maps: one for each image, in the same order, of its true class.
        measure: what is asked.
        device: where to compute.
        batch_size: images at a time; the network gets their changed copies in batches of `ExplainedBatch`'s own.
        workers: processes that decode; 0 decodes in this one.
        progress: what a progress bar says; empty for none.

    Returns:
        A row per image: image_id and the measure's columns; NaN where it is undefined.

    Raises:
        ValueError: if the maps are of other images.
    """
    if images.image_ids != maps.image_ids.tolist():
        raise ValueError("The stored maps are of other images than the split holds; delete them to have them remade.")
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images.preload()
    loader: DataLoader = DataLoader(images, batch_size=batch_size, num_workers=workers, collate_fn=collate)
    activation_maps, frames, start = maps.activation_maps(), [], 0
    bar = tqdm(loader, desc=progress, unit="batch", disable=None if progress else True, leave=False)
    for batch in bar:
        raw = activation_maps[start : start + len(batch.image_ids)]
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
