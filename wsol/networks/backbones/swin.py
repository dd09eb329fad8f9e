"""Build backbones from timm's Swin Transformers."""

from wsol.networks.backbone import Backbone
from wsol.networks.transformers import swin_backbone, timm_transformer


def swin_tiny(weights: str | None = "imagenet", image_size: int = 224) -> Backbone:
    """Build Swin-T with patches of 4 px and windows of 7, up to its final norm (768 channels; 7 x 7 cells for 224 px).

    Source: Liu et al., "Swin Transformer", ICCV 2021. Swin-T has no class token, and its published head is mean pooling
    and one linear layer, so the weights fit a pooling head. The features have any sign, because no ReLU follows.

    Args:
        weights: `imagenet`: timm's default weights, downloaded on first use; None: random.
        image_size: height and width in pixels, a multiple of 32. Windows stay 7 patches wide, or become the whole grid
            of a stage where that is smaller.

    Raises:
        ValueError: for another image size or other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    return swin_backbone(
        *timm_transformer("swin_tiny_patch4_window7_224", weights, image_size, multiple_of=32, window_size=(7, 7))
    )
