"""Class activation maps without negative weights."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class CAMNWC(LayerMap):
    """CAM with negative weight clamping: channels that speak against the class do not lower its map.

        M = Σ_c max(w_c, 0) A_c

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization",
    ECCV 2020, whose other two parts are `pooling=tap` and `protocol=pas`. The logits keep all weights.

    Raises ValueError where the head is not pooling + one linear layer.
    """

    needs: ClassVar[Needs] = "weights"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, h, w); not below 0 where no activation is."""
        weights = forward.class_weights(self.target_layer, class_ids, self.layout, self.prefix_tokens)
        return combine(self.activation(forward), weights.clamp(min=0))
