"""Join a backbone, a pooling and one linear layer; swap the pooling of a trained classifier."""

from typing import ClassVar, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from wsol.networks.backbone import Backbone
from wsol.networks.base_pooling import Pooling, PoolSite


class Classifier(nn.Module):
    """An image classifier whose head is a pooling and one linear layer, in either order.

    `features`: the pooling reads each feature channel, and the linear layer reads the pooled features (Zhou et al.,
    "Learning Deep Features for Discriminative Localization", CVPR 2016, section 2). `scores`: the linear layer reads
    each cell, as a 1x1 convolution, and the pooling reads the class score maps (Oquab et al., "Is Object Localization
    for Free?", CVPR 2015). With the mean both are one function; with the maximum they are two different networks.

    Args:
        backbone: images -> features (N, C, h, w).
        pooling: a `Pooling`, or any module that keeps the number of channels.
        num_classes: K.
        pool_site: place of the pooling, before the linear layer (`features`) or after it (`scores`).

    Attributes:
        cam_hint: advice for error messages, where `fc` reads other features than the backbone's, so that CAM is
            undefined; empty otherwise.

    Raises:
        ValueError: if the pooling does not support `pool_site`.
    """

    cam_hint: ClassVar[str] = ""

    def __init__(
        self, backbone: Backbone, pooling: nn.Module, num_classes: int, pool_site: PoolSite = "features"
    ) -> None:
        super().__init__()
        sites = pooling.sites if isinstance(pooling, Pooling) else ("features",)
        if pool_site not in sites:
            known = get_args(PoolSite)
            can = " or ".join(sites) if pool_site in known else " or ".join(known)
            raise ValueError(f"pool_site of {type(pooling).__name__} must be {can}, got {pool_site!r}.")
        self.backbone = backbone
        self.pooling = pooling
        self.pool_site = pool_site
        self.num_classes = num_classes
        maps = pooling.maps_per_class if isinstance(pooling, Pooling) and pool_site == "scores" else 1
        width = backbone.out_channels
        if isinstance(pooling, Pooling) and pool_site == "features":
            width = pooling.prepare(width)
        elif isinstance(pooling, Pooling):
            pooling.prepare(num_classes)
        self.fc = nn.Linear(width, num_classes * maps)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), uint8 or float in [0, 1], to logits (N, K)."""
        return self.head(self.backbone(images))

    def head(self, features: Tensor) -> Tensor:
        """Map features (N, C, h, w) to logits (N, K)."""
        if self.pool_site == "features":
            return self.fc(self.pooling(features))
        return self.pooling(self.class_maps(features))

    def class_maps(self, features: Tensor) -> Tensor:
        """Map features (N, C, h, w) to class maps (N, K, h, w): the linear layer at each cell, with its bias."""
        weight, bias = self.class_weights(), self.fc.bias.view(self.num_classes, -1).mean(dim=1)
        return F.conv2d(features, weight[:, :, None, None], bias)

    def class_weights(self) -> Tensor:
        """Return the (K, C) weights of the linear layer; with several maps per class, the mean over its maps."""
        return self.fc.weight.view(self.num_classes, -1, self.fc.in_features).mean(dim=1)


def with_pooling(classifier: Classifier, pooling: nn.Module) -> Classifier:
    """Return a classifier with another pooling, which shares the backbone and the linear layer of a trained classifier.

    Differs from the comparison of Zhou et al., CVPR 2016, which trains a network for each head. The effect of a pooling
    on a network that is already trained is another question, so its numbers form separate rows.

    Args:
        classifier: a trained classifier; it keeps its own pooling.
        pooling: a pooling without parameters, because nothing would train them.

    Raises:
        ValueError: if the pooling has parameters, does not support the site of the trained pooling, or gives another
            width.
    """
    name = type(pooling).__name__
    if type(classifier) is not Classifier:
        raise ValueError(
            f"pooling_at_test needs a head of one pooling and one linear layer, not {type(classifier).__name__}."
        )
    if isinstance(pooling, Pooling):
        maps = pooling.maps_per_class if classifier.pool_site == "scores" else 1
        width = pooling.prepare(classifier.backbone.out_channels)
        if maps * classifier.num_classes != classifier.fc.out_features or (
            classifier.pool_site == "features" and width != classifier.fc.in_features
        ):
            raise ValueError(f"{name} does not fit the linear layer that was trained; it needs one of its own.")
    if any(True for _ in pooling.parameters()):
        raise ValueError(f"{name} has parameters, which nothing trained; give pooling_at_test fixed settings.")
    swapped = Classifier(classifier.backbone, pooling, classifier.num_classes, classifier.pool_site)
    swapped.fc = classifier.fc
    return swapped.train(classifier.training)
