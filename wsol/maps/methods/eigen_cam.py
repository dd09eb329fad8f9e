"""Eigen-CAM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wsol.maps.base_map import LayerMap, Needs
from wsol.maps.forward_pass import ForwardPass


@dataclass(frozen=True)
class EigenCAM(LayerMap):
    """Eigen-CAM: the activations projected on their first right singular vector.

        M = A v,  A = U Σ Vᵀ as an (h w, C) matrix, v the first column of V

    Source: Muhammad and Yeasin, "Eigen-CAM", IJCNN 2020. The activations are not centred. The map is the same for every
    class. The sign of a singular vector is arbitrary; here it makes the sum of the map positive.
    """

    needs: ClassVar[Needs] = "activation"

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, any range, mostly positive."""
        activation = self.activation(forward)
        cells = activation.double().flatten(2).transpose(1, 2)  # (N, h w, C)
        # The smaller of A Aᵀ and Aᵀ A: a singular value decomposition of A itself takes ten times as long.
        if cells.shape[1] <= cells.shape[2]:
            values, vectors = torch.linalg.eigh(cells @ cells.transpose(1, 2))
            projected = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
        else:
            _, vectors = torch.linalg.eigh(cells.transpose(1, 2) @ cells)
            projected = (cells @ vectors[:, :, -1:])[:, :, 0]
        sign = torch.where(projected.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
        maps = (projected * sign).to(activation.dtype).unflatten(1, activation.shape[2:])
        return maps[:, None].expand(-1, class_ids.shape[1], -1, -1)
