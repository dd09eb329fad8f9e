"""Build a backbone from any network of timm, by its name."""

from collections import OrderedDict
from typing import Any, Literal, get_args

import timm
from torch import nn

from wsol.networks.backbone import Backbone
from wsol.networks.library_networks import check_name, layout_of, remove_unused, try_features
from wsol.networks.pretrained import timm_weights
from wsol.networks.transformers import ClassAndPatches, ImageSize, TokenGrid

Tokens = Literal["patches", "class_and_patches"]


def timm_network(
    name: str,
    weights: str | None = "imagenet",
    image_size: int | None = None,
    output_stride: int | None = None,
    tokens: Tokens = "patches",
) -> Backbone:
    """Build a network of timm up to the output of its `forward_features`, as (N, C, h, w).

    The modules keep their names below `network`: `layer4` is the target layer `backbone.network.layer4`. All later
    modules are removed: pooling, norms of pooled features, layers on them, classifier. The mean and standard deviation
    are those of the weights.

    Args:
        name: name in `timm.list_models()`, with or without the tag of its weights: `vit_small_patch14_dinov2`,
            `convnext_tiny.fb_in22k`.
        weights: `imagenet`: the pretrained weights of this tag, or timm's default ones, whatever they were trained on,
            downloaded on first use; None: random.
        image_size: height and width in pixels; None: the size that the weights were trained with. It binds networks
            with positions or windows of one size, which timm then resamples by its own rules; others take any size.
        output_stride: pixels per cell, for families that can remove late strides (and dilate the convolutions behind);
            None: as published.
        tokens: tokens of a transformer to read. `patches`: the patch tokens, without class token, distillation token
            and registers; `class_and_patches`: 2C channels, for `wsol.networks.pooling.class_token`.

    Raises:
        ValueError: for a name or weights that timm lacks, an image size or output stride that the network cannot have,
            a network without a grid of features or, with `class_and_patches`, without a class token.
        ConnectionError: if the weights cannot be downloaded.
    """
    if tokens not in get_args(Tokens):
        raise ValueError(f"tokens of {name} must be {' or '.join(get_args(Tokens))}, got {tokens!r}.")
    if weights not in (None, "imagenet"):
        raise ValueError(f"weights of {name} must be imagenet or null, got {weights!r}.")
    architecture, _, tag = name.partition(".")
    check_name(architecture, timm.list_models(), "timm")
    trained = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag:
        check_name(name, trained, "timm")
    if weights and not trained:
        raise ValueError(f"timm has no weights of {name}; take backbone.weights=null or another network.")

    network = _create(name, output_stride)
    config = network.pretrained_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if weights:
        state, mean, std = timm_weights(name)
        network.load_state_dict(state)
    size = image_size or config["input_size"][-1]
    one_size = hasattr(network, "set_input_size") or config.get("fixed_input_size", False)
    if one_size:
        _set_image_size(network, name, size)

    network.forward = network.forward_features  # timm's own way to the features, run like any module, hooks included
    features = try_features(network, name, size)
    has_class_token = getattr(network, "cls_token", None) is not None
    prefix = getattr(network, "num_prefix_tokens", int(has_class_token))
    layout = layout_of(features, network.num_features, name, prefix)
    rows = features.shape[1 if layout == "channels_last" else 2]
    if output_stride is not None and (layout == "tokens" or abs(rows - size / output_stride) >= 1):
        raise ValueError(f"{name} of timm cannot have output_stride={output_stride}; take null.")
    remove_unused(network, features)

    trunk = OrderedDict[str, nn.Module](image_size=ImageSize(size, size)) if one_size else OrderedDict()
    trunk["network"] = network
    channels = network.num_features
    if tokens == "class_and_patches":
        if layout != "tokens" or not has_class_token:
            raise ValueError(f"{name} has no class token; take backbone.tokens=patches.")
        trunk["patches"] = ClassAndPatches(prefix)
        channels *= 2
    elif layout != "channels_first":
        trunk["patches"] = TokenGrid(layout, prefix if layout == "tokens" else 0)
        if isinstance(network, timm.models.VisionTransformer):  # the head reads patches; attention rollout checks this
            network.global_pool, network.pool_include_prefix = "avg", False
    return Backbone(nn.Sequential(trunk), channels, mean, std)


def _create(name: str, output_stride: int | None) -> Any:
    if output_stride is None:
        return timm.create_model(name, pretrained=False)
    try:
        return timm.create_model(name, pretrained=False, output_stride=output_stride)
    except (AssertionError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{name} of timm cannot have output_stride={output_stride} ({reason}); take null.") from None


def _set_image_size(network: Any, name: str, size: int) -> None:
    own = network.pretrained_cfg["input_size"][-1]
    if size == own:
        return
    cell = max((stage["reduction"] for stage in getattr(network, "feature_info", None) or []), default=1)
    if size % cell:  # cells at the border would cover other pixels than those of the image, or none
        raise ValueError(f"image_size of {name} must be a multiple of {cell}, got {size}.")
    if not hasattr(network, "set_input_size"):
        raise ValueError(f"{name} takes images of {own} x {own} px alone, got image_size={size}.")
    try:
        network.set_input_size(img_size=(size, size))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{name} cannot be set to image_size={size} ({reason}).") from None
