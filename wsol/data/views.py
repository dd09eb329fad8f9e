"""Cut the same views out of an image in every epoch and run: its centre, and crops that are drawn once."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Views:
    """Fixed views of training images, in place of a new random crop in every step.

    View 0 is the centre crop. Each further view is a random crop, mirrored with probability 1/2, drawn from the image's
    id and the number of the view alone, so that more views keep the first ones.

    Attributes:
        size: side of the square crops in pixels.
        count: number of views of each image.

    Raises:
        ValueError: if size or count is below 1.
    """

    size: int
    count: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or self.count < 1:
            raise ValueError(f"size and count of views must be at least 1, got {self.size} and {self.count}.")

    def draw(self, images: int, generator: Generator) -> Tensor:
        """Draw the number of a view for each image, (N,) int64, from a generator on the CPU."""
        return torch.randint(self.count, (images,), generator=generator)

    def cut(self, images: Tensor, image_ids: Sequence[str], views: Tensor) -> Tensor:
        """Cut one view out of each image.

        Args:
            images: (N, C, H, W), each side at least `size`.
            image_ids: N ids.
            views: (N,) int64 in 0 ... count - 1.

        Returns:
            (N, C, size, size), channels last in memory like the output of `collate`.

        Raises:
            ValueError: if the images are smaller than the crop.
        """
        room = (images.shape[2] - self.size, images.shape[3] - self.size)
        if min(room) < 0:
            raise ValueError(
                f"Cannot crop {self.size} x {self.size} out of images of {images.shape[2]} x {images.shape[3]} pixels."
            )
        crops = []
        for image, image_id, view in zip(images, image_ids, views.tolist(), strict=True):
            top, left, mirrored = _place(image_id, view, room)
            crop = image[:, top : top + self.size, left : left + self.size]
            crops.append(crop.flip(-1) if mirrored else crop)
        return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def _place(image_id: str, view: int, room: tuple[int, int]) -> tuple[int, int, bool]:
    """Return the top row and left column of a view, and whether it is mirrored."""
    if view == 0:
        return room[0] // 2, room[1] // 2, False
    generator = np.random.default_rng([zlib.crc32(image_id.encode()), view])
    top, left = (int(generator.integers(free + 1)) for free in room)
    return top, left, bool(generator.random() < 0.5)
