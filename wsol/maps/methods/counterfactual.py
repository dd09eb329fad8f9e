"""Counterfactual Grad-CAM."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class Counterfactual(LayerMap):
    """Counterfactual Grad-CAM: Grad-CAM of the negated gradient, positive where the image lowers the class score.

        M = ReLU(Σ_c mean_ij(-G_c) A_c)

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017. The map is the part of the weighted sum that Grad-CAM cuts off, so
    no cell is positive in both.
    """

    needs: ClassVar[Needs] = "gradient"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        return combine(self.activation(forward), -self.gradient(forward, class_ids).mean()).relu()
