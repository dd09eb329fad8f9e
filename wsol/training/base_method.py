"""Define the interface of training methods, which may change the network, the images and the loss."""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Generator, Tensor

from wsol.networks.classifier import Classifier


@dataclass(frozen=True)
class TrainingBatch:
    """Images of one step, on the training device.

    Attributes:
        images: (N, 3, S, S) uint8, cropped and mirrored; or stored features, as `FeatureSet.read` returns them.
        class_ids: (N,) int64.
        generator: a generator on the CPU, seeded from (seed, epoch, step, device), so that a resumed training draws the
            same numbers.
        progress: share of all steps that are done, in [0, 1).
        label_smoothing: label smoothing of the cross entropy.
    """

    images: Tensor = field(repr=False)
    class_ids: Tensor = field(repr=False)
    generator: Generator = field(repr=False)
    progress: float = 0.0
    label_smoothing: float = 0.0

    def cross_entropy(self, logits: Tensor, class_ids: Tensor | None = None) -> Tensor:
        """Return the mean cross entropy of logits (N, K) for these class ids, or the batch's own if None."""
        targets = self.class_ids if class_ids is None else class_ids
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class TrainingMethod:
    """Plain training; the methods of `wsol/training/methods` are frozen dataclasses that derive from it.

    A method has no state of its own. It adds modules to the classifier, so that they are part of the state dict, of the
    optimizer, and of training on several devices. The backbone's parameters learn at `lr`, all others at `head_lr`.
    """

    @property
    def admits_features(self) -> bool:
        """True if the loss neither changes images nor reads the trunk's inside, so that it works on stored features."""
        return type(self) is TrainingMethod

    def attach(self, classifier: Classifier) -> Classifier:
        """Add the method's modules to a new classifier; return the same classifier, or another one in its place.

        The caller calls this after seeding and before loading weights, so that a trained run is rebuilt the same way.

        Raises:
            ValueError: if the method does not work on this network or head, naming what it needs.
        """
        return classifier

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the loss of one step, and the logits (N, K) that the training accuracy is computed from.

        The classifier is in training mode. A method may call it any number of times, on any images.
        """
        logits = classifier(batch.images)
        return batch.cross_entropy(logits), logits
