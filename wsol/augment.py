"""Random crops and mirror images, drawn for a whole batch."""

import torch
from torch import Generator, Tensor


def augment(images: Tensor, crop_size: int, generator: Generator) -> Tensor:
    """Crop each image at random, and mirror every other one.

    Drawn on the batch from one given generator, and not by the loader's workers, so that a resumed training sees the
    very images that it would have seen.

    Args:
        images: (N, C, S, S) with S >= crop_size.
        crop_size: side of the square crop in pixels.
        generator: on the CPU, whatever the images' device.

    Returns:
        (N, C, crop_size, crop_size), channels last in memory as `collate` lays them out.

    Raises:
        ValueError: if the images are smaller than the crop.
    """
    height, width = images.shape[-2:]
    if height < crop_size or width < crop_size:
        raise ValueError(f"Cannot crop {crop_size} x {crop_size} out of training images of {height} x {width} pixels.")
    tops = torch.randint(height - crop_size + 1, (len(images),), generator=generator).tolist()
    lefts = torch.randint(width - crop_size + 1, (len(images),), generator=generator).tolist()
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).tolist()
    crops = []
    for image, top, left, mirror in zip(images, tops, lefts, mirrored, strict=True):
        crop = image[:, top : top + crop_size, left : left + crop_size]
        crops.append(crop.flip(-1) if mirror else crop)
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)
