"""Whether a map changes when the network forgets what it learned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wsol.explain.base_measure import Column
from wsol.explain.explained_batch import ExplainedBatch, maps_of_batch
from wsol.explain.randomized_network import Mode, randomized_copy, spearman


@dataclass(frozen=True)
class ParameterRandomization:
    """Model parameter randomization test: Spearman's rank correlation of the map with that of a randomized network.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. `head` is the first step of its
    cascade from the logits down, `all` the last. The maps are compared cell by cell on their own grid: upsampled ones
    would count every cell many times, and interpolation makes any two of them alike.

    Columns: `randomization_similarity` in [-1, 1], closer to 0 is better. 1: the map does not depend on what was
    randomized. With `head` that is what a method without a class (Eigen-CAM) shows. NaN where either map is constant,
    as Grad-CAM's is where its ReLU cuts off all: it has no order, and counting it as 0 would reward a dead map. Costs
    1 forward pass an image, and what the method itself needs for its map; the network is copied once.

    Attributes:
        mode: which parameters are drawn anew; see `randomized_copy`.
        seed: of the draw.
        absolute: compare absolute values, where the sign of a map means nothing.
    """

    columns: ClassVar[Mapping[str, Column]] = {"randomization_similarity": Column(-1, 1, "near zero")}

    mode: Mode = "all"
    seed: int = 0
    absolute: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("head", "all"):
            raise ValueError(f"mode must be 'head' or 'all', got {self.mode!r}.")

    def __call__(self, subject: ExplainedBatch) -> dict[str, NDArray[np.float64]]:
        """The column of one batch, (N,).

        Raises:
            ValueError: for a map of the randomized network with NaN or infinity, naming its image.
        """
        network = randomized_copy(subject.network, self.mode, self.seed)
        images, class_ids = subject.images, subject.class_ids
        randomized = maps_of_batch(network, images, class_ids, subject.method, subject.batch_size)
        subject.refuse(~randomized.isfinite(), "activation map of the randomized network", "NaN or infinite")
        maps = [one.flatten(1).double().cpu().numpy() for one in (subject.activation_maps, randomized)]
        if self.absolute:
            maps = [np.abs(one) for one in maps]
        return {"randomization_similarity": spearman(*maps)}
