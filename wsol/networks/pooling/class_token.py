"""Class token in place of a pooling."""

from typing import ClassVar

import torch
from torch import Tensor

from wsol.networks.base_pooling import Pooling


class ClassToken(Pooling):
    """The class token of a transformer, which `tokens: class_and_patches` copies to every cell.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, eq. 4.

    The pooling reads the second half of the channels; their mean over the cells is the token, because all cells are
    equal. The linear layer behind it has no weight for a patch, so CAM is undefined. No gradient reaches the patch
    tokens after the last attention, so gradient methods need an earlier target layer (see `wsol.networks.token_grid`).
    """

    map_hint: ClassVar[str] = (
        "Take maps=[attention_rollout], or maps=[grad_cam] at a layer before the last attention, of 12 blocks "
        "maps.grad_cam.target_layer=backbone.network.blocks.11.norm1 +maps.grad_cam.layout=tokens "
        "+maps.grad_cam.prefix_tokens=1 (one more for each register)."
    )

    def prepare(self, channels: int) -> int:
        """Return C for 2C channels.

        Raises:
            ValueError: for an odd number of channels.
        """
        if channels % 2:
            raise ValueError(f"pooling=class_token reads half of the channels, got {channels}; {_REMEDY}.")
        return channels // 2

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, 2C, h, w) to (N, C).

        Raises:
            ValueError: if the second half of the channels differs between cells, unlike a class token.
        """
        token = features[:, features.shape[1] // 2 :]
        # Without this check any network with an even number of channels would pass, with half of its channels unread.
        if not torch.compiler.is_compiling() and not torch.equal(token, token[:, :, :1, :1].expand_as(token)):
            raise ValueError(f"pooling=class_token found cells that differ where the class token should be; {_REMEDY}.")
        return token.mean(dim=(2, 3))


_REMEDY = "take backbone=timm with a network that has a class token and backbone.tokens=class_and_patches"
