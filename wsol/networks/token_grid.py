"""Bring the output of a target layer, in any layout, to a grid of channels.

Target layers of transformers have timm's names (below `backbone.` in a wsol `Classifier`):

- `backbone` of a wsol `Classifier`: the patch tokens after the final norm, already (N, C, h, w); every method works.
- ViT with a head on the class token: `blocks.11.norm1` with `layout="tokens"`, `prefix_tokens=1` (2 for a distilled
  DeiT; plus one for each register), or an earlier block. After the last block the head reads the class token alone: the
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
        output: output of the layer. `channels_first`: (N, C, h, w), as of convolutions. `channels_last`: (N, h, w, C),
            as of the blocks of timm's Swin. `tokens`: (N, L, C), as of the blocks of a ViT: the prefix tokens (class,
            distillation, registers) come first and have no place in the image, the others are the patches of a square
            grid, row by row.
        layout: layout of the output; it is never guessed.
        layer: name of the layer, for messages.
        prefix_tokens: number of tokens before the patches.

    Raises:
        ValueError: if the output does not have that layout, or its patches are not a square grid.
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
    """Raise ValueError if prefix tokens have a gradient and no patch of any image has one, because nothing reads them.

    A network without any gradient passes and gets maps of zeros.

    Args:
        gradient: (N, L, C).
        layer: name of the layer, for the message.
        prefix_tokens: number of tokens before the patches.

    Raises:
        ValueError: naming the layer to use instead.
    """
    if not gradient[:, prefix_tokens:].any() and gradient[:, :prefix_tokens].any():
        raise ValueError(
            f"No gradient reaches the patch tokens of target layer {layer!r}: the head reads the class token alone. "
            "Name a layer before the last attention, like `norm1` of the last block (blocks.11.norm1), or an earlier "
            "block."
        )
