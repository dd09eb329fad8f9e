"""Map of ACoL, for a classifier with two complementary branches."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wsol.maps.base_map import MapsOfClasses, Needs
from wsol.maps.forward_pass import LAST, ForwardPass
from wsol.networks.two_branches import TwoBranches


@dataclass(frozen=True)
class ACoLCAM(MapsOfClasses):
    """ACoL's map: the cell-wise maximum of both branches' class activation maps, each min-max normalized.

        M = max(M_A, M_B),  M_B from the features without the cells where M_A > δ

    Source: Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018. A's
    map of the requested class erases the input of branch B, so branch B runs once more for each class. A's map alone is
    CAM at the target layer `branch_a`. A classifier without two branches raises ValueError.
    """

    needs: ClassVar[Needs] = "activation"
    reads_images: ClassVar[bool] = False

    @property
    def target_layers(self) -> tuple[str, ...]:
        """The trunk, whose output both branches read."""
        return (LAST,)

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, in [0, 1]."""
        network = forward.network
        if not isinstance(network, TwoBranches):
            raise ValueError(
                f"acol_cam needs the two branches that method=acol trains, and {type(network).__name__} has one head; "
                "take cam, or train with method=acol."
            )
        features = forward.outputs[LAST].detach()
        return network.fused_maps(features, class_ids)
