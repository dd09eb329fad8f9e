"""HiResCAM."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class HiResCAM(LayerMap):
    """HiResCAM: gradient times activation, cell by cell, added over channels.

        M = Σ_c G_c A_c

    Source: Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations", arXiv:2011.08891.

    HiResCAM has no ReLU: the cells add up to the class score where the head is linear. Under GAP it is CAM / (h * w);
    under GMP each channel contributes at one cell, its peak.
    """

    needs: ClassVar[Needs] = "gradient"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, any range."""
        return self.gradient(forward, class_ids).weigh(self.activation(forward))
