"""From what a layer gives, in whatever order, to a grid of channels."""

import math
from typing import Literal

from torch import Tensor

Layout = Literal["channels_first", "channels_last", "tokens"]


def to_grid(output: Tensor, layout: Layout, layer: str, prefix_tokens: int = 0) -> Tensor:
    """Bring a layer's output to (N, C, h, w).

    Args:
        output: `channels_first`: (N, C, h, w), as convolutions give it. `channels_last`: (N, h, w, C), as the blocks
            of timm's Swin give it. `tokens`: (N, L, C), as the blocks of a ViT give it: the prefix tokens (class,
            distillation, registers) come first and have no place, the rest are the patches of a square grid, row by
            row.
        layout: which of these it is; never guessed.
        layer: its name, for messages.
        prefix_tokens: how many tokens come before the patches.

    Raises:
        ValueError: if the output is not of that layout, or its patches are no square grid.
    """
    wanted = {"channels_first": "(N, C, h, w)", "channels_last": "(N, h, w, C)", "tokens": "(N, L, C)"}
    if layout not in wanted:
        raise ValueError(f"The layout of target layer {layer!r} must be one of {sorted(wanted)}, got {layout!r}.")
    if output.ndim != (3 if layout == "tokens" else 4):
        other = "; set the method's layout" if output.ndim in (3, 4) else ""
        raise ValueError(f"Target layer {layer!r} must give {wanted[layout]}, got {tuple(output.shape)}{other}.")
    if layout == "channels_first":
        return output
    if layout == "channels_last":
        return output.permute(0, 3, 1, 2)
    patches = output[:, prefix_tokens:]
    side = math.isqrt(patches.shape[1])
    if side * side != patches.shape[1] or side == 0:
        raise ValueError(
            f"Target layer {layer!r} gives {output.shape[1]} tokens; less {prefix_tokens} prefix tokens they are no "
            "square grid of patches. Set the method's prefix_tokens."
        )
    return patches.transpose(1, 2).unflatten(2, (side, side))
