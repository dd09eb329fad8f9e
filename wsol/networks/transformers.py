"""Build backbones from timm's vision transformers: arrange patches and class token as a feature map."""

from collections import OrderedDict
from typing import Any

import timm
import torch
from torch import Tensor, nn

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import Normalization, timm_weights
from wsol.networks.token_grid import Layout, to_grid


class ClassAndPatches(nn.Module):
    """Module that gives each cell its patch token and, as further channels, a copy of the image's class token.

    The features keep the one form that poolings and map methods read, and a head on the class token is one more
    pooling, `wsol.networks.pooling.class_token`.

    Args:
        prefix_tokens: number of tokens before the patches; the class token is the first.
    """

    def __init__(self, prefix_tokens: int) -> None:
        super().__init__()
        self.prefix_tokens = prefix_tokens

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, L, C) to (N, 2C, h, w): the patches, then the class token in every cell."""
        patches = to_grid(tokens, "tokens", "patches", self.prefix_tokens)
        return torch.cat([patches, tokens[:, 0, :, None, None].expand_as(patches)], dim=1)


class ImageSize(nn.Module):
    """Module that checks the size of images; a transformer's position embeddings fit one size only."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, 3, H, W) unchanged.

        Raises:
            ValueError: for images of another size.
        """
        if images.shape[-2:] != self.size:
            raise ValueError(
                f"This transformer takes images of {self.size[0]} x {self.size[1]} px, got "
                f"{images.shape[-2]} x {images.shape[-1]}; set the backbone's image_size or the data's."
            )
        return images


class ClassTokenAndPositions(nn.Module):
    """Module that puts the class token before the patches and adds learned positions to all tokens."""

    def __init__(self, cls_token: nn.Parameter, pos_embed: nn.Parameter) -> None:
        super().__init__()
        self.cls_token = cls_token  # (1, 1, C)
        self.pos_embed = pos_embed  # (1, 1 + L, C)

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches (N, L, C) to tokens (N, 1 + L, C)."""
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed


class TokenGrid(nn.Module):
    """Module that applies `to_grid`, as the last step of a trunk."""

    def __init__(self, layout: Layout, prefix_tokens: int = 0) -> None:
        super().__init__()
        self.layout: Layout = layout
        self.prefix_tokens = prefix_tokens

    def forward(self, output: Tensor) -> Tensor:
        """Map an output of this layout to (N, C, h, w)."""
        return to_grid(output, self.layout, "grid", self.prefix_tokens)


def timm_transformer(
    name: str, weights: str | None, image_size: int, multiple_of: int, **resizing: Any
) -> tuple[Any, Normalization, Normalization]:
    """Create a whole timm transformer for images of one size, with the mean and std of its weights.

    Args:
        name: name in timm.
        weights: `imagenet`: timm's default weights, downloaded on first use; None: random.
        image_size: height and width in pixels. Position embeddings are resampled from the size of training.
        multiple_of: required divisor of the image size, so that every cell covers pixels of the image alone.
        resizing: further arguments of the network's `set_input_size`.

    Raises:
        ValueError: for other weights or another image size.
        ConnectionError: if the weights cannot be downloaded.
    """
    if weights not in (None, "imagenet"):
        raise ValueError(f"weights of {name} must be imagenet or null, got {weights!r}.")
    if image_size <= 0 or image_size % multiple_of:
        raise ValueError(f"image_size of {name} must be a multiple of {multiple_of}, got {image_size}.")
    network: Any = timm.create_model(name, pretrained=False)
    mean, std = tuple(network.pretrained_cfg["mean"]), tuple(network.pretrained_cfg["std"])
    if weights == "imagenet":
        state, mean, std = timm_weights(name)
        network.load_state_dict(state)
    if (image_size, image_size) != tuple(network.patch_embed.img_size):
        network.set_input_size(img_size=(image_size, image_size), **resizing)
    return network, mean, std


def vit_backbone(network: Any, *normalization: Normalization) -> Backbone:
    """Build a backbone from a ViT up to its final norm, with the patch tokens as (N, C, h, w).

    timm's modules keep their names, so `blocks.11.norm1` is `backbone.blocks.11.norm1` of the classifier. The class
    token takes part in all blocks, as it did in training, and is left out of the grid.

    Args:
        network: timm's VisionTransformer with a class token and learned positions of all tokens.
        normalization: mean and std of images in [0, 1].

    Raises:
        ValueError: for a network with other tokens.
    """
    positions = 0 if network.pos_embed is None else network.pos_embed.shape[1]
    if network.cls_token is None or positions != network.patch_embed.num_patches + 1 or network.num_prefix_tokens != 1:
        raise ValueError(
            f"vit_backbone takes a ViT with a class token and one learned position for it and each patch, got "
            f"{network.num_prefix_tokens} prefix tokens, {positions} positions and {network.patch_embed.num_patches} "
            "patches."
        )
    kept = ("pos_drop", "patch_drop", "norm_pre", "blocks", "norm")
    trunk = OrderedDict[str, nn.Module](
        image_size=ImageSize(*network.patch_embed.img_size),
        patch_embed=network.patch_embed,
        embed=ClassTokenAndPositions(network.cls_token, network.pos_embed),
        **{name: network.get_submodule(name) for name in kept},
        grid=TokenGrid("tokens", prefix_tokens=1),
    )
    return Backbone(nn.Sequential(trunk), network.num_features, *normalization)


def swin_backbone(network: Any, *normalization: Normalization) -> Backbone:
    """Build a backbone from a Swin Transformer up to its final norm, as (N, C, h, w); timm's modules keep their names.

    Args:
        network: timm's SwinTransformer.
        normalization: mean and std of images in [0, 1].
    """
    trunk = OrderedDict[str, nn.Module](
        image_size=ImageSize(*network.patch_embed.img_size),
        **{name: network.get_submodule(name) for name in ("patch_embed", "layers", "norm")},
        grid=TokenGrid("channels_last"),
    )
    return Backbone(nn.Sequential(trunk), network.num_features, *normalization)
