"""Build backbones from timm's vision transformers."""

from wsol.networks.backbone import Backbone
from wsol.networks.transformers import timm_transformer, vit_backbone


def deit_tiny(weights: str | None = "imagenet", image_size: int = 224) -> Backbone:
    """Build DeiT-Ti with patches of 16 px, not distilled (192 channels); see `deit_small`."""
    return _vit("deit_tiny_patch16_224", weights, image_size)


def deit_small(weights: str | None = "imagenet", image_size: int = 224) -> Backbone:
    """Build DeiT-S with patches of 16 px, not distilled, up to its final norm (384 channels; 14 x 14 cells for 224 px).

    Source: Touvron et al., "Training data-efficient image transformers & distillation through attention", ICML 2021.

    The features are the patch tokens after the final norm; they have any sign, because no ReLU follows. The class token
    takes part in all blocks and is left out of the features. The published head reads the class token alone, so the
    patch tokens of the last block were never trained to carry the class, and the weights need fine-tuning under a
    pooling head.

    Args:
        weights: `imagenet`: timm's default weights, downloaded on first use; None: random.
        image_size: height and width in pixels, a multiple of 16; the learned positions are resampled from 224 px.

    Raises:
        ValueError: for another image size or other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    return _vit("deit_small_patch16_224", weights, image_size)


def vit_small(weights: str | None = "imagenet", image_size: int = 224) -> Backbone:
    """Build ViT-S with patches of 16 px (384 channels): `deit_small` with weights trained on ImageNet-21k first.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; weights of Steiner et al., "How to train
    your ViT?", TMLR 2022.
    """
    return _vit("vit_small_patch16_224", weights, image_size)


def _vit(name: str, weights: str | None, image_size: int) -> Backbone:
    return vit_backbone(*timm_transformer(name, weights, image_size, multiple_of=16))
