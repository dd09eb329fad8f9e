"""Attention rollout of vision transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from wsol.maps.base_map import MapsOfClasses, Needs
from wsol.maps.forward_pass import ForwardPass
from wsol.maps.self_attention import self_attention
from wsol.networks.token_grid import to_grid

_FUSIONS: dict[str, Callable[..., Tensor]] = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}


@dataclass(frozen=True)
class AttentionRollout(MapsOfClasses):
    """Attention rollout of a ViT: attention and skip connections, multiplied through the blocks.

        M = patches of r Â_B ... Â_1,  Â_b the rows of (A_b + I) / 2 normalized to sum to one

    Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. A_b is the attention of block b,
    averaged over its heads. r selects the rows of the tokens that the head reads: the class token; the mean of both
    tokens of a distilled DeiT; the mean of the patches for a head that pools patch tokens, such as wsol's. The map is
    the same for every class.

    The method costs one further forward pass. It takes a wsol `Classifier` with a ViT backbone, or any network with one
    timm VisionTransformer whose head is timm's own, and raises ValueError for others. The patches must be a square
    grid.

    Attributes:
        head_fusion: how the heads of a block are merged. Differs from the paper for `max` and `min`, which take the
            largest or smallest attention of any head.
    """

    needs: ClassVar[Needs] = "attention"

    head_fusion: Literal["mean", "max", "min"] = "mean"

    def __post_init__(self) -> None:
        if self.head_fusion not in _FUSIONS:
            raise ValueError(
                f"head_fusion of AttentionRollout must be one of {sorted(_FUSIONS)}, got {self.head_fusion!r}."
            )

    @property
    def target_layers(self) -> tuple[str, ...]:
        """Empty, because the method reads attention, not activations."""
        return ()

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, in [0, 1].

        The cells of a map and the shares of the prefix tokens sum to one.
        """
        attention = self_attention(forward.network)
        fuse = _FUSIONS[self.head_fusion]
        matrices = attention.matrices(forward.network, forward.images, lambda heads: fuse(heads, dim=1))
        shares = torch.zeros_like(matrices[0][:, 0])  # (N, L)
        shares[:, attention.read] = 1
        shares /= shares.sum(dim=1, keepdim=True)
        # From the last block down, one row per image, which avoids the product of whole matrices.
        for matrix in reversed(matrices):
            shares = shares / (1 + matrix.sum(dim=2))
            shares = shares + (shares[:, None] @ matrix)[:, 0]
        maps = to_grid(shares[..., None], "tokens", "attention", attention.prefix_tokens)
        return maps.expand(-1, class_ids.shape[1], -1, -1)
