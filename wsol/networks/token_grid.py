"""From what a layer gives, in whatever order, to a grid of channels.

Target layers of transformers, timm's names (below `backbone.` in a classifier of ours):

- `backbone` of a classifier of ours: the patch tokens after the final norm, already (N, C, h, w); every method works.
- ViT with a head on the class token: `blocks.11.norm1` with `layout="tokens"`, `prefix_tokens=1` (2 for a distilled
  DeiT; plus one for each register), or an earlier block. After the last block the class token alone is read: the
  patches' gradient is exactly zero there, and gradient methods raise ValueError.
- ViT with a head on pooled patches: any block's output or norm, `layout="tokens"`.
- Swin: `norm`, or any stage or block like `layers.3`, with `layout="channels_last"`.
"""

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


def check_patch_gradient(gradient: Tensor, layer: str, prefix_tokens: int) -> None:
    """Refuse a layer where prefix tokens have a gradient and patches, in all images, have none: nothing reads them.

    A network that is dead altogether passes, and gets maps of zeros.

    Args:
        gradient: (N, L, C).
        layer: its name, for the message.
        prefix_tokens: how many tokens come before the patches.

    Raises:
        ValueError: naming the layer to use instead.
    """
    if not gradient[:, prefix_tokens:].any() and gradient[:, :prefix_tokens].any():
        raise ValueError(
            f"No gradient reaches the patch tokens of target layer {layer!r}: the head reads the class token alone. "
            "Name a layer before the last attention, like `norm1` of the last block (blocks.11.norm1), or an earlier "
            "block."
        )
