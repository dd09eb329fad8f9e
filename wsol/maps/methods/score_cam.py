"""Score-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import ForwardPass
from wsol.maps.perturbed_scores import chunks, scores
from wsol.networks.pixels import mean_color, to_pixels


@dataclass(frozen=True)
class ScoreCAM(LayerMap):
    """Score-CAM: a channel's weight is the class score of the image masked by that channel.

        M = ReLU(Σ_c w_c A_c),  w = softmax over c of f(X ∘ H_c),  H_c = A_c upsampled, min-max normalized

    Source: Wang et al., "Score-CAM", CVPR workshops 2020. The score of the blank image, which the paper subtracts from
    each f, is the same for all channels and cancels in the softmax. The upsampling is bilinear. Hidden pixels get the
    network's mean colour; a constant channel hides everything.

    The method costs one further forward pass for each channel and image, whatever the number of classes.

    Attributes:
        channels: number of channels to score, those with the largest activation of each image; the others have zero
            weight. None, as published: all channels.
    """

    needs: ClassVar[Needs] = "calls"
    reads_images: ClassVar[bool] = True

    channels: int | None = None

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise ValueError(f"channels of ScoreCAM must be a positive number or null, got {self.channels}.")

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        activation, images = self.activation(forward), to_pixels(forward.network, forward.images)
        weights = [
            self._weights(forward, image[None], channels, classes)
            for image, channels, classes in zip(images, activation, class_ids, strict=True)
        ]
        return combine(activation, torch.stack(weights)).relu()

    def _weights(self, forward: ForwardPass, image: Tensor, channels: Tensor, classes: Tensor) -> Tensor:
        """Return the (K, C) weights for one image (1, 3, H, W) with channels (C, h, w)."""
        count = len(channels) if self.channels is None else min(self.channels, len(channels))
        strongest = channels.flatten(1).sum(dim=1).argsort(descending=True, stable=True)[:count]
        class_scores, hidden = [], mean_color(forward.network)
        for part in chunks(count):
            masks = channels[strongest[part]][:, None]
            masks = interpolate(masks, image.shape[-2:], mode="bilinear", align_corners=False)
            lowest = masks.amin(dim=(2, 3), keepdim=True)
            span = masks.amax(dim=(2, 3), keepdim=True) - lowest
            masks = (masks - lowest) / torch.where(span > 0, span, 1)
            class_scores.append(scores(forward.network, hidden + masks * (image - hidden))[:, classes])
        weights = torch.zeros(len(classes), len(channels), dtype=channels.dtype, device=channels.device)
        weights[:, strongest] = torch.cat(class_scores).softmax(dim=0).T.to(channels.dtype)
        return weights
