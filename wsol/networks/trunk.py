"""Cut the trunk from a published network, and add the convolutions that papers put behind it."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn


def cut_after(network: nn.Module, last: str) -> nn.Sequential:
    """Return the children of a network up to and including one of them, under their names.

    Args:
        network: a network that runs its children in their order.
        last: name of the last child to keep.

    Raises:
        ValueError: if the network has no child of this name.
    """
    children = OrderedDict(network.named_children())
    if last not in children:
        raise ValueError(f"{type(network).__name__} has no child {last!r}; it has {', '.join(children)}.")
    names = list(children)
    return nn.Sequential(OrderedDict((name, children[name]) for name in names[: names.index(last) + 1]))


def load_trunk(trunk: nn.Sequential, state: Mapping[str, Tensor] | None) -> None:
    """Load the tensors of a trunk's children from the state dict of the whole network, which must contain all of them.

    Args:
        trunk: children under the whole network's names.
        state: state dict of the whole network; None: nothing is loaded.
    """
    if state is None:
        return
    names = {name for name, _ in trunk.named_children()}
    trunk.load_state_dict({key: tensor for key, tensor in state.items() if key.partition(".")[0] in names})


def new_parts(names: Sequence[str], weights: str | None) -> tuple[str, ...]:
    """Return the names of added modules, whose weights are new; none in a trunk that is random as a whole."""
    return tuple(names) if weights is not None else ()


def added_convolution(channels: int, width: int = 1024, weight: Literal["he", "xavier"] = "he") -> nn.Conv2d:
    """Return a 3x3 convolution of stride 1 and padding 1 with new weights and zero biases.

    Args:
        channels: number of input channels.
        width: number of output channels.
        weight: initialization. `he`: normal, by fan-out, for a ReLU behind it, as torchvision's VGG; `xavier`: uniform.
    """
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
    if weight == "he":
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


GAP_CONVOLUTION = "conv_gap"


def add_gap_convolution(trunk: nn.Sequential, channels: int) -> int:
    """Append `conv_gap`, the 3x3 convolution with 1024 units that Zhou et al. put before their pooling, and a ReLU.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.1. The paper
    names no nonlinearity behind it; the released Caffe networks (github.com/metalbubble/CAM) have a ReLU.

    Differs from those networks, whose convolution has two groups; the paper mentions no groups, so this one has twice
    the weights.

    Args:
        trunk: changed in place.
        channels: number of channels that the trunk gives.

    Returns:
        1024, the new number of channels.
    """
    convolution = added_convolution(channels)
    trunk.add_module(GAP_CONVOLUTION, convolution)
    trunk.add_module("relu_gap", nn.ReLU(inplace=True))
    return convolution.out_channels
