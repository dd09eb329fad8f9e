"""Hide-and-Seek."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from wsol.networks.classifier import Classifier
from wsol.networks.pixels import mean_color, to_pixels
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class HaS(TrainingMethod):
    """Hide-and-Seek: each cell of a grid over the image is hidden at random, independently for each image and step.

    Hidden pixels take the colour that the network normalizes to zero, which is the mean colour of the data that its
    weights were trained on. No image is changed at test time.

    Source: Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-Supervised Object and Action
    Localization", ICCV 2017. The paper hides half of all patches, with patches of 56, 44, 32 or 16 px in images of 224
    px, which are grids of 4, about 5, 7 and 14 cells, or one of these sizes at random. Choe et al., "Evaluating Weakly
    Supervised Object Localization Methods Right", CVPR 2020, search the drop rate and the patch size over their whole
    ranges, the drop rate uniformly within [0, 1].

    Differs from the paper in the grid, whose size is a number of cells, the same for every image size. If the cells do
    not divide a side, their sizes differ by at most one pixel; the paper has a smaller last patch.

    Attributes:
        cells: number of cells along each side of the image, or several numbers, of which each image draws one.
        drop_rate: probability that a cell is hidden, in [0, 1).
    """

    cells: int | Sequence[int] = 4
    drop_rate: float = 0.5

    def __post_init__(self) -> None:
        grids = self._grids()
        if not grids or not all(isinstance(cells, int) and cells >= 1 for cells in grids):
            raise ValueError(f"cells of HaS must be a whole number from 1 on, or a list of them, got {self.cells!r}.")
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate of HaS must lie in [0, 1), got {self.drop_rate}; at 1 no image is left.")

    def _grids(self) -> Sequence[int]:
        return self.cells if isinstance(self.cells, Sequence) else [self.cells]

    def hidden(self, count: int, height: int, width: int, generator: Generator) -> Tensor:
        """Draw the hidden pixels, (count, 1, height, width) bool on the CPU."""
        grids = torch.tensor(self._grids())
        cells = grids[torch.randint(len(grids), (count,), generator=generator)][:, None]
        largest = int(grids.max())
        drops = torch.rand(count, largest, largest, generator=generator) < self.drop_rate
        rows, columns = torch.arange(height) * cells // height, torch.arange(width) * cells // width
        return drops[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the cross entropy and the logits (N, K) of the images with hidden patches."""
        pixels = to_pixels(classifier, batch.images)
        count, _, height, width = pixels.shape
        hidden = self.hidden(count, height, width, batch.generator)
        shown = torch.where(hidden.to(pixels.device), mean_color(classifier).to(pixels), pixels)
        return super().loss(classifier, replace(batch, images=shown))
