"""Find the units of a class, which are the channels with its largest weights, and the images that excite them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.geometry import Size
from wsol.machine import THIS_MACHINE, Machine
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.networks.classifier import Classifier
from wsol.networks.linear_head import check_reads_channels
from wsol.scoring.protocol import ZHOU2016
from wsol.scoring.score_map import to_score_maps

_SHARE = 0.5  # score threshold of a crop, relative to the peak

CROP_TEXT = (
    "above each crop: the class of its image, and the unit's peak there; of equal peaks the higher mean comes first; "
    f"a crop: where the unit's map, upsampled to the image, stays above {_SHARE:.0%} of its peak around the peak; "
    "this is not the receptive field by kernel sizes, which is often larger than the image"
)


@dataclass(frozen=True)
class ClassUnit:
    """A channel of the last layer before pooling, and its weight for one class."""

    unit: int  # index of the channel
    weight: float  # entry of the channel in the class's row of the linear layer


@dataclass(frozen=True)
class Excited:
    """An image that excites a unit."""

    index: int  # index of the image in the image set
    peak: float  # the unit's largest activation on the image
    box: NDArray[np.float32]  # (4,) edges on the prepared image; zeros where the unit does not fire


def class_units(classifier: Classifier, class_id: int, count: int) -> list[ClassUnit]:
    """Return the units with the largest weights for a class; of equal weights, the lower index comes first.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 5, which calls
        them
    class-specific units.

    Args:
        classifier: a classifier whose head pools the channels of the backbone.
        class_id: index of the class.
        count: number of units, in [1, C].

    Raises:
        ValueError: if the class does not exist, count is not in [1, C], or the head reads other features than the
            backbone's.
    """
    check_reads_channels(classifier, "a class's units")
    weights = classifier.class_weights().detach().cpu()
    if not 0 <= class_id < len(weights):
        raise ValueError(f"class {class_id} does not exist; the classifier has the classes 0 ... {len(weights) - 1}.")
    if not 1 <= count <= weights.shape[1]:
        raise ValueError(f"units must lie in [1, {weights.shape[1]}], the number of channels; got {count}.")
    values, units = weights[class_id].sort(descending=True, stable=True)
    pairs = zip(units[:count].tolist(), values[:count].tolist(), strict=True)
    return [ClassUnit(unit, weight) for unit, weight in pairs]


def most_exciting(
    classifier: Classifier, images: ImageSet, units: Sequence[int], count: int, machine: Machine = THIS_MACHINE
) -> dict[int, list[Excited]]:
    """Find the images with the highest peaks of each unit, highest first, and the place where the unit fires.

    Of equal peaks the higher mean comes first, then the earlier image: under ReLU6 many peaks are exactly 6.

    The place is `excited_box`. Differs from Zhou et al., CVPR 2016, who show estimated receptive fields, measured by
    occluding images as in "Object Detectors Emerge in Deep Scene CNNs", ICLR 2015; here the size follows from the
    unit's own map.

    Args:
        classifier: moved to the device of `machine`.
        images: images to search, of any class; an image counts once for each unit.
        units: channel indices.
        count: number of images for each unit; fewer if `images` has fewer.
        machine: device, batch size, decoding processes and progress bar.

    Returns:
        Unit -> up to `count` images.

    Raises:
        ValueError: if count is below 1.
    """
    if count < 1:
        raise ValueError(f"crops must be at least 1, got {count}.")
    device = machine.device
    classifier = classifier.to(device)
    loader: DataLoader = DataLoader(
        images, batch_size=machine.batch_size, num_workers=machine.workers, collate_fn=collate
    )
    chosen = torch.tensor(list(units), device=device)
    places, maps = [torch.empty(0, device=device)] * 2
    seen = 0
    size: Size = (0, 0)
    hidden = None if machine.progress else True
    for batch in tqdm(loader, desc=f"units on {images.name}", unit="batch", disable=hidden):
        features = forward_pass(classifier, batch.images.to(device), [LAST], []).activation(LAST)[:, chosen]
        here = torch.arange(seen, seen + len(features), device=device)[:, None].expand(-1, len(chosen))
        if seen:
            here, features = torch.cat([places, here]), torch.cat([maps, features])
        # Sorted by the minor key first, and stable, so that of equal images the earlier one stays first.
        order = features.mean(dim=(2, 3)).sort(dim=0, descending=True, stable=True).indices
        peaks = features.amax(dim=(2, 3)).gather(0, order)
        order = order.gather(0, peaks.sort(dim=0, descending=True, stable=True).indices)[:count]
        places = here.gather(0, order)
        maps = features.gather(0, order[:, :, None, None].expand(-1, -1, *features.shape[2:]))
        seen += len(batch.images)
        size = (int(batch.images.shape[-2]), int(batch.images.shape[-1]))
    return {
        unit: [
            Excited(int(places[rank, column]), float(maps[rank, column].max()), excited_box(maps[rank, column], size))
            for rank in range(len(places))
        ]
        for column, unit in enumerate(units)
    }


def excited_box(activation_map: Tensor, size: Size) -> NDArray[np.float32]:
    """Return the box around a unit's peak, where its bilinearly upsampled map exceeds half of the peak.

    Args:
        activation_map: (h, w) map of one unit on one image.
        size: (H, W) of the image.

    Returns:
        (4,) edges on the image, of the 8-connected component that contains the peak; zeros if the peak is not above 0.
    """
    (score_map,) = to_score_maps(activation_map[None], size, ZHOU2016)
    if score_map.max() <= 0:
        return np.zeros(4, np.float32)
    components = label(score_map > _SHARE, connectivity=2)
    rows, columns = np.nonzero(components == components.flat[score_map.argmax()])
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
