"""Adversarial complementary learning."""

from dataclasses import dataclass

from torch import Tensor

from wsol.networks.classifier import Classifier
from wsol.networks.two_branches import TwoBranches
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class ACoL(TrainingMethod):
    """ACoL: a second branch learns the class from the features without the first branch's strongest cells.

        L = CE(A(F)) + CE(B(F ∘ [M_A <= δ])),  M_A: A's map of the ground-truth class, min-max normalized

    Source: Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018:
    two 3x3 convolutions with 1024 channels in each branch, δ = 0.6. The paper's map is the cell-wise maximum of both
    branches' maps: `maps=[acol_cam]`. Branch A gives the logits, as in the code of Choe et al., CVPR 2020, where δ is
    0.7 by default.

    Both branches have the pooling of the classifier: `gap` gives the published head, and any other pooling of single
    channels works, on features or on scores. No gradient flows through M_A.

    Differs from the authors' code: a cell exactly at the threshold stays, a constant map erases nothing instead of
    giving 0 / 0, and features are not averaged over 3x3 cells first.

    Attributes:
        width: number of channels of the branches' convolutions; it must differ from the backbone's.
        threshold: score threshold δ, in [0, 1).
    """

    width: int = 1024
    threshold: float = 0.6

    def __post_init__(self) -> None:
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"width of method=acol must be an int from 1, got {self.width!r}.")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold of method=acol must lie in [0, 1), got {self.threshold}.")

    @property
    def admits_features(self) -> bool:
        """True, because both branches read the output of the trunk."""
        return True

    def attach(self, classifier: Classifier) -> Classifier:
        """Return a `TwoBranches` on this classifier's trunk.

        Raises:
            ValueError: if the pooling mixes channels, or the width equals that of the backbone.
        """
        return TwoBranches(classifier, self.width, self.threshold)

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the sum of both branches' cross entropies, and the logits of A.

        Raises:
            ValueError: if `attach` has not prepared the classifier.
        """
        if not isinstance(classifier, TwoBranches):
            raise ValueError(
                f"method=acol trains two branches, and {type(classifier).__name__} has one; call attach first."
            )
        logits, logits_b = classifier.both(classifier.backbone(batch.images), batch.class_ids)
        return batch.cross_entropy(logits) + batch.cross_entropy(logits_b), logits
