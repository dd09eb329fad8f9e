"""Join two classifier branches on one trunk, and compute the attention map of a class."""

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsol.geometry import Size
from wsol.networks.base_pooling import ChannelPooling
from wsol.networks.classifier import Classifier
from wsol.networks.trunk import added_convolution


def class_attention(features: Tensor, weights: Tensor, size: Size | None = None) -> Tensor:
    """Compute the class activation map of one class per image, min-max normalized.

    Args:
        features: (N, C, h, w) input of the pooling or, at each cell, of the linear layer.
        weights: (N, C) weights of each image's class.
        size: (H, W) that the maps are resized to before they are normalized, bilinear; None: their own cells.

    Returns:
        (N, h, w) or (N, H, W), at least float32, from exactly 0 to exactly 1; a constant map becomes zeros.
    """
    # In full precision, whatever the training uses, because these maps are compared with thresholds.
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(features.dtype, torch.float32)
        maps = torch.einsum("nchw,nc->nhw", features.to(dtype), weights.to(dtype))
        # Found before resizing, which leaves rounding noise on a constant map.
        constant = (maps == maps[:, :1, :1]).all(dim=2).all(dim=1)[:, None, None]
        if size is not None:
            maps = interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        lowest = maps.amin(dim=(1, 2), keepdim=True)
        span = maps.amax(dim=(1, 2), keepdim=True) - lowest
        return torch.where(constant | (span == 0), torch.zeros_like(maps), (maps - lowest) / span)


class TwoBranches(Classifier):
    """The network of adversarial complementary learning: see `wsol.training.methods.acol`.

    A branch is two 3x3 convolutions with ReLU, a pooling and a linear layer. Branch A reads the features of the trunk;
    branch B reads the same features with zeros where A's map of the class exceeds the threshold. Branch A gives the
    logits.

    `branch_a` is the target layer at which CAM gives A's map; the trunk is `backbone`, as in every classifier.

    Args:
        classifier: classifier that gives trunk, pooling and pool_site; branch B gets a copy of the pooling. The linear
            layer is not used.
        width: number of channels of the branches.
        threshold: score threshold of A's min-max normalized map, in [0, 1).

    Raises:
        ValueError: if the pooling mixes channels, so that a cell has no class score, or if the width equals the number
            of channels of the trunk.
    """

    cam_hint: ClassVar[str] = "Take maps=[acol_cam], or branch A's map alone: +maps.cam.target_layer=branch_a."

    def __init__(self, classifier: Classifier, width: int, threshold: float) -> None:
        pooling, trunk = classifier.pooling, classifier.backbone
        if not isinstance(pooling, ChannelPooling):
            raise ValueError(
                f"method=acol needs a pooling of each channel by itself, as gap and gmp are, got "
                f"{type(pooling).__name__}; it has no class map to erase by."
            )
        if width == trunk.out_channels:
            raise ValueError(
                f"width of method=acol must differ from the {width} channels of the backbone, or CAM at `backbone` "
                f"would take the weights of a branch for the backbone's; try {width // 2} or {2 * width}."
            )
        super().__init__(
            _convolutions(trunk.out_channels, width), pooling, classifier.num_classes, classifier.pool_site
        )
        self.branch_a, self.backbone = self.backbone, trunk
        self.branch_b = Classifier(
            _convolutions(trunk.out_channels, width), copy.deepcopy(pooling), self.num_classes, self.pool_site
        )
        self.threshold = threshold

    def head(self, features: Tensor) -> Tensor:
        """Map features (N, C, h, w) of the trunk to logits (N, K) of branch A."""
        return super().head(self.branch_a(features))

    def both(self, features: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (N, C, h, w) of the trunk and (N,) class ids to the logits (N, K) of A and of B."""
        of_a = self.branch_a(features)
        erased = self.erase(features, class_attention(of_a, self.class_weights()[class_ids]))
        return super().head(of_a), self.branch_b(erased)

    def erase(self, features: Tensor, attention: Tensor) -> Tensor:
        """Set features (N, C, h, w) to zero in the cells whose attention (N, h, w) in [0, 1] exceeds the threshold."""
        return features * (attention <= self.threshold)[:, None]

    def fused_maps(self, features: Tensor, class_ids: Tensor) -> Tensor:
        """Return the cell-wise maximum of both branches' maps.

        Args:
            features: (N, C, h, w) of the trunk, also in half precision.
            class_ids: (N, K), the classes whose maps are made; B reads the features that A's map of the class leaves.

        Returns:
            (N, K, h, w), at least float32, in [0, 1], without a graph.
        """
        weights_a, weights_b = self.class_weights(), self.branch_b.class_weights()
        features, fused = features.to(weights_a.dtype), []
        with torch.no_grad():
            of_a = self.branch_a(features)
            for column in class_ids.unbind(dim=1):
                map_a = class_attention(of_a, weights_a[column])
                of_b = self.branch_b.backbone(self.erase(features, map_a))
                fused.append(torch.maximum(map_a, class_attention(of_b, weights_b[column])))
        return torch.stack(fused, dim=1)


class _Convolutions(nn.Sequential):
    """Two 3x3 convolutions with ReLU, whose output the pooling of a branch reads."""

    def __init__(self, channels: int, width: int) -> None:
        layers = [added_convolution(channels, width), nn.ReLU(), added_convolution(width, width), nn.ReLU()]
        super().__init__(*layers)
        self.out_channels = width


def _convolutions(channels: int, width: int) -> Any:
    # A branch is a classifier of features; these convolutions take the place of its backbone, whose type takes images.
    return _Convolutions(channels, width)
