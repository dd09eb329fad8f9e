"""Read the attention matrices of a ViT while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformerStage
from timm.models.vision_transformer import Attention, VisionTransformer
from torch import Tensor, nn

from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode
from wsol.networks.transformers import TokenGrid


@dataclass(frozen=True)
class SelfAttention:
    """The attention of a ViT's blocks, and the tokens that its head reads.

    Attributes:
        layers: attention of each block, in order.
        prefix_tokens: number of tokens before the patches.
        read: tokens of the last block that the head reads.
    """

    layers: tuple[Attention, ...]
    prefix_tokens: int
    read: slice

    def matrices(self, network: nn.Module, images: Tensor, fuse: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Run the network once more and return each block's attention; a row belongs to the token that attends.

        Each block computes its output as usual, fused or not; the matrix is computed separately from the block's
        queries and keys. The network stays unchanged, also after an error.

        Args:
            network: the network that contains the layers.
            images: (N, 3, H, W) input of the network.
            fuse: maps the attention of one block, (N, heads, L, L), to the tensor that is kept.
        """
        matrices: list[Tensor] = []
        handles = []
        try:
            for layer in self.layers:
                queries: list[Tensor] = []
                handles.append(layer.q_norm.register_forward_hook(_keep(queries)))
                handles.append(layer.k_norm.register_forward_hook(_attend(queries, layer.scale, fuse, matrices)))
            with evaluation_mode(network), torch.no_grad():
                network(images)
        finally:
            for handle in handles:
                handle.remove()
        return matrices


def self_attention(network: nn.Module) -> SelfAttention:
    """Find the attention of a wsol `Classifier` with a ViT, or of a network that contains one timm VisionTransformer.

    Raises:
        ValueError: for a network whose blocks do not all attend between all tokens of an image in sequence, or whose
            head reads the tokens in a way that corresponds to no row of attention.
    """
    backbone = network.backbone if isinstance(network, Classifier) else None
    if any(isinstance(module, SwinTransformerStage) for module in network.modules()):
        raise ValueError(
            "Swin attends within windows, so no attention matrix spans the image and rollout is not defined; use cam "
            "or grad_cam at the layer 'backbone'."
        )
    grid = getattr(backbone, "grid", None) or getattr(backbone, "patches", None)
    trunk: Any = getattr(backbone, "network", backbone)  # backbone=timm wraps the ViT in a module `network`
    if isinstance(grid, TokenGrid) and hasattr(trunk, "blocks"):
        prefix, read, blocks = grid.prefix_tokens, slice(grid.prefix_tokens, None), trunk.blocks
    else:
        vits = [module for module in network.modules() if isinstance(module, VisionTransformer)]
        if len(vits) != 1:
            raise ValueError(
                f"Attention rollout needs one ViT, and {type(network).__name__} holds {len(vits)}; use cam or "
                "grad_cam, or a backbone like deit_small."
            )
        prefix, read, blocks = vits[0].num_prefix_tokens, _read(vits[0]), vits[0].blocks
    layers: list[Any] = [getattr(block, "attn", None) for block in blocks.children()]
    if not layers or any(getattr(type(layer), "forward", None) is not Attention.forward for layer in layers):
        kinds = sorted({type(layer).__name__ for layer in layers})
        raise ValueError(f"Attention rollout needs blocks with timm's Attention, got {kinds}; use grad_cam.")
    return SelfAttention(tuple(layers), prefix, read)


def _read(vit: Any) -> slice:
    if isinstance(vit, VisionTransformerDistilled):
        return slice(0, 2)  # the mean of two heads, on the class token and on the distillation token
    if vit.global_pool == "token":
        return slice(0, 1)
    if vit.global_pool in ("avg", "max", "avgmax"):
        return slice(0 if vit.pool_include_prefix else vit.num_prefix_tokens, None)
    raise ValueError(
        f"Attention rollout reads the class token's row or the mean row of pooled tokens; this ViT has "
        f"global_pool={vit.global_pool!r}. Use grad_cam."
    )


def _keep(queries: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    return lambda module, inputs, output: queries.append(output)


def _attend(
    queries: list[Tensor], scale: float, fuse: Callable[[Tensor], Tensor], matrices: list[Tensor]
) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
        query, key = queries.pop().to(dtype) * scale, output.to(dtype)
        matrices.append(fuse((query @ key.transpose(-2, -1)).softmax(dim=-1)))

    return hook
