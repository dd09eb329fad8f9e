"""Patch tokens and the class token as one grid of features."""

import torch
from torch import Tensor, nn

from wsol.token_grid import to_grid


class ClassAndPatches(nn.Module):
    """Each cell holds its patch token and, as further channels, a copy of the image's class token.

    So the features keep the one form that poolings and map methods read, and a head on the class token is one more
    pooling, `wsol.pooling.class_token`.

    Args:
        prefix_tokens: tokens before the patches, the class token the first of them.
    """

    def __init__(self, prefix_tokens: int) -> None:
        super().__init__()
        self.prefix_tokens = prefix_tokens

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) -> (N, 2C, h, w): the patches, then the class token in every cell."""
        patches = to_grid(tokens, "tokens", "patches", self.prefix_tokens)
        return torch.cat([patches, tokens[:, 0, :, None, None].expand_as(patches)], dim=1)
