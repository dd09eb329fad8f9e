"""What a training method may change: the network, the images, the loss."""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Generator, Tensor

from wsol.networks.classifier import Classifier


@dataclass(frozen=True)
class TrainingBatch:
    """One step's images on the training device.

    Attributes:
        images: (N, 3, S, S) uint8, cropped and mirrored.
        class_ids: (N,) int64.
        generator: on the CPU; drawn from (seed, epoch, step, device) alone, so that a resumed training draws the same.
        progress: in [0, 1): the share of all steps that is done.
        label_smoothing: of the cross entropy.
    """

    images: Tensor = field(repr=False)
    class_ids: Tensor = field(repr=False)
    generator: Generator = field(repr=False)
    progress: float = 0.0
    label_smoothing: float = 0.0

    def cross_entropy(self, logits: Tensor, class_ids: Tensor | None = None) -> Tensor:
        """The mean cross entropy of logits (N, K), with these class ids or the batch's own."""
        targets = self.class_ids if class_ids is None else class_ids
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class TrainingMethod:
    """Plain training; the methods of `wsol/training/methods` are frozen dataclasses that build on it.

    A method has no state of its own: what it adds to the network it adds to the classifier, so that the state dict, the
    optimizer and several devices know of it. The backbone's parameters learn at `lr`, all others at `head_lr`.
    """

    def attach(self, classifier: Classifier) -> Classifier:
        """Add to a new classifier what the method needs; the same one, or one that takes its place.

        Called after seeding, before weights are loaded, so that a trained run is rebuilt the same way.

        Raises:
            ValueError: if the method does not work on this network or head, naming what it needs.
        """
        return classifier

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The loss of one step, and the logits (N, K) that training accuracy is told of.

        The classifier is in training mode; it may be called any number of times, on any images.
        """
        logits = classifier(batch.images)
        return batch.cross_entropy(logits), logits
