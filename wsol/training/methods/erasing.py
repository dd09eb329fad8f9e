"""Random erasing."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from wsol.networks.classifier import Classifier
from wsol.networks.pixels import mean_color, to_pixels
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class RandomErasing(TrainingMethod):
    """Random erasing: one rectangle of some images is painted over; a baseline augmentation for localization methods.

    Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1; the defaults are the paper's.

    Differs from the paper in the aspect ratio, which is drawn among those at which the rectangle fits; the paper draws
    area and ratio again until it fits, which makes large areas rarer. Sides are rounded to whole pixels. In images that
    are not square the ratio is relative to the image's own.

    Attributes:
        probability: probability that an image is erased, in [0, 1].
        min_area: least share of the image's area, above 0; the share is drawn uniformly up to `max_area`.
        max_area: largest share, at most 1.
        min_aspect: least height / width, in (0, 1]; the ratio is drawn uniformly up to 1 / min_aspect.
        fill: `random`: each pixel and channel is uniform among the 256 values; `mean`: the colour that the network
            normalizes to zero.
    """

    probability: float = 0.5
    min_area: float = 0.02
    max_area: float = 0.4
    min_aspect: float = 0.3
    fill: Literal["random", "mean"] = "random"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability of RandomErasing must lie in [0, 1], got {self.probability}.")
        if not 0 < self.min_area <= self.max_area <= 1:
            raise ValueError(
                "RandomErasing needs 0 < min_area <= max_area <= 1, got "
                f"min_area {self.min_area}, max_area {self.max_area}."
            )
        if not 0 < self.min_aspect <= 1:
            raise ValueError(f"min_aspect of RandomErasing must lie in (0, 1], got {self.min_aspect}.")
        if self.fill not in ("random", "mean"):
            raise ValueError(f"fill of RandomErasing must be random or mean, got {self.fill!r}.")

    def erased(self, count: int, height: int, width: int, generator: Generator) -> Tensor:
        """Draw the erased pixels, (count, 1, height, width) bool on the CPU."""
        # All five numbers are drawn for every image, erased or not. In float64 a number below 1 times a length stays
        # below the length.
        chosen, area, aspect, *places = torch.rand(5, count, generator=generator, dtype=torch.float64)
        area = self.min_area + (self.max_area - self.min_area) * area
        least = area.clamp(min=self.min_aspect)  # at height / width = area the rectangle is as wide as the image
        aspect = least + (1 / least - least) * aspect
        rows, columns = (
            _intervals(side, length, place)
            for side, length, place in zip(
                ((area * aspect).sqrt(), (area / aspect).sqrt()), (height, width), places, strict=True
            )
        )
        return (chosen < self.probability)[:, None, None, None] & rows[:, None, :, None] & columns[:, None, None, :]

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the cross entropy and the logits (N, K) of the erased images."""
        pixels = to_pixels(classifier, batch.images)
        count, _, height, width = pixels.shape
        erased = self.erased(count, height, width, batch.generator)
        if self.fill == "mean":
            shown = torch.where(erased.to(pixels.device), mean_color(classifier).to(pixels), pixels)
        else:
            noise = torch.randint(256, (int(erased.sum()), 3), generator=batch.generator).to(pixels) / 255
            shown = pixels.clone()
            shown.permute(0, 2, 3, 1)[erased[:, 0].to(pixels.device)] = noise
        return super().loss(classifier, replace(batch, images=shown))


def _intervals(sides: Tensor, length: int, places: Tensor) -> Tensor:
    """Return N intervals, (N, length) bool, of relative lengths in [0, 1] at relative places in [0, 1)."""
    extents = (sides * length).round().long().clamp(1, length)
    starts = (places * (length - extents + 1)).long()
    pixels = torch.arange(length)
    return (pixels >= starts[:, None]) & (pixels < (starts + extents)[:, None])
