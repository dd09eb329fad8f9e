"""Guided Grad-CAM."""

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
    """Guided Grad-CAM: guided backpropagation times Grad-CAM, upsampled to the size of the image.

        M = max_c |R_c| · upsample(ReLU(Σ_c mean_ij(G_c) A_c))

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017. The upsampling is bilinear and aligns pixel centres. Grad-CAM reads the true gradient, not the guided
    gradient. A network without ReLUs raises ValueError; see `guided_gradients`.

    Attributes:
        channels: how the colours of the product are merged; see `merge_channels`.
    """

    needs: ClassVar[Needs] = "gradient"
    reads_images: ClassVar[bool] = True

    channels: Channels = "max_abs"

    def __post_init__(self) -> None:
        check_channels(self.channels)

    def attributions(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, 3, H, W) attributions, in colour, of (N, K) class ids, any range."""
        where = GradCAM(self.target_layer, self.layout, self.prefix_tokens).maps(forward, class_ids)
        size = forward.images.shape[-2:]
        detail = guided_gradients(forward.network, forward.images, class_ids)
        return detail * interpolate(where, size, mode="bilinear", align_corners=False)[:, :, None]

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, H, W) maps of (N, K) class ids."""
        return merge_channels(self.attributions(forward, class_ids), self.channels)
