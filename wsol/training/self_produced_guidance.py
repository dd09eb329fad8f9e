"""Foreground maps that a classifier's own attention supervises."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wsol.networks.trunk import added_convolution

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1
# Of an image of 224 x 224 pixels at least 30 must be foreground, or those above this share of the maximum are.
_FEWEST, _SHARE = 30 / 224**2, 0.7


class Guidance(nn.Module):
    """Branches B1, B2 and C of self-produced guidance: see `wsol.training.methods.spg`.

    B1 and B2 are a 3x3 convolution with ReLU each, and a 3x3 and a 1x1 convolution that both share; C is a 3x3 and a
    1x1 convolution.

    Args:
        channels: of the three inputs, in the order of `forward`.
        width: channels between the convolutions.
    """

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.b1, self.b2 = (nn.Sequential(added_convolution(one, width), nn.ReLU()) for one in channels[:2])
        self.shared = nn.Sequential(added_convolution(width, width), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.c = nn.Sequential(added_convolution(channels[2], width), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, stage1: Tensor, stage2: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, h, w) of the earlier stage, the later stage and the last layer -> three logits (N, 1, h, w)."""
        return self.shared(self.b1(stage1)), self.shared(self.b2(stage2)), self.c(features)


def guidance_mask(attention: Tensor, high: float, low: float) -> Tensor:
    """What an attention map is sure of.

    Foreground is above `high`; where these are fewer than 30 of 224 x 224 pixels, what is above 0.7 of the map's
    maximum. Background is below `low`, also where it was foreground. The rest is ignored.

    Source: the released code of Zhang et al., "Self-produced Guidance for Weakly-supervised Object Localization",
    ECCV 2018. Differs from it for images of another size: the 30 pixels are a share of them.

    Args:
        attention: (N, H, W) in [0, 1].
        high: above it is foreground.
        low: below it is background.

    Returns:
        (N, H, W) int8 of FOREGROUND 1, BACKGROUND 0 and IGNORED -1.
    """
    foreground = attention > high
    few = foreground.sum(dim=(1, 2), keepdim=True) < _FEWEST * attention[0].numel()
    peak = attention.amax(dim=(1, 2), keepdim=True)
    foreground = torch.where(few, attention > _SHARE * peak, foreground)
    mask = torch.full_like(attention, IGNORED, dtype=torch.int8)
    return mask.masked_fill(foreground, FOREGROUND).masked_fill(attention < low, BACKGROUND)


def guided_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """The mean binary cross entropy over the pixels that are not ignored; 0 if all are.

    Args:
        logits: (N, H, W) of foreground.
        mask: (N, H, W), as `guidance_mask` gives it.
    """
    known = mask != IGNORED
    losses = binary_cross_entropy_with_logits(logits, (mask == FOREGROUND).to(logits.dtype), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)
