"""LayerCAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsol.maps.base_map import MapsOfClasses, Needs
from wsol.maps.forward_pass import LAST, ForwardPass
from wsol.networks.token_grid import Layout


@dataclass(frozen=True)
class LayerCAM(MapsOfClasses):
    """LayerCAM: activations weighted cell by cell with their positive gradients, at one layer or fused over several.

        M = ReLU(Σ_c ReLU(G_c) A_c);  fused: max over layers of tanh(scale M / max M), for the deepest M / max M

    Source: Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 2021. Maps
    are fused by their maximum; maps of shallow layers are scaled up first, because their few strong cells would vanish
    otherwise. Maps of several layers are resized to the largest one by bilinear interpolation.

    Attributes:
        target_layers: dotted module names, in the order in which they run; the last one is the deepest.
        scale: γ of the paper, the factor of the shallow maps.
        layout: layout of the layers' outputs; see `to_grid`.
        prefix_tokens: number of tokens before the patches, for `layout="tokens"`.
    """

    needs: ClassVar[Needs] = "gradient"
    reads_images: ClassVar[bool] = False

    target_layers: tuple[str, ...] = (LAST,)
    scale: float = 2.0
    layout: Layout = "channels_first"
    prefix_tokens: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.target_layers, str) or not self.target_layers:
            raise ValueError(f"target_layers of LayerCAM must be a list of names, got {self.target_layers!r}.")
        object.__setattr__(self, "target_layers", tuple(self.target_layers))  # a config gives a list

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        maps = [self._at(layer, forward, class_ids) for layer in self.target_layers]
        if len(maps) == 1:
            return maps[0]
        size = max((layer_map.shape[2:] for layer_map in maps), key=lambda shape: shape[0] * shape[1])
        fused = []
        for place, layer_map in enumerate(maps):
            peak = layer_map.amax(dim=(2, 3), keepdim=True)
            scaled = layer_map / torch.where(peak > 0, peak, 1)
            enhanced = scaled if place == len(maps) - 1 else (self.scale * scaled).tanh()
            fused.append(interpolate(enhanced, size, mode="bilinear", align_corners=False))
        return torch.stack(fused).amax(dim=0)

    def _at(self, layer: str, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        activation = forward.activation(layer, self.layout, self.prefix_tokens)
        gradient = forward.gradient(layer, class_ids, self.layout, self.prefix_tokens)
        return gradient.weigh_positive(activation).relu()
