"""Grad-CAM tells where, guided backpropagation in what detail."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import interpolate

from wsol.maps.base_map import Channels, LayerMap, Needs, check_channels, merge_channels
from wsol.maps.forward_pass import ForwardPass
from wsol.maps.guided_relu import guided_gradients
from wsol.maps.methods.grad_cam import GradCAM


@dataclass(frozen=True)
class GuidedGradCAM(LayerMap):
    """Guided Grad-CAM: guided backpropagation times Grad-CAM, which is brought to the size of the image.

        M = max_c |R_c| · upsample(ReLU(Σ_c mean_ij(G_c) A_c))

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017. Upsampled bilinearly, pixel centres on pixel centres. Grad-CAM is made of the true gradient, not of the
    guided one. Raises ValueError for a network without ReLUs; see `guided_gradients`.

    Attributes:
        channels: how the colours of the product become one number; see `merge_channels`.
    """

    needs: ClassVar[Needs] = "gradient"

    channels: Channels = "max_abs"

    def __post_init__(self) -> None:
        check_channels(self.channels)

    def attributions(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, 3, H, W) in colour, any range."""
        where = GradCAM(self.target_layer, self.layout, self.prefix_tokens).maps(forward, class_ids)
        size = forward.images.shape[-2:]
        detail = guided_gradients(forward.network, forward.images, class_ids)
        return detail * interpolate(where, size, mode="bilinear", align_corners=False)[:, :, None]

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, H, W)."""
        return merge_channels(self.attributions(forward, class_ids), self.channels)
