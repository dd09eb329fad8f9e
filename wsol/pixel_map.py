"""Maps that are made of one number for each pixel and colour."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from wsol.forward_pass import ForwardPass
from wsol.map_method import MapsOfClasses, Needs

Channels = Literal["max_abs", "abs_of_sum", "sum", "sum_positive"]
_CHANNELS = ("max_abs", "abs_of_sum", "sum", "sum_positive")


def check_channels(channels: str) -> None:
    """Raise a ValueError for what is none of `Channels`."""
    if channels not in _CHANNELS:
        raise ValueError(f"channels must be one of {', '.join(_CHANNELS)}, got {channels!r}.")


def merge_channels(attributions: Tensor, channels: Channels) -> Tensor:
    """Make one number of the three colours of a pixel.

    Args:
        attributions: (..., 3, H, W), any range.
        channels: `max_abs`: max_c |a_c|, >= 0, as Simonyan et al., ICLR workshop 2014, do. `abs_of_sum`: |Σ_c a_c|,
            >= 0. `sum`: Σ_c a_c, signed: what adds up to the score still does. `sum_positive`: Σ_c ReLU(a_c), >= 0,
            only what speaks for the class.

    Returns:
        (..., H, W).

    Raises:
        ValueError: for another `channels`.
    """
    check_channels(channels)
    if channels == "max_abs":
        return attributions.abs().amax(dim=-3)
    if channels == "abs_of_sum":
        return attributions.sum(dim=-3).abs()
    if channels == "sum":
        return attributions.sum(dim=-3)
    return attributions.clamp(min=0).sum(dim=-3)


@dataclass(frozen=True)
class PixelMap(MapsOfClasses):
    """A method that gives every pixel's colours a number each; its maps have the size of the image.

    Attributes:
        channels: how these numbers become one; see `merge_channels`.
    """

    needs: ClassVar[Needs] = "calls"

    channels: Channels = "max_abs"

    def __post_init__(self) -> None:
        check_channels(self.channels)

    @property
    def target_layers(self) -> tuple[str, ...]:
        """None: it runs the network itself."""
        return ()

    @abstractmethod
    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """(N, 3, H, W) images and (N, K) class ids -> (N, K, 3, H, W) in colour."""

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, H, W)."""
        return merge_channels(self.attributions(forward.network, forward.images, class_ids), self.channels)
