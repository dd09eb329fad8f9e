"""Compute the branches, masks and losses of self-produced guidance."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wsol.networks.trunk import added_convolution

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1
# If fewer than 30 of 224 x 224 pixels are foreground, pixels above this share of the maximum are foreground instead.
_FEWEST, _SHARE = 30 / 224**2, 0.7


class Guidance(nn.Module):
    """Branches B1, B2 and C of self-produced guidance: see `wsol.training.methods.spg`.

    B1 and B2 have a 3x3 convolution with ReLU each, and share a 3x3 and a 1x1 convolution; C is a 3x3 and a 1x1
    convolution.

    Args:
        channels: numbers of channels of the three inputs, in the order of `forward`.
        width: number of channels between the convolutions.
    """

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.b1, self.b2 = (nn.Sequential(added_convolution(count, width), nn.ReLU()) for count in channels[:2])
        self.shared = nn.Sequential(added_convolution(width, width), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.c = nn.Sequential(added_convolution(channels[2], width), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, stage1: Tensor, stage2: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the earlier stage, the later stage and the last layer, (N, C, h, w), to three logits (N, 1, h, w)."""
        return self.shared(self.b1(stage1)), self.shared(self.b2(stage2)), self.c(features)


def guidance_mask(attention: Tensor, high: float, low: float) -> Tensor:
    """Divide an attention map into foreground, background and ignored pixels.

    Pixels above `high` are foreground; if these are fewer than 30 of 224 x 224, pixels above 0.7 of the map's maximum
    are foreground instead. Pixels below `low` are background, even if they met the condition for foreground. All other
    pixels are ignored.

    Source: the released code of Zhang et al., "Self-produced Guidance for Weakly-supervised Object Localization",
    ECCV 2018. Differs from it for images of another size, where the 30 pixels scale with the area.

    Args:
        attention: (N, H, W) in [0, 1].
        high: score threshold above which pixels are foreground.
        low: score threshold below which pixels are background.

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
    """Return the mean binary cross entropy over the pixels that are not ignored; 0 if all pixels are ignored.

    Args:
        logits: (N, H, W) logits of foreground.
        mask: (N, H, W), see `guidance_mask`.
    """
    known = mask != IGNORED
    losses = binary_cross_entropy_with_logits(logits, (mask == FOREGROUND).to(logits.dtype), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)
