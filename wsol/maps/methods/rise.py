"""RISE."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsol.maps.base_map import MapsOfClasses, Needs
from wsol.maps.forward_pass import ForwardPass
from wsol.maps.perturbed_scores import CHUNK, chunks, scores
from wsol.networks.pixels import mean_color, to_pixels


@dataclass(frozen=True)
class RISE(MapsOfClasses):
    """RISE: the mean of random masks, each weighted by the class probability of the masked image.

        M = Σ_m P(class | X ∘ M_m) M_m / (count · p)

    Source: Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018. Masks are
    drawn on a coarse grid, upsampled bilinearly to a little more than the image, and cropped at a random place. Hidden
    pixels get the network's mean colour. All images get the same masks, so that a map does not depend on its batch.

    Attributes:
        masks: number of masks, which is the number of forward passes per image; the paper uses 4,000 for VGG-16 and
            8,000 for ResNet-50.
        cells: side of the coarse grid; 7 in the paper.
        keep: probability that a cell is visible; 0.5 in the paper.
        seed: seed of the masks.
    """

    needs: ClassVar[Needs] = "calls"

    masks: int = 4000
    cells: int = 7
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.masks < 1 or self.cells < 1 or not 0 < self.keep < 1:
            raise ValueError(
                "RISE needs masks and cells of at least 1 and keep within (0, 1), got "
                f"masks {self.masks}, cells {self.cells}, keep {self.keep}."
            )

    @property
    def target_layers(self) -> tuple[str, ...]:
        """Empty, because the method reads images and probabilities only."""
        return ()

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, H, W) maps of (N, K) class ids, >= 0."""
        images, generator = to_pixels(forward.network, forward.images), torch.Generator().manual_seed(self.seed)
        height, width = images.shape[-2:]
        hidden = mean_color(forward.network)
        maps = torch.zeros(*class_ids.shape, height, width, device=images.device)
        for part in chunks(self.masks, CHUNK):
            masks = self.draw(part.stop - part.start, height, width, generator).to(images.device)
            for n, classes in enumerate(class_ids):
                probability = scores(forward.network, hidden + masks * (images[n] - hidden)).softmax(dim=1)[:, classes]
                maps[n] += torch.einsum("mk,mhw->khw", probability.float(), masks[:, 0])
        return maps / (self.masks * self.keep)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw (count, 1, height, width) float masks in [0, 1]."""
        cell = (-(-height // self.cells), -(-width // self.cells))
        coarse = (torch.rand(count, 1, self.cells, self.cells, generator=generator) < self.keep).float()
        size = ((self.cells + 1) * cell[0], (self.cells + 1) * cell[1])
        large = interpolate(coarse, size, mode="bilinear", align_corners=False)
        tops = torch.randint(cell[0], (count,), generator=generator).tolist()
        lefts = torch.randint(cell[1], (count,), generator=generator).tolist()
        crops = zip(large, tops, lefts, strict=True)
        return torch.stack([mask[:, top : top + height, left : left + width] for mask, top, left in crops])
