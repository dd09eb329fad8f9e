"""Ablation-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import LAST, ForwardPass, has_closed_form
from wsol.maps.perturbed_scores import CHUNK, chunks, replayed
from wsol.networks.classifier import Classifier


@dataclass(frozen=True)
class AblationCAM(LayerMap):
    """Ablation-CAM: a channel's weight is the share of the class score that is lost when the channel is set to zero.

        M = ReLU(Σ_c w_c A_c),  w_c = (y - y_c) / y

    Source: Desai and Ramaswamy, "Ablation-CAM", WACV 2020, eq. 1. As published, a negative score y inverts the map.
    Where the score is exactly zero, the loss itself is the weight.

    At the last layer of a head of pooling per channel and one linear layer, the loss is `fc.weight` times the loss of
    the pooled channel, and no further pass is needed; the same holds for any network that takes the mean there. Other
    layers need one further pass for each channel, and one with all channels.
    """

    needs: ClassVar[Needs] = "calls"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, >= 0."""
        activation = self.activation(forward)
        network, layer = forward.network, self.target_layer
        if layer == LAST and has_closed_form(network) and network.pool_site == "features":
            logits, pooling = forward.logits.detach(), network.pooling
            loss = (pooling(activation) - pooling(torch.zeros_like(activation[:1])))[:, None]
            loss = loss * forward.class_weights(layer, class_ids)
            score = logits.gather(1, class_ids)[:, :, None].to(activation.dtype)
        elif (weights := self._weights_of_means(forward, class_ids)) is not None:
            loss = activation.mean(dim=(2, 3))[:, None] * weights
            score = forward.logits.detach().gather(1, class_ids)[:, :, None].to(activation.dtype)
        else:
            # Replayed like the scores without a channel: in bfloat16 the pass's own score has a rounding error that
            # exceeds the contribution of a channel.
            logits = replayed(network, forward.images, layer, forward.outputs[layer].detach())
            score = logits.gather(1, class_ids)[:, :, None].to(activation.dtype)
            loss = score - self._ablated(forward, class_ids).to(activation.dtype)
        return combine(activation, loss / torch.where(score == 0, 1, score)).relu()

    def _weights_of_means(self, forward: ForwardPass, class_ids: Tensor) -> Tensor | None:
        """Return the (N, K, C) weights of a linear layer that reads the mean of each channel; None for other heads."""
        if isinstance(forward.network, Classifier):  # whose pooling need not be the mean
            return None
        try:
            return forward.class_weights(self.target_layer, class_ids, self.layout, self.prefix_tokens)
        except ValueError:
            return None

    def _ablated(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, C) class scores without each channel."""
        output = forward.outputs[self.target_layer].detach()
        axis = 1 if self.layout == "channels_first" else output.ndim - 1
        count = output.shape[axis]
        ablated = torch.empty(*class_ids.shape, count, device=output.device)
        for n, (image, activation, classes) in enumerate(zip(forward.images, output, class_ids, strict=True)):
            for part in chunks(count, CHUNK):
                channels = torch.arange(part.start, part.stop, device=output.device)
                without = activation.expand(len(channels), *activation.shape).clone()
                without.movedim(axis, 1)[torch.arange(len(channels)), channels] = 0
                images = image.expand(len(channels), *image.shape)
                ablated[n, :, part] = replayed(forward.network, images, self.target_layer, without)[:, classes].T
        return ablated
