"""Hide-and-Seek: random patches of the training images are hidden."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from wsol.networks.classifier import Classifier
from wsol.networks.pixels import mean_color, to_pixels
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class HaS(TrainingMethod):
    """Each cell of a grid over the image is hidden with one probability, for each image and step anew.

    Hidden pixels take the colour that the network normalizes to zero, the mean colour of the data that its weights come
    from; no image is changed at test time.

    Source: Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-Supervised Object and Action
    Localization", ICCV 2017: half of all patches hidden, patches of 56, 44, 32 or 16 px in images of 224 px, which are
    grids of 4, about 5, 7 and 14 cells, or one of these sizes at random. Choe et al., "Evaluating Weakly Supervised
    Object Localization Methods Right", CVPR 2020, search the drop rate and the patch's size over their whole ranges,
    the drop rate uniformly within [0, 1].

    Differs from the paper in that the grid is given in cells, which is the same for every image size, and that sides
    that the cells do not divide are shared out to within one pixel, where the paper leaves a smaller last patch.

    Attributes:
        cells: along each side of the image; of several numbers each image draws one.
        drop_rate: probability of each cell to be hidden, in [0, 1).
    """

    cells: int | Sequence[int] = 4
    drop_rate: float = 0.5

    def __post_init__(self) -> None:
        grids = self._grids()
        if not grids or not all(isinstance(one, int) and one >= 1 for one in grids):
            raise ValueError(f"cells of HaS must be a whole number from 1 on, or a list of them, got {self.cells!r}.")
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate of HaS must lie in [0, 1), got {self.drop_rate}; at 1 no image is left.")

    def _grids(self) -> Sequence[int]:
        return self.cells if isinstance(self.cells, Sequence) else [self.cells]

    def hidden(self, count: int, height: int, width: int, generator: Generator) -> Tensor:
        """(count, 1, height, width) bool on the CPU: the pixels that are hidden."""
        grids = torch.tensor(self._grids())
        cells = grids[torch.randint(len(grids), (count,), generator=generator)][:, None]
        largest = int(grids.max())
        drops = torch.rand(count, largest, largest, generator=generator) < self.drop_rate
        rows, columns = torch.arange(height) * cells // height, torch.arange(width) * cells // width
        return drops[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The cross entropy and the logits (N, K) of the images with hidden patches."""
        pixels = to_pixels(classifier, batch.images)
        count, _, height, width = pixels.shape
        hidden = self.hidden(count, height, width, batch.generator)
        shown = torch.where(hidden.to(pixels.device), mean_color(classifier).to(pixels), pixels)
        return super().loss(classifier, replace(batch, images=shown))
