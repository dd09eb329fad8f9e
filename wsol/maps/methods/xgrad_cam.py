"""XGrad-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class XGradCAM(LayerMap):
    """XGrad-CAM: a channel's weight is the mean of its gradient, weighted by its activation.

        M = ReLU(Σ_c w_c A_c),  w_c = Σ_ij A_cij G_cij / Σ_ij A_cij

    Source: Fu et al., "Axiom-based Grad-CAM", BMVC 2020. A channel without activation has the weight 0. Under GAP it is
    Grad-CAM; under GMP a weight is the peak's share of the channel's activation times the class weight.
    """

    needs: ClassVar[Needs] = "gradient"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        activation = self.activation(forward)
        total = activation.sum(dim=(2, 3))[:, None]
        weights = self.gradient(forward, class_ids).sum_with(activation) / torch.where(total == 0, 1, total)
        return combine(activation, torch.where(total == 0, 0, weights)).relu()
