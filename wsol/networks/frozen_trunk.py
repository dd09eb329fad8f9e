"""Let the head of a classifier read stored features in place of images."""

import copy
from typing import TypeVar

from torch import Tensor, nn

from wsol.networks.classifier import Classifier
from wsol.networks.stored_features import FeatureSet

C = TypeVar("C", bound=Classifier)


class GivenFeatures(nn.Module):
    """The trunk of a classifier that is given features: it returns them in float32.

    Args:
        out_channels: C.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, C, h, w), or pooled vectors (N, C), in float32."""
        return features.float()


def pool_ahead(classifier: Classifier, features: FeatureSet) -> FeatureSet:
    """Return the pooled vectors of a split if they are what the linear layer reads, whatever the head learns.

    Returns:
        The features unchanged where the pooling learns, draws random numbers or follows the linear layer.
    """
    if type(classifier) is not Classifier or classifier.pool_site != "features":
        return features
    return features.pool(classifier.pooling)


def reading(classifier: C, features: FeatureSet) -> C:
    """Return a classifier that maps these features, or these pooled vectors, to logits.

    It shares all modules of the head, so that training either trains both. `backbone` stays the name of the target
    layer whose output is the features.
    """
    head = copy.copy(classifier)
    given: dict[str, nn.Module] = {"backbone": GivenFeatures(classifier.backbone.out_channels)}
    if features.pooled:
        given["pooling"] = nn.Identity()
    head._modules = {**classifier._modules, **given}
    return head
