"""Build a backbone from any classification network of torchvision, by its name."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from wsol.networks.backbone import Backbone
from wsol.networks.backbones.resnet import remove_strides
from wsol.networks.library_networks import check_name, layout_of, try_features
from wsol.networks.pretrained import torchvision_weights
from wsol.networks.transformers import ImageSize, TokenGrid

# torchvision's names of the parts of its heads; all other children run in order.
_HEAD = {"avgpool", "flatten", "dropout", "fc", "classifier", "head", "heads", "aux1", "aux2", "AuxLogits"}
_STRIDED_STAGES = {32: (), 16: ("layer4",), 8: ("layer3", "layer4")}


def torchvision_network(
    name: str, weights: str | None = "imagenet", image_size: int | None = None, output_stride: int | None = None
) -> Backbone:
    """Build a network of torchvision up to the last features of its trunk, as (N, C, h, w).

    The modules keep their names: `layer4` is the target layer `backbone.layer4`. Poolings that torchvision counts among
    the features stay, like the last one of VGG.

    Args:
        name: name of a classification network, as in `torchvision.models.list_models(torchvision.models)`.
        weights: `imagenet`: torchvision's default weights, downloaded on first use; None: random.
        image_size: height and width in pixels; None: 224. It binds ViT and MaxViT, whose positions are resampled to it;
            others take any size.
        output_stride: pixels per cell; 16 or 8 for the ResNet family (with ResNeXt and Wide ResNet), as in
            `wsol.networks.backbones.resnet`; None: as published.

    Raises:
        ValueError: for a name that torchvision lacks, other weights, or an image size or output stride that the network
            cannot have.
        ConnectionError: if the weights cannot be downloaded.
    """
    check_name(name, models.list_models(module=models), "torchvision")
    state, mean, std = torchvision_weights(name, weights)
    size = image_size or 224
    try:
        network: Any = models.get_model(name, weights=None, **_settings(name, size))
    except (AssertionError, ValueError) as error:
        raise ValueError(f"{name} cannot be made for images of {size} x {size} px: {error}.") from None
    if state is not None:
        network.load_state_dict(_resampled(network, state))
    if isinstance(network, models.GoogLeNet | models.Inception3):
        # These weights were trained on images in [-1, 1]; torchvision's networks convert them (`transform_input`).
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    if output_stride is not None:
        if not isinstance(network, models.ResNet) or output_stride not in _STRIDED_STAGES:
            raise ValueError(
                f"output_stride of {name} must be null{', 32, 16 or 8' if isinstance(network, models.ResNet) else ''}, "
                f"got {output_stride}; timm's networks of the same kind may have more."
            )
        remove_strides(network, _STRIDED_STAGES[output_stride])
    trunk = nn.Sequential(_trunk(network, size))
    features = try_features(trunk, name, size)
    channels = features.shape[1]
    layout_of(features, channels, name)
    return Backbone(trunk, channels, mean, std)


class ClassTokenFirst(nn.Module):
    """Module that flattens patches row by row and puts the class token before them."""

    def __init__(self, class_token: nn.Parameter) -> None:
        super().__init__()
        self.class_token = class_token  # (1, 1, C)

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches (N, C, h, w) to tokens (N, 1 + L, C)."""
        return torch.cat([self.class_token.expand(len(patches), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)


def _trunk(network: Any, size: int) -> OrderedDict[str, nn.Module]:
    if isinstance(network, models.VisionTransformer):
        return OrderedDict[str, nn.Module](
            image_size=ImageSize(size, size),
            conv_proj=network.conv_proj,
            embed=ClassTokenFirst(network.class_token),
            encoder=network.encoder,
            patches=TokenGrid("tokens", prefix_tokens=1),
        )
    trunk = OrderedDict((child, module) for child, module in network.named_children() if child not in _HEAD)
    if isinstance(network, models.DenseNet):
        trunk["relu"] = nn.ReLU(inplace=True)  # a function call in torchvision
    if isinstance(network, models.MaxVit):
        trunk = OrderedDict(image_size=ImageSize(size, size), stem=network.stem, blocks=nn.Sequential(*network.blocks))
    return trunk


def _settings(name: str, size: int) -> dict[str, Any]:
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit_"):
        return {"input_size": (size, size)}
    # Explicit, because torchvision warns that the default will change.
    return {"init_weights": True} if name in ("googlenet", "inception_v3") else {}


def _resampled(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if not isinstance(network, models.VisionTransformer):
        return state
    return interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(state))
