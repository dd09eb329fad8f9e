"""Integrated gradients."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from wsol.maps.base_map import Channels, PixelMap
from wsol.maps.input_gradient import sum_of_gradients
from wsol.networks.pixels import to_pixels


@dataclass(frozen=True)
class IntegratedGradients(PixelMap):
    """Integrated gradients: the gradient's mean on the straight line from a baseline b to the image, times x - b.

        M = |Σ_c (x_c - b) ∫ ∂S_k/∂x_c (b + α (x - b)) dα|,  α from 0 to 1

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017.

    Completeness: with `channels="sum"` the map adds up to S_k(x) - S_k(b), up to the error of the quadrature, which is
    Gauss-Legendre with `steps` nodes, exact for polynomials of degree 2 steps - 1. A pixel that equals the baseline is
    0 in the map, whatever its effect on the score.

    Attributes:
        steps: number of nodes; each costs a pass. The paper takes 20 to 300.
        baseline: gray value b of all colours, in [0, 1] before the pixels are normalized: 0 is black. For a network
            that takes normalized images, 0 is the mean colour.
    """

    channels: Channels = "abs_of_sum"
    steps: int = 50
    baseline: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not 0 <= self.baseline <= 1:
            raise ValueError(
                f"IntegratedGradients needs steps >= 1 and a baseline in [0, 1], got steps={self.steps}, "
                f"baseline={self.baseline}."
            )

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, K, 3, H, W) attributions, any range."""
        difference = to_pixels(network, images) - self.baseline
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)  # on [-1, 1]
        copies = (self.baseline + float(node + 1) / 2 * difference for node in nodes)
        return difference[:, None] * sum_of_gradients(network, copies, (weights / 2).tolist(), class_ids)
