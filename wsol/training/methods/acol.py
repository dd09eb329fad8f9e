"""Adversarial complementary learning."""

from dataclasses import dataclass

from torch import Tensor

from wsol.networks.classifier import Classifier
from wsol.networks.two_branches import TwoBranches
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class ACoL(TrainingMethod):
    """ACoL: a second branch learns the class from what is left when the first one's strongest cells are erased.

        L = CE(A(F)) + CE(B(F ∘ [M_A <= δ])),  M_A: A's map of the true class, min-max normalized

    Source: Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018:
    two 3x3 convolutions with 1024 channels in each branch, δ = 0.6. Their map is the larger of both branches' in each
    cell: `maps=[acol_cam]`. The logits are A's, as in the code of Choe et al., CVPR 2020, where δ is 0.7 by default.

    The pooling of the classifier stands in both branches, so that `gap` gives the published head; any other pooling
    of single channels may, on features or on scores. No gradient flows through M_A.

    Differs from the authors' code: a cell at the threshold itself stays, a constant map erases nothing instead of being
    0 / 0, and features are not averaged over 3x3 cells first.

    Attributes:
        width: channels of the branches' convolutions; another number than the backbone's.
        threshold: δ in [0, 1).
    """

    width: int = 1024
    threshold: float = 0.6

    def __post_init__(self) -> None:
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"width of method=acol must be an int from 1, got {self.width!r}.")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold of method=acol must lie in [0, 1), got {self.threshold}.")

    def attach(self, classifier: Classifier) -> Classifier:
        """A `TwoBranches` on this classifier's trunk.

        Raises:
            ValueError: if the pooling mixes channels, or the width is that of the backbone.
        """
        return TwoBranches(classifier, self.width, self.threshold)

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The cross entropies of both branches, added, and the logits of A.

        Raises:
            ValueError: if the classifier has not been through `attach`.
        """
        if not isinstance(classifier, TwoBranches):
            raise ValueError(
                f"method=acol trains two branches, and {type(classifier).__name__} has one; call attach first."
            )
        logits, logits_b = classifier.both(classifier.backbone(batch.images), batch.class_ids)
        return batch.cross_entropy(logits) + batch.cross_entropy(logits_b), logits
