"""Gradient-weighted class activation maps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class GradCAM(LayerMap):
    """Grad-CAM: channels weighted by the mean gradient of the class score, then ReLU.

        M = ReLU(Σ_c mean_ij(G_c) A_c)

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017, eqs. 1 and 2. At the last convolution, before one linear layer and any pooling whose gradients sum to one
    (GAP, GMP), it is ReLU(CAM) / (h * w).
    """

    needs: ClassVar[Needs] = "gradient"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        return combine(self.activation(forward), self.gradient(forward, class_ids).mean()).relu()
