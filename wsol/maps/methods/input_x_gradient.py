"""Pixels times their gradients."""

from dataclasses import dataclass

from torch import Tensor, nn

from wsol.maps.base_map import Channels, PixelMap
from wsol.maps.input_gradient import input_gradients
from wsol.networks.pixels import to_pixels


@dataclass(frozen=True)
class InputXGradient(PixelMap):
    """Input x gradient: what each pixel gives to the linear part of the score.

        M = |Σ_c x_c ∂S_k / ∂x_c|

    Source: Shrikumar et al., "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", arXiv:1605.01713, 2016.

    For a network without biases, whose ReLUs and poolings scale with their input, the signed map adds up to the score.
    x is the pixel as the network takes it: for a classifier of ours in [0, 1], before it is normalized, so that black
    pixels are 0 in the map.
    """

    channels: Channels = "abs_of_sum"

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """(N, K, 3, H, W), any range."""
        return to_pixels(network, images)[:, None] * input_gradients(network, images, class_ids)
