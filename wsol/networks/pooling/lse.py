"""Log-sum-exp pooling."""

import torch
from torch import Tensor

from wsol.networks.base_pooling import SharpPooling


class LSE(SharpPooling):
    """The log-sum-exp of each channel: a smooth maximum.

        y = (1/r) log((1/n) Σ_i exp(r x_i))

    The sharpness r leads from the mean (r -> 0) to the maximum (r -> inf). The gradient is softmax(r x): positive, and
    equal for equal cells.

    Source: Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional Networks", CVPR 2015,
    who pool class scores; Sun et al., "ProNet: Learning to Propose Object-Specific Boxes for Cascaded Neural Networks",
    CVPR 2016, use it to find objects. On 8 x 8 cells of an ImageNet network's last ReLU, r = 3 pools about halfway
    between the mean and the maximum of a channel; r = 10 is close to the maximum.

    Args:
        sharpness: r, above 0, in units of 1 / features; the initial value if it is learned.
        learned: r = exp(log_sharpness) is trained, one for all channels.

    Raises:
        ValueError: if the sharpness is not a finite number above 0.
    """

    def __init__(self, sharpness: float = 3.0, learned: bool = False) -> None:
        super().__init__(sharpness, learned)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        sharpness = self.sharpness
        peak = cells.detach().amax(dim=(2, 3), keepdim=True)
        # expm1 and log1p keep the precision for small r, where log(mean(exp)) / r would amplify rounding errors.
        above = torch.expm1(sharpness * (cells - peak)).mean(dim=(2, 3)).log1p() / sharpness
        return (peak[:, :, 0, 0] + above).to(features.dtype)
