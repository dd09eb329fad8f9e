"""Class activation maps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class CAM(LayerMap):
    """CAM: the sum of the channels, weighted by the class's weights, where the head is pooling and one linear layer.

        M = Σ_c w_c A_c

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2.

    The map has any range, because CAM has no ReLU and no bias. For a max-pooled head it is the same weighted sum of the
    last features, as in the comparison of Zhou et al., section 3.2. Any other head raises ValueError.
    """

    needs: ClassVar[Needs] = "weights"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, any range."""
        weights = forward.class_weights(self.target_layer, class_ids, self.layout, self.prefix_tokens)
        return combine(self.activation(forward), weights)
