"""Gradient-weighted class activation maps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.forward_pass import LAST, ForwardPass


@dataclass(frozen=True)
class GradCAM:
    """Grad-CAM: channels weighted by the mean gradient of the class score, then ReLU.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017, eqs. 1 and 2. At the last convolution of a pooling + linear head it is ReLU(CAM) / (h * w).

    Attributes:
        target_layer: dotted module name of the layer that is explained; `backbone` is the last convolution.
    """

    target_layer: str = LAST

    def __call__(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make the maps.

        Args:
            forward: a pass that kept `target_layer`.
            class_ids: (N,) int64, or (N, K) for several classes an image; each further class costs one more backward
                pass through the layers after `target_layer`, and none through the trunk.

        Returns:
            (N, h, w) or (N, K, h, w) float, >= 0.
        """
        activation = forward.activations[self.target_layer]
        columns = class_ids.reshape(len(class_ids), -1)
        maps = []
        with torch.inference_mode(False), torch.no_grad():
            for column in columns.unbind(dim=1):
                # The sum of the class scores: in eval mode images do not mix, so one pass serves the batch.
                seed = torch.zeros_like(forward.logits).scatter_(1, column[:, None].clone(), 1)
                (gradient,) = torch.autograd.grad(forward.logits, activation, seed, retain_graph=True)
                weights = gradient.mean(dim=(2, 3))
                maps.append(torch.einsum("nchw,nc->nhw", activation, weights).relu())
        return torch.stack(maps, dim=1).reshape(*class_ids.shape, *activation.shape[2:])
