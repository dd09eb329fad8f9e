"""Grad-CAM with weights that count every cell of an object alike."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class GradCAMPlusPlus(LayerMap):
    """Grad-CAM++: positive gradients, each weighted so that all cells where a channel is active count alike.

        M = ReLU(Σ_c w_c A_c),  w_c = Σ_ij α_cij ReLU(g_cij),  α = g² / (2 g² + g³ Σ_ab A_cab)

    Source: Chattopadhay et al., "Grad-CAM++", WACV 2018, eq. 19 (arXiv:1710.11063), for Y = exp(S) with the
    class score S. exp(S) multiplies a whole map and is left out: it overflows, and no map is compared by its scale.

    Where g > 0 the fraction is 1 / (2 + g ΣA), and where it is not, ReLU(g) is 0. Computed that way nothing is squared,
    nothing is 0 / 0 and no epsilon is needed: typical squared gradients lie below 1e-8.
    """

    needs: ClassVar[Needs] = "gradient"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, h, w), >= 0."""
        activation = self.activation(forward)
        total = activation.sum(dim=(2, 3), keepdim=True)

        def weighted(gradient: Tensor) -> Tensor:
            positive = gradient.relu()
            return positive / (2 + positive * total)

        return combine(activation, self.gradient(forward, class_ids).sum_of(weighted)).relu()
