"""Class activation maps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class CAM(LayerMap):
    """CAM: the channels added with the class's own weights, where the head is pooling + one linear layer.

        M = Σ_c w_c A_c

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2.

    No ReLU, no bias: any range. For a max-pooled head it is the same weighted sum of the last features, as compared by
    Zhou et al., section 3.2. Raises ValueError where the head is something else.
    """

    needs: ClassVar[Needs] = "weights"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, h, w)."""
        weights = forward.class_weights(self.target_layer, class_ids, self.layout, self.prefix_tokens)
        return combine(self.activation(forward), weights)
