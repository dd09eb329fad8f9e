"""Grad-CAM++."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class GradCAMPlusPlus(LayerMap):
    """Grad-CAM++: positive gradients, weighted so that all cells where a channel is active count equally.

        M = ReLU(Σ_c w_c A_c),  w_c = Σ_ij α_cij ReLU(g_cij),  α = g² / (2 g² + g³ Σ_ab A_cab)

    Source: Chattopadhay et al., "Grad-CAM++", WACV 2018, eq. 19 (arXiv:1710.11063), for Y = exp(S) with the class score
    S. The factor exp(S) of the whole map is left out, because it overflows and a factor changes no score map.

    Where g > 0 the fraction is 1 / (2 + g ΣA), and elsewhere ReLU(g) is 0. This form has no square, no 0 / 0 and needs
    no epsilon; typical squared gradients lie below 1e-8.
    """

    needs: ClassVar[Needs] = "gradient"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        activation = self.activation(forward)
        total = activation.sum(dim=(2, 3), keepdim=True)

        def weighted(gradient: Tensor) -> Tensor:
            positive = gradient.relu()
            return positive / (2 + positive * total)

        return combine(activation, self.gradient(forward, class_ids).sum_of(weighted)).relu()
