"""Class activation maps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.forward_pass import LAST, ForwardPass


@dataclass(frozen=True)
class CAM:
    """Class activation maps of a classifier whose head is pooling + one linear layer.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2.

    For a max-pooled head it is the same weighted sum of the last features, as compared by Zhou et al., section 3.2.
    """

    target_layer: str = LAST

    def __call__(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make the maps.

        Args:
            forward: a pass that kept `target_layer`.
            class_ids: (N,) int64, or (N, K) for several classes an image.

        Returns:
            (N, h, w) or (N, K, h, w) float, any range: no ReLU, no bias.

        Raises:
            ValueError: if fc has not one weight per feature channel.
        """
        features = forward.activations[self.target_layer]
        weights = forward.classifier.fc.weight
        if weights.shape[1] != features.shape[1]:
            raise ValueError(
                f"CAM needs one fc weight per channel, got {weights.shape[1]} for the {features.shape[1]} channels "
                f"of {self.target_layer!r}."
            )
        with torch.no_grad():
            return torch.einsum("nchw,n...c->n...hw", features, weights[class_ids].to(features.dtype))
