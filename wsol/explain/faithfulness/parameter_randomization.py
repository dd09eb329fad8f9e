"""Model parameter randomization test."""

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

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. `head` is the first step of the paper's
    cascade from the logits down, `all` the last. The maps are compared cell by cell on their own grid, because
    upsampled maps would count every cell many times, and interpolation makes any two maps similar.

    Columns: `randomization_similarity` in [-1, 1], closer to 0 is better. At 1 the map does not depend on the
        randomized
    parameters, as for methods without a class (Eigen-CAM) with `head`. NaN where either map is constant, such as
    Grad-CAM's where its ReLU cuts off everything: a constant map has no order, and counting it as 0 would reward a dead
    map. The cost is 1 forward pass per image and the method's own passes; the network is copied once.

    Attributes:
        mode: which parameters are randomized; see `randomized_copy`.
        seed: seed of the new parameters.
        absolute: compare absolute values, for maps whose sign has no meaning.
    """

    columns: ClassVar[Mapping[str, Column]] = {"randomization_similarity": Column(-1, 1, "near zero")}

    mode: Mode = "all"
    seed: int = 0
    absolute: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("head", "all"):
            raise ValueError(f"mode must be 'head' or 'all', got {self.mode!r}.")

    def __call__(self, subject: ExplainedBatch) -> dict[str, NDArray[np.float64]]:
        """Return the column of one batch, (N,).

        Raises:
            ValueError: for a map of the randomized network with NaN or infinity, naming its image.
        """
        network = randomized_copy(subject.network, self.mode, self.seed)
        images, class_ids = subject.images, subject.class_ids
        randomized = maps_of_batch(network, images, class_ids, subject.method, subject.batch_size)
        subject.refuse(~randomized.isfinite(), "activation map of the randomized network", "NaN or infinite")
        pair = (subject.activation_maps, randomized)
        maps = [activation_maps.flatten(1).double().cpu().numpy() for activation_maps in pair]
        if self.absolute:
            maps = [np.abs(activation_maps) for activation_maps in maps]
        return {"randomization_similarity": spearman(*maps)}
