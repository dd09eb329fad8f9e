"""Define the interface of map methods, and base classes for methods on a target layer and on the input's pixels."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from wsol.maps.class_gradient import ClassGradient
from wsol.maps.forward_pass import LAST, ForwardPass
from wsol.networks.token_grid import Layout

# Input of a method: the activation and the class weights; the activation and its gradient; the activation alone; the
# attention, which takes one further pass; or further calls of the network, of which there can be thousands.
Needs = Literal["weights", "gradient", "activation", "attention", "calls"]

Channels = Literal["max_abs", "abs_of_sum", "sum", "sum_positive"]
_CHANNELS = ("max_abs", "abs_of_sum", "sum", "sum_positive")


class MapMethod(Protocol):
    """A method that makes activation maps: see `wsol/maps/methods`."""

    @property
    def needs(self) -> Needs:
        """Kind of input that the method reads."""

    @property
    def target_layers(self) -> tuple[str, ...]:
        """Layers whose output the forward pass must keep for the method."""

    def __call__(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make the maps of some classes.

        Args:
            forward: a pass that kept `target_layers`.
            class_ids: (N,) int64, or (N, K) for several classes per image.

        Returns:
            (N, h, w) or (N, K, h, w) float, without a graph.
        """


class MapsOfClasses(ABC):
    """Base class of methods; it accepts one class or several per image and runs `maps` without a graph.

    A caller may be inside `no_grad` or `inference_mode`.

    Attributes:
        reads_images: the method reads more than its target layers and what follows them, so that stored features of the
            trunk cannot take the place of the images.
    """

    reads_images: ClassVar[bool] = True

    @abstractmethod
    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make maps of several classes per image.

        Args:
            forward: a pass that kept `target_layers`.
            class_ids: (N, K) int64.

        Returns:
            (N, K, h, w) float.
        """

    def __call__(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Make the (N, h, w) or (N, K, h, w) maps of (N,) or (N, K) class ids.

        Raises:
            ValueError: if the shape of the class ids does not fit the batch.
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
    """A method that reads one target layer.

    Attributes:
        target_layer: dotted module name; `backbone` is the last convolution of a wsol `Classifier`.
        layout: layout of the layer's output; see `to_grid`.
        prefix_tokens: number of tokens before the patches, for `layout="tokens"`.
    """

    needs: ClassVar[Needs]
    reads_images: ClassVar[bool] = False

    target_layer: str = LAST
    layout: Layout = "channels_first"
    prefix_tokens: int = 0

    @property
    def target_layers(self) -> tuple[str, ...]:
        """The target layer alone."""
        return (self.target_layer,)

    def activation(self, forward: ForwardPass) -> Tensor:
        """Return the activation A, (N, C, h, w)."""
        return forward.activation(self.target_layer, self.layout, self.prefix_tokens)

    def gradient(self, forward: ForwardPass, class_ids: Tensor) -> ClassGradient:
        """Return the gradient G of the scores of (N, K) classes."""
        return forward.gradient(self.target_layer, class_ids, self.layout, self.prefix_tokens)


def check_channels(channels: str) -> None:
    """Raise ValueError if `channels` is not one of `Channels`."""
    if channels not in _CHANNELS:
        raise ValueError(f"channels must be one of {', '.join(_CHANNELS)}, got {channels!r}.")


def merge_channels(attributions: Tensor, channels: Channels) -> Tensor:
    """Merge the attributions of a pixel's three colours into one number.

    Args:
        attributions: (..., 3, H, W), any range.
        channels: `max_abs`: max_c |a_c|, >= 0, as in Simonyan et al., ICLR workshop 2014. `abs_of_sum`: |Σ_c a_c|,
            >= 0. `sum`: Σ_c a_c, signed; sums over the image are preserved. `sum_positive`: Σ_c ReLU(a_c), >= 0, only
            evidence for the class.

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
    """A method that attributes to the colours of each pixel; its maps have the size of the image.

    Attributes:
        channels: how the attributions of the colours are merged; see `merge_channels`.
    """

    needs: ClassVar[Needs] = "calls"

    channels: Channels = "max_abs"

    def __post_init__(self) -> None:
        check_channels(self.channels)

    @property
    def target_layers(self) -> tuple[str, ...]:
        """Empty, because the method runs the network itself."""
        return ()

    @abstractmethod
    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Attribute class scores to the colours of each pixel.

        Args:
            network: any classifier; used in eval mode, left unchanged.
            images: (N, 3, H, W), see `to_pixels`.
            class_ids: (N, K) int64.

        Returns:
            (N, K, 3, H, W) float, any range.
        """

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, H, W) maps of (N, K) class ids."""
        return merge_channels(self.attributions(forward.network, forward.images, class_ids), self.channels)
