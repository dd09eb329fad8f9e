"""Class activation maps with negative weight clamping."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class CAMNWC(LayerMap):
    """CAM with negative weight clamping: channels with negative weights do not lower the map.

        M = Σ_c max(w_c, 0) A_c

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization",
    ECCV 2020, whose other two parts are `pooling=tap` and `protocol=pas`. The logits keep all weights.

    A head other than pooling and one linear layer raises ValueError.
    """

    needs: ClassVar[Needs] = "weights"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids; >= 0 where all activations are."""
        weights = forward.class_weights(self.target_layer, class_ids, self.layout, self.prefix_tokens)
        return combine(self.activation(forward), weights.clamp(min=0))
