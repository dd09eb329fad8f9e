"""The gradient with the negative part cut off at every ReLU."""

from dataclasses import dataclass

from torch import Tensor, nn

from wsol.maps.base_map import PixelMap
from wsol.maps.guided_relu import guided_gradients


@dataclass(frozen=True)
class GuidedBackprop(PixelMap):
    """Guided backpropagation: at every ReLU the gradient passes where both its input and the gradient are positive.

        M = max_c |R_c|,  at every ReLU R_in = 1[x > 0] · 1[R_out > 0] · R_out

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshop 2015.

    Sharper than the gradient, and hardly a statement about the class: Nie et al., "A Theoretical Explanation for
    Perplexing Behaviors of Backpropagation-based Visualizations", ICML 2018, show that it mostly restores the image.
    Raises ValueError for a network without ReLUs; see `guided_gradients`, which also gives it in colour.
    """

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """(N, K, 3, H, W), any range."""
        return guided_gradients(network, images, class_ids)
