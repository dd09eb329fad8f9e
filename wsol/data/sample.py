"""Samples (images with annotations): batches, and resizing to the size that a network reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wsol.geometry import Size, as_boxes, resize_boxes


@dataclass(frozen=True)
class Sample:
    """One image with its annotations. Images stay uint8 until the device; the backbone normalizes them."""

    image: NDArray[np.uint8]  # (H, W, 3), RGB
    class_id: int
    image_id: str  # unique in its data set, stable between runs: what pairs two runs image by image
    boxes: NDArray[np.float32] = field(default_factory=lambda: as_boxes([]))  # (B, 4), edges, pixels of `image`
    mask: NDArray[np.bool_] | None = None  # (H, W), True on the object
    part_boxes: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # part name -> (4,)
    part_points: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # part name -> (2,), x and y

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def without_boxes(self) -> "Sample":
        """Return the same image with its class label alone: all that weakly supervised training may see."""
        return replace(self, boxes=as_boxes([]), mask=None, part_boxes={}, part_points={})


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked."""

    images: Tensor  # (N, 3, H, W) uint8
    class_ids: Tensor  # (N,) int64
    image_ids: list[str]
    boxes: list[NDArray[np.float32]]  # N arrays (B, 4)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size into a batch.

    Raises:
        ValueError: if two images differ in size.
    """
    sizes = {sample.size for sample in samples}
    if len(sizes) != 1:
        raise ValueError(f"A batch needs images of one size, got {sorted(sizes)}.")
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    return Batch(
        images=images.permute(0, 3, 1, 2),  # channels last in memory, the layout that convolutions are fastest in
        class_ids=torch.tensor([sample.class_id for sample in samples]),
        image_ids=[sample.image_id for sample in samples],
        boxes=[sample.boxes for sample in samples],
    )


def resize_sample(sample: Sample, size: Size) -> Sample:
    """Resize to exactly (height, width), the aspect ratio not kept; boxes, mask and parts go along.

    Antialiased bilinear filter (Pillow's), as in the training code of Choe et al., CVPR 2020.
    """
    if sample.size == tuple(size):
        return sample
    height, width = size
    image = Image.fromarray(sample.image).resize((width, height), Image.Resampling.BILINEAR)
    return resize_annotations(replace(sample, image=np.asarray(image)), sample.size)


def resize_annotations(sample: Sample, from_size: Size) -> Sample:
    """Bring boxes, mask and parts, which are on a grid of (height, width), to the image's own."""
    height, width = size = sample.size
    scale = np.array([width / from_size[1], height / from_size[0]], dtype=np.float32)
    mask = sample.mask
    return replace(
        sample,
        boxes=resize_boxes(sample.boxes, from_size, size),
        mask=None
        if mask is None
        else np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)),
        part_boxes={name: resize_boxes(box[None], from_size, size)[0] for name, box in sample.part_boxes.items()},
        part_points={name: point * scale for name, point in sample.part_points.items()},
    )
