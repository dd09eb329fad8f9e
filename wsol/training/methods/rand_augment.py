"""RandAugment."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms import v2

from wsol.networks.classifier import Classifier
from wsol.networks.pixels import mean_color
from wsol.training.base_method import TrainingBatch, TrainingMethod

BINS = 31  # number of torchvision's magnitudes, 0 to 30


@dataclass(frozen=True)
class RandAugment(TrainingMethod):
    """RandAugment: random transforms of one magnitude; a baseline augmentation for localization methods.

    Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", CVPR
    Workshops 2020; the transforms and their magnitudes are torchvision's `v2.RandAugment`, with nearest neighbours.

    Pixels that a shift, a shear or a rotation uncovers take the colour that the network normalizes to zero, rounded to
    a byte. torchvision draws from torch's global CPU generator, which is seeded from the step's own and then restored.

    Attributes:
        num_ops: number of successive transforms of each image, drawn with replacement; the identity is one of them.
        magnitude: magnitude of all transforms, an int from 0 to 30.
    """

    num_ops: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        if not isinstance(self.num_ops, int) or self.num_ops < 0:
            raise ValueError(f"num_ops of RandAugment must be a whole number from 0 on, got {self.num_ops!r}.")
        if not isinstance(self.magnitude, int) or not 0 <= self.magnitude < BINS:
            raise ValueError(
                f"magnitude of RandAugment must be a whole number from 0 to {BINS - 1}, got {self.magnitude!r}."
            )

    def augmented(self, classifier: Classifier, batch: TrainingBatch) -> Tensor:
        """Return the transformed images, (N, 3, S, S) uint8, in the memory layout of the batch.

        Raises:
            ValueError: if the images are not uint8, which some transforms need.
        """
        if batch.images.dtype != torch.uint8:
            raise ValueError(f"RandAugment takes uint8 images, got {batch.images.dtype}; give it bytes, 0 to 255.")
        fill = (mean_color(classifier).flatten() * 255).round().tolist()
        transform = v2.RandAugment(self.num_ops, self.magnitude, BINS, fill=fill)
        seed = int(torch.randint(2**63 - 1, (), generator=batch.generator))
        transformed = torch.empty_like(batch.images)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerator's too
            for target, image in zip(transformed, batch.images, strict=True):
                target.copy_(transform(image))
        return transformed

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the cross entropy and the logits (N, K) of the transformed images."""
        return super().loss(classifier, replace(batch, images=self.augmented(classifier, batch)))
