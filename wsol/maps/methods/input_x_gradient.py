"""Input times gradient."""

from dataclasses import dataclass

from torch import Tensor, nn

from wsol.maps.base_map import Channels, PixelMap
from wsol.maps.input_gradient import input_gradients
from wsol.networks.pixels import to_pixels


@dataclass(frozen=True)
class InputXGradient(PixelMap):
    """Input x gradient: the contribution of each pixel to the linear part of the score.

        M = |Σ_c x_c ∂S_k / ∂x_c|

    Source: Shrikumar et al., "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", arXiv:1605.01713, 2016.

    For a network without biases, whose ReLUs and poolings scale with their input, the signed map adds up to the score.
    x is the pixel that the network takes: for a wsol `Classifier` in [0, 1], before the normalization, so that black
    pixels are 0 in the map.
    """

    channels: Channels = "abs_of_sum"

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, K, 3, H, W) attributions, any range."""
        return to_pixels(network, images)[:, None] * input_gradients(network, images, class_ids)
