"""Define what a map method is: on a target layer, or on the pixels of the input."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from wsol.maps.class_gradient import ClassGradient
from wsol.maps.forward_pass import LAST, ForwardPass
from wsol.networks.token_grid import Layout

# What a method reads: the activation and the class weights, the activation and its gradient, the activation alone; the
# attention, in one further pass; or further calls of the network, which can be thousands.
Needs = Literal["weights", "gradient", "activation", "attention", "calls"]

Channels = Literal["max_abs", "abs_of_sum", "sum", "sum_positive"]
_CHANNELS = ("max_abs", "abs_of_sum", "sum", "sum_positive")


class MapMethod(Protocol):
    """What makes activation maps: see `wsol/maps/methods`."""

    @property
    def needs(self) -> Needs:
        """What it reads."""

    @property
    def target_layers(self) -> tuple[str, ...]:
        """The layers that the forward pass must keep for it."""

    def __call__(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make the maps of these classes.

        Args:
            forward: a pass that kept `target_layers`.
            class_ids: (N,) int64, or (N, K) for several classes an image.

        Returns:
            (N, h, w) or (N, K, h, w) float, without a graph.
        """


class MapsOfClasses(ABC):
    """Takes one class or several for each image, and makes the maps without a graph, in any mode of the caller."""

    @abstractmethod
    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """(N, K) class ids -> (N, K, h, w) maps."""

    def __call__(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make the maps: (N,) or (N, K) class ids -> (N, h, w) or (N, K, h, w) float.

        Raises:
            ValueError: for class ids that are not one or several for each image.
        """
        if class_ids.ndim not in (1, 2) or len(class_ids) != len(forward.logits):
            raise ValueError(
                f"class_ids must be ({len(forward.logits)},) or ({len(forward.logits)}, K) for a batch of "
                f"{len(forward.logits)} images, got {tuple(class_ids.shape)}."
            )
        with torch.inference_mode(False), torch.no_grad():
            maps = self.maps(forward, class_ids.reshape(len(class_ids), -1).clone())
        return maps.reshape(*class_ids.shape, *maps.shape[-2:])


@dataclass(frozen=True)
class LayerMap(MapsOfClasses):
    """A method that reads one layer.

    Attributes:
        target_layer: dotted module name; `backbone` is the last convolution of a classifier of ours.
        layout: how that layer gives its output; see `to_grid`.
        prefix_tokens: of `layout="tokens"`: tokens before the patches.
    """

    needs: ClassVar[Needs]

    target_layer: str = LAST
    layout: Layout = "channels_first"
    prefix_tokens: int = 0

    @property
    def target_layers(self) -> tuple[str, ...]:
        """The one layer."""
        return (self.target_layer,)

    def activation(self, forward: ForwardPass) -> Tensor:
        """(N, C, h, w) A."""
        return forward.activation(self.target_layer, self.layout, self.prefix_tokens)

    def gradient(self, forward: ForwardPass, class_ids: Tensor) -> ClassGradient:
        """G of (N, K) classes."""
        return forward.gradient(self.target_layer, class_ids, self.layout, self.prefix_tokens)


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
