"""Compute guided backpropagation: a backward pass in which every ReLU passes only positive gradients."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from wsol.maps.input_gradient import input_gradients

log = logging.getLogger(__name__)

_ATEN = torch.ops.aten  # the functions of exported programs
_RELU = {torch.relu, functional.relu, Tensor.relu, _ATEN.relu, _ATEN.relu.default}
_RELU_IN_PLACE = {torch.relu_, functional.relu_, Tensor.relu_, _ATEN.relu_, _ATEN.relu_.default}
_HARDTANH = {functional.hardtanh, _ATEN.hardtanh, _ATEN.hardtanh.default}
_HARDTANH_IN_PLACE = {functional.hardtanh_, _ATEN.hardtanh_, _ATEN.hardtanh_.default}
# Activations that replace the ReLU in other networks; the paper defines no guided version of them.
_OTHERS = {
    functional.silu: "SiLU",
    functional.gelu: "GELU",
    functional.hardswish: "Hardswish",
    functional.leaky_relu: "LeakyReLU",
    functional.elu: "ELU",
    functional.selu: "SELU",
    functional.celu: "CELU",
    functional.mish: "Mish",
    functional.softplus: "Softplus",
    torch.prelu: "PReLU",
}


class GuidedReLU(TorchFunctionMode):
    """Context in which every ReLU is a guided one: R_in = 1[x > 0] · 1[R_out > 0] · R_out.

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshop 2015.

    The context replaces torch's functions when they are called in this thread, and leaves the network unchanged. A ReLU
    may therefore be an `nn.ReLU`, one module used in many places, in place, `functional.relu` or `Tensor.relu_`. A
    ReLU6, `nn.ReLU6` or a hardtanh that starts at 0, passes gradients where 0 < x < 6. The values of the forward pass
    do not change. The forward pass must run inside the context; the backward pass need not.

    The context misses ReLUs that are written in another way (`clamp(min=0)`, `maximum`, `threshold`) and compiled or
    scripted modules. Other activations keep their plain gradient.

    Attributes:
        met: number of ReLUs that have run.
        others: names of other activations that have run and keep their gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        self.others: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, or the guided version of a ReLU."""
        kwargs = kwargs or {}
        call = _as_relu(func, args, kwargs)
        if call is None:
            if func in _OTHERS:
                self.others.add(_OTHERS[func])
            return func(*args, **kwargs)
        self.met += 1
        x, cap, in_place = call
        return (_GuidedInPlace if in_place else _Guided).apply(x, cap)


def _as_relu(func: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> tuple[Tensor, float, bool] | None:
    """Return (input, upper bound, in place) of a call that is a ReLU; None for any other call."""
    if func in _RELU or func in _RELU_IN_PLACE:
        x, in_place = _relu(*args, **kwargs)
        return x, math.inf, in_place or func in _RELU_IN_PLACE
    if func is functional.relu6:
        x, in_place = _relu(*args, **kwargs)
        return x, 6.0, in_place
    if func in _HARDTANH or func in _HARDTANH_IN_PLACE:
        x, low, high, in_place = _hardtanh(*args, **kwargs)
        return (x, float(high), in_place or func in _HARDTANH_IN_PLACE) if low == 0 else None
    return None


# The signatures of torch, so that positional and named arguments are both found.
def _relu(input: Tensor, inplace: bool = False) -> tuple[Tensor, bool]:
    return input, inplace


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[Tensor, float, float, bool]:
    return input, min_val, max_val, inplace


class _Guided(torch.autograd.Function):
    """Guided ReLU; it keeps one byte per cell for the backward pass, because the output may later change in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < cap))
        return x.clamp(0, cap)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (passes,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * passes, None


class _GuidedInPlace(_Guided):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < cap))
        ctx.mark_dirty(x)
        return x.clamp_(0, cap)


def guided_gradients(network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
    """Compute guided backpropagation in colour: `input_gradients` with guided ReLUs.

    Args:
        network: a classifier with ReLUs; used in eval mode, left unchanged.
        images: (N, 3, H, W) uint8 or float, see `to_pixels`.
        class_ids: (N, K) int64.

    Returns:
        (N, K, 3, H, W) float, any range, because weights below the first ReLU may be negative.

    Raises:
        ValueError: if the network has no ReLU, so that the result would be the plain gradient, or is scripted; see also
            `input_gradients`.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ValueError(
            f"Guided backpropagation does not see the ReLUs of scripted modules, and {type(network).__name__} has "
            "some. Give it the network that was scripted."
        )
    with GuidedReLU() as relu:
        gradients = input_gradients(network, images, class_ids)
    others = ", ".join(sorted(relu.others))
    if not relu.met:
        raise ValueError(
            f"Guided backpropagation changes ReLUs, and {type(network).__name__} ran none ({others or 'nothing alike'} "
            "was met): it would be the plain gradient. Use gradient, smooth_grad or integrated_gradients."
        )
    if others:
        _warn_once(type(network).__name__, others)
    return gradients


@functools.cache
def _warn_once(network: str, others: str) -> None:
    log.warning("Guided backpropagation of %s: its ReLUs are guided; %s keep their gradient.", network, others)
