"""Compute the gradient of class scores with respect to the image's pixels."""

from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wsol.networks.inference import evaluation_mode
from wsol.networks.pixels import to_pixels

# A graph down to the pixels keeps every activation: 82 MiB for an image of 224 px in a ResNet-50. On a CPU, 8 images at
# once are as fast as 16; 32 suit an accelerator.
IMAGES_AT_ONCE = 32


def input_gradients(network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
    """Compute the gradient of each image's class scores with respect to its pixels.

        G_k = ∂S_k / ∂x

    The cost is one forward pass and one backward pass per class. The function works with frozen parameters and inside
    the caller's `no_grad` or `inference_mode`. Parameters are not part of the graph, so no `.grad` changes; modes,
    hooks and `requires_grad` are restored, also after an error. At most `IMAGES_AT_ONCE` images are in a graph at a
    time.

    Args:
        network: any classifier that maps (N, 3, H, W) to scores (N, K); used in eval mode.
        images: (N, 3, H, W), see `to_pixels`.
        class_ids: (N, K) int64.

    Returns:
        (N, K, 3, H, W) float, any range, per unit of the pixels that `to_pixels` returns: for uint8 images, per unit of
        a pixel in [0, 1], not of the normalized pixel.

    Raises:
        ValueError: if class_ids are not (N, K), if the images do not fit the network, or if the scores do not depend on
            the pixels in the graph.
    """
    if class_ids.ndim != 2 or len(class_ids) != len(images):
        raise ValueError(f"class_ids must be ({len(images)}, K), got {tuple(class_ids.shape)}.")
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(network):
        constants = {name: parameter.detach() for name, parameter in network.named_parameters()}
        pixels = to_pixels(network, images)
        chunks = zip(pixels.split(IMAGES_AT_ONCE), class_ids.split(IMAGES_AT_ONCE), strict=True)
        return torch.cat([_gradients(network, constants, part, ids) for part, ids in chunks])


def _gradients(network: nn.Module, constants: dict[str, Tensor], pixels: Tensor, class_ids: Tensor) -> Tensor:
    leaf = pixels.detach().requires_grad_()
    # A copy, because an in-place first layer must change neither a leaf nor the caller's images.
    scores = functional_call(network, constants, (leaf.clone(),))
    if not scores.requires_grad:
        raise ValueError(
            f"The scores of {type(network).__name__} do not lead back to the pixels: its forward detaches them or runs "
            "without gradients. Use a map method that needs activations alone."
        )
    columns = class_ids.unbind(dim=1)
    gradients: list[Tensor] = []
    for place, column in enumerate(columns, start=1):
        # The sum of the class scores: in eval mode images do not mix, so one pass serves the batch.
        seed = torch.zeros_like(scores).scatter_(1, column[:, None], 1)
        gradients += torch.autograd.grad(scores, leaf, seed, retain_graph=place < len(columns))
    return torch.stack(gradients, dim=1)


def sum_of_gradients(
    network: nn.Module, copies: Iterable[Tensor], weights: Sequence[float], class_ids: Tensor
) -> Tensor:
    """Compute the weighted sum of the gradients at several changed copies of the same images.

    Small batches are joined to `IMAGES_AT_ONCE` images, which bounds the number of copies in memory.

    Args:
        network: see `input_gradients`.
        copies: (N, 3, H, W) float for each weight.
        weights: one number for each copy.
        class_ids: (N, K) int64.

    Returns:
        (N, K, 3, H, W) float.

    Raises:
        ValueError: see `input_gradients`.
    """
    at_once = max(1, IMAGES_AT_ONCE // max(1, len(class_ids)))
    source, total = iter(copies), None
    for start in range(0, len(weights), at_once):
        factors = weights[start : start + at_once]
        joined = torch.cat(list(islice(source, len(factors))))
        gradients = input_gradients(network, joined, class_ids.repeat(len(factors), 1))
        parts = gradients.unflatten(0, (len(factors), len(class_ids)))
        part = torch.tensordot(torch.tensor(factors, dtype=parts.dtype, device=parts.device), parts, dims=1)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("A sum of gradients needs at least one copy of the images.")
    return total
