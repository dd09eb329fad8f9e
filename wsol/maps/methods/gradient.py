"""Gradient of the class score with respect to the pixels."""

from dataclasses import dataclass

from torch import Tensor, nn

from wsol.maps.base_map import PixelMap
from wsol.maps.input_gradient import input_gradients


@dataclass(frozen=True)
class Gradient(PixelMap):
    """Gradient, or saliency: how much the class score changes with each pixel.

        M = max_c |∂S_k / ∂x_c|

    Source: Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency
    Maps", ICLR workshop 2014. S_k is the score before the softmax, which lower scores of other classes would also
    raise.

    To first order S_k(x + d) = S_k(x) + Σ ∂S_k/∂x d, so the map shows where a small change of a pixel matters, not what
    the pixel contributes to the score. It is noisy, because the gradient of a ReLU network jumps from cell to cell.
    """

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, K, 3, H, W) attributions, any range."""
        return input_gradients(network, images, class_ids)
