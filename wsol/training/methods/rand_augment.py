"""RandAugment: random colour and shape transforms of the training images."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms import v2

from wsol.networks.classifier import Classifier
from wsol.networks.pixels import mean_color
from wsol.training.base_method import TrainingBatch, TrainingMethod

BINS = 31  # torchvision's scale of magnitudes, 0 to 30


@dataclass(frozen=True)
class RandAugment(TrainingMethod):
    """Each image goes through random transforms of one magnitude: an augmentation to compare the methods with.

    Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", CVPR
    Workshops 2020; the transforms and their magnitudes are torchvision's `v2.RandAugment`, with nearest neighbours.

    What a shift, a shear or a turn uncovers takes the colour that the network normalizes to zero, rounded to a byte.
    torchvision draws from torch's global CPU generator: it is seeded from the step's own and then put back.

    Attributes:
        num_ops: transforms of each image, one after the other, drawn with replacement; the identity is among them.
        magnitude: of all of them, whole, 0 to 30.
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
        """(N, 3, S, S) uint8, laid out in memory as the batch's images.

        Raises:
            ValueError: if the images are no uint8, which some of the transforms need.
        """
        if batch.images.dtype != torch.uint8:
            raise ValueError(f"RandAugment takes uint8 images, got {batch.images.dtype}; give it bytes, 0 to 255.")
        fill = (mean_color(classifier).flatten() * 255).round().tolist()
        transform = v2.RandAugment(self.num_ops, self.magnitude, BINS, fill=fill)
        seed = int(torch.randint(2**63 - 1, (), generator=batch.generator))
        found = torch.empty_like(batch.images)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerator's too
            for target, image in zip(found, batch.images, strict=True):
                target.copy_(transform(image))
        return found

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The cross entropy and the logits (N, K) of the transformed images."""
        return super().loss(classifier, replace(batch, images=self.augmented(classifier, batch)))
