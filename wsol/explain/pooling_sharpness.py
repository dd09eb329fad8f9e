"""Measure how sharply a trained head pools: the share of the cells that its pooled values depend on."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.data.image_set import ImageSet
from wsol.maps.forward_pass import LAST, forward_pass, has_closed_form
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.attention import Attention


def participation_ratio(shares: Tensor) -> Tensor:
    """Compute the effective share of n cells with weights s: (Σ |s|)² / (n Σ s²).

    The ratio is 1 where all weights have one magnitude, k / n where k weights have one magnitude and the others are 0,
    and 1 / n for a single weight. Neither scale nor signs of s matter.

    Source: Bell and Dean, "Atomic vibrations in vitreous silica", Discussions of the Faraday Society 1970, who count
    the atoms that take part in a vibration.

    Args:
        shares: (..., n) float, any sign.

    Returns:
        (...) float in [1 / n, 1]; NaN where all weights are 0.
    """
    sizes = shares.abs()
    # Relative to the largest weight, so that squares of small weights do not underflow.
    sizes = sizes / sizes.amax(dim=-1, keepdim=True)
    return sizes.sum(dim=-1).square() / (shares.shape[-1] * sizes.square().sum(dim=-1))


def effective_share(classifier: nn.Module, images: Tensor, batch_size: int = 50) -> float:
    """Compute the effective share of cells that a head reads: mean over images of the mean over their channels.

    A pooling of each channel has one gradient of the pooled value with respect to the channel's cells. The share is the
    `participation_ratio` of this gradient: 1 for the mean, 1 / n for a maximum that no two cells share. Where class
    scores are pooled, the class score maps are the channels. `Attention` weighs all channels of an image equally, so
    its attention weights count. Channels whose cells are all 0 are left out, because they contribute nothing, though
    the gradient of a maximum of equal cells is spread over all of them. Channels without a gradient are left out, too.

    A gradient measures the effect of a small change of a cell; with linear softmax, cells at 0 have a gradient, too.

    Args:
        classifier: trained; used in eval mode, left unchanged.
        images: (N, 3, H, W) input of the classifier.
        batch_size: number of images per pass.

    Returns:
        The share, in [1 / n, 1].

    Raises:
        ValueError: if the head has no such weights (see `has_shares`), there is no image, or no channel of any image
            is read.
    """
    if not has_shares(classifier):
        what = type(classifier.pooling if type(classifier) is Classifier else classifier).__name__
        raise ValueError(f"{what} has no gradient share for each cell of a channel; pool channels, or use attention.")
    if not len(images):
        raise ValueError("effective_share needs at least one image.")
    device = next(classifier.parameters()).device
    means = [_of_images(classifier, batch.to(device)) for batch in images.split(batch_size)]
    known = torch.cat(means)
    known = known[~known.isnan()]
    if not len(known):
        raise ValueError("No channel of any image is read: all cells are 0, or without a gradient; train it again.")
    return float(known.mean())


def has_shares(classifier: nn.Module) -> bool:
    """Return True if the head has one weight per cell: a pooling of each channel with a linear layer, or attention."""
    return has_closed_form(classifier) or (
        type(classifier) is Classifier and isinstance(classifier.pooling, Attention)  # the weights of all channels
    )


def _of_images(classifier: nn.Module, images: Tensor) -> Tensor:
    """Return the (N,) mean over the channels that the head reads; NaN for an image without such a channel."""
    assert isinstance(classifier, Classifier)
    forward = forward_pass(classifier, images, [LAST], [])
    cells = forward.activation(LAST)
    if isinstance(classifier.pooling, Attention):
        with torch.no_grad():
            return participation_ratio(classifier.pooling.attention(cells).flatten(1)).cpu()
    shares = forward.pooling_shares()
    if classifier.pool_site == "scores":
        with torch.no_grad():
            cells = classifier.class_maps(cells.to(classifier.fc.weight.dtype))
    fires = (cells != 0).flatten(2).any(dim=2)
    ratios = participation_ratio(shares.flatten(2))
    return ratios.where(fires, torch.nan).nanmean(dim=1).cpu()


def count_cells(classifier: Classifier, images: Tensor) -> int:
    """Return n, the number of cells of the maps that the head reads."""
    device = next(classifier.parameters()).device
    height, width = forward_pass(classifier, images[:1].to(device), [LAST], []).activation(LAST).shape[2:]
    return int(height * width)


def sample_images(images: ImageSet, most: int = 200, seed: int = 0) -> NDArray[np.int64]:
    """Draw the indices of a sample of images.

    Args:
        images: one split; only its length matters.
        most: largest number of images.
        seed: seed of the draw.

    Returns:
        (M,) int64, ascending, M at most `most`.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:most]
    return np.sort(chosen).astype(np.int64)
