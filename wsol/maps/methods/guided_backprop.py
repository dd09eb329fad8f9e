"""Guided backpropagation."""

from dataclasses import dataclass

from torch import Tensor, nn

from wsol.maps.base_map import PixelMap
from wsol.maps.guided_relu import guided_gradients


@dataclass(frozen=True)
class GuidedBackprop(PixelMap):
    """Guided backpropagation: every ReLU passes the gradient where both its input and the gradient are positive.

        M = max_c |R_c|,  at every ReLU R_in = 1[x > 0] · 1[R_out > 0] · R_out

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshop 2015.

    The map is sharper than the gradient, but hardly depends on the class: Nie et al., "A Theoretical Explanation for
    Perplexing Behaviors of Backpropagation-based Visualizations", ICML 2018, show that it mostly restores the image. A
    network without ReLUs raises ValueError; see `guided_gradients`, which also returns the colours.
    """

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, K, 3, H, W) attributions, any range."""
        return guided_gradients(network, images, class_ids)
