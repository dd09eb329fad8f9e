"""Define the trunk of a classifier: a network cut before its head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A network's trunk, up to the last convolution and its nonlinearity.

    The trunk's modules keep the names that torchvision or timm gave them, so `layer4` of a ResNet is the target layer
    `backbone.layer4` of its classifier; `[name for name, _ in classifier.named_modules()]` lists them all.

    Images come as uint8 RGB. The backbone normalizes them, not the data set, because mean and standard deviation belong
    to the weights.

    Args:
        trunk: modules that run in order; (N, 3, H, W) normalized -> (N, C, h, w).
        out_channels: C.
        mean: mean of each colour channel, for images in [0, 1].
        std: standard deviation of each colour channel.
        added: names of the modules whose weights are random, although the others were loaded. They learn at the rate of
            new parts, and a frozen trunk does not freeze them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        trunk: nn.Sequential,
        out_channels: int,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        *,
        added: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.added = tuple(added)
        self.trunk_names = tuple(name for name, _ in trunk.named_children())
        for name, module in trunk.named_children():
            self.add_module(name, module)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), uint8 or float in [0, 1], to features (N, C, h, w)."""
        pixels = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        features = (pixels - self.mean) / self.std
        for name in self.trunk_names:
            features = self.get_submodule(name)(features)
        return features
