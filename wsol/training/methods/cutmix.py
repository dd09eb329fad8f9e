"""CutMix."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from wsol.networks.classifier import Classifier
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class CutMix(TrainingMethod):
    """CutMix: one box per step is cut from every image and pasted at the same place into another image of the batch.

        loss = (1 - a) CE(logits, own class) + a CE(logits, pasted image's class),  a = pasted pixels / all pixels

    The sides of the box are sqrt(1 - λ) of the image's sides, with λ ~ Beta(alpha, alpha), around a uniformly drawn
    pixel. The box is clipped to the image, so a may be smaller than 1 - λ.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV
    2019, section 3. Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, draw
    alpha as 1 / u - 1/2 with u uniform in (0, 2] and the probability uniformly from [0, 1].

    Attributes:
        alpha: parameter of the Beta distribution, above 0; with 1, λ is uniform.
        probability: probability that a step is mixed, in [0, 1].
    """

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha of CutMix must be above 0 and finite, got {self.alpha}.")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability of CutMix must lie in [0, 1], got {self.probability}.")

    def mix(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor, float]:
        """Paste a box of each image's partner.

        Args:
            images: (N, 3, H, W), any type; left unchanged.
            generator: a generator on the CPU.

        Returns:
            (N, 3, H, W) the mixed images; (N,) on the CPU, the index of the image pasted into each, which may be its
            own; the share of pasted pixels, in [0, 1].
        """
        height, width = images.shape[-2:]
        partners = torch.randperm(len(images), generator=generator)
        # torch cannot draw from a Beta distribution with a given generator.
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        side = math.sqrt(1 - np.random.default_rng(seed).beta(self.alpha, self.alpha))
        rows, columns = (_interval(side, length, generator) for length in (height, width))
        mixed = images.clone()
        mixed[:, :, rows, columns] = images[:, :, rows, columns][partners.to(images.device)]
        return mixed, partners, (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the mixed cross entropy, and the logits (N, K) of the mixed images.

        The training accuracy compares these logits with the images' own classes, also where the larger part of an
        image was pasted, so it underestimates the network.
        """
        if torch.rand((), generator=batch.generator) >= self.probability:
            return super().loss(classifier, batch)
        mixed, partners, share = self.mix(batch.images, batch.generator)
        logits = classifier(mixed)
        pasted = batch.class_ids[partners.to(batch.class_ids.device)]
        return (1 - share) * batch.cross_entropy(logits) + share * batch.cross_entropy(logits, pasted), logits


def _interval(side: float, length: int, generator: Generator) -> slice:
    """Draw an interval of the relative length `side` around a random pixel, clipped to [0, length)."""
    extent = int(side * length)
    start = int(torch.randint(length, (), generator=generator)) - extent // 2
    return slice(max(0, start), min(length, start + extent))
