"""Fold batch norms into convolutions, so that a classifier runs faster."""

import copy
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode

from wsol.geometry import Size

log = logging.getLogger(__name__)

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_PAIR_TOLERANCE = 1e-4  # relative to the largest value; float32 rounds to about 1e-6 of it
_NETWORK_TOLERANCE = 1e-3  # relative to the largest logit, behind many pairs


def optimize(network: nn.Module, device: torch.device, keep: Iterable[str] = (), size: Size = (224, 224)) -> nn.Module:
    """Return a copy of a classifier for inference: batch norms folded, channels last, bfloat16 where CUDA supports it.

    In eval mode a batch norm is one factor and one shift per channel. Both move into the weights of the convolution
    before it, if three conditions are met on a random image: the convolution runs once, only the batch norm reads its
    output, and the folded pair gives the same numbers. Any other pair stays unfolded; the log reports how many.

    All modules keep their names, so target layers stay valid, and a `Classifier` stays a `Classifier`: a batch norm
    becomes an identity or its own children (timm's `BatchNormAct2d` becomes its activation). A folded convolution gives
    the output of its batch norm, unless `keep` names the convolution.

    In bfloat16, which has 8 significant bits, logits and gradients differ by about a percent from those in float32. The
    weights and the logits stay float32.

    Args:
        network: any classifier; left unchanged.
        device: device of the copy.
        keep: target layers whose output must not change; only layers that give the output of a convolution matter.
        size: (height, width) of images that the network takes.

    Returns:
        The copy on `device`, in eval mode, its parameters frozen.

    Raises:
        ValueError: if the folded copy gives other logits for a random image, which should not happen.
    """
    fast = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    folded, others = _fold_batch_norms(fast, set(keep), size)
    log.info("%d batch norms folded into the convolution before them, %d left as they are.", folded, others)
    fast = fast.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (
        8,
        0,
    ):  # Ampere and later compute bfloat16 in hardware
        run_in_bfloat16(fast, device.type)
    return fast


def run_in_bfloat16(network: nn.Module, device_type: str) -> None:
    """Make a network run under autocast to bfloat16 and return float32 logits; the network changes in place."""

    def forward(self: nn.Module, *inputs: Any) -> Tensor:
        with torch.autocast(device_type, torch.bfloat16):
            logits = type(self).forward(self, *inputs)
        return logits.float()

    # On the instance, so that neither its class nor a module's name changes. A method, not a closure over the network,
    # because a deep copy of the network binds a method to the copy.
    network.forward = MethodType(forward, network)


@dataclass
class _Pair:
    """A batch norm, the convolution whose output it reads, and the outputs of both."""

    convolution: str
    norm: str
    image: Tensor  # input of the convolution
    between: Tensor  # output of the convolution, input of the batch norm
    result: Tensor  # output of the batch norm


@dataclass
class _Run:
    """Observations of one forward pass: calls, outputs of convolutions, pairs of convolution and batch norm."""

    images: Tensor
    logits: Tensor = field(init=False)
    calls: Counter[str] = field(default_factory=Counter)
    convolved: dict[int, tuple[str, Tensor, Tensor]] = field(default_factory=dict)  # by id of the output
    kept: list[Tensor] = field(default_factory=list)
    pairs: list[_Pair] = field(default_factory=list)


class _Readers(TorchDispatchMode):
    """Counter of the operations that read each tensor; views and changes in place count, too."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for argument in (*args, *kwargs.values()):
            for value in argument if isinstance(argument, list | tuple) else (argument,):
                if isinstance(value, Tensor):
                    self.counts[id(value)] += 1
        return func(*args, **kwargs)


def _fold_batch_norms(network: nn.Module, keep: set[str], size: Size) -> tuple[int, int]:
    """Fold batch norms in place where possible; return the numbers of folded and of other batch norms."""
    norms = sum(isinstance(module, _NORMS) for module in network.modules())
    if norms == 0:
        return 0, 0
    readers = _Readers()
    run = _observe(network, keep, size, readers)
    folded = 0
    for pair in run.pairs:
        once = run.calls[pair.convolution] == run.calls[pair.norm] == 1
        alone = readers.counts[id(pair.between)] == 1 and not any(pair.between is output for output in run.kept)
        folded += once and alone and _fold(network, pair)
    with torch.inference_mode(False), torch.no_grad():
        logits = network(run.images)
    if not _agree(logits, run.logits, _NETWORK_TOLERANCE):
        raise ValueError(
            f"Folding batch norms changes the logits of {type(network).__name__}, which must run its modules in an "
            "unusual way; use it as it is."
        )
    return folded, norms - folded


def _fold(network: nn.Module, pair: _Pair) -> bool:
    """Replace a pair by its folded convolution and return True, if the folded convolution gives the same numbers."""
    convolution, norm = network.get_submodule(pair.convolution), network.get_submodule(pair.norm)
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, _NORMS)
    fused, rest = _fuse(convolution, norm), _rest(norm)
    with torch.inference_mode(False), torch.no_grad():
        result = rest(fused(pair.image))
    if not _agree(result, pair.result, _PAIR_TOLERANCE):  # some convolutions change their weights before each use
        return False
    for name, module in ((pair.convolution, fused), (pair.norm, rest)):
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, module)
    return True


def _agree(values: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((values - expected).abs().max() <= tolerance * expected.abs().max())  # False for NaN


def _observe(network: nn.Module, keep: set[str], size: Size, readers: _Readers) -> _Run:
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    run, handles = _Run(images.to(next(network.parameters()).dtype)), []

    def after_convolution(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            run.calls[name] += 1
            run.convolved[id(output)] = (
                name,
                inputs[0].clone(),
                output,
            )  # kept alive, so that no other tensor takes its id
            readers.counts[id(output)] = 0

        return hook

    def after_norm(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            run.calls[name] += 1
            if id(inputs[0]) in run.convolved:
                convolution, image, between = run.convolved[id(inputs[0])]
                run.pairs.append(_Pair(convolution, name, image, between, output.clone()))

        return hook

    def after_kept(module: nn.Module, inputs: Any, output: Any) -> None:
        run.kept.append(output)

    for name, module in network.named_modules():
        # With hooks or parametrizations of the network's own, a module's output does not follow from its weights.
        altered = module._forward_hooks or module._forward_pre_hooks or is_parametrized(module)
        if name in keep:
            handles.append(module.register_forward_hook(after_kept))
        if isinstance(module, nn.Conv2d) and not altered:
            handles.append(module.register_forward_hook(after_convolution(name)))
        elif isinstance(module, _NORMS) and not altered and module.running_mean is not None:
            handles.append(module.register_forward_hook(after_norm(name)))
    try:
        with torch.inference_mode(False), torch.no_grad(), readers:
            run.logits = network(run.images)
    finally:
        for handle in handles:
            handle.remove()
    return run


def _fuse(convolution: nn.Conv2d, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> nn.Conv2d:
    fused = copy.deepcopy(convolution)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    fused.weight, fused.bias = weight.requires_grad_(False), bias.requires_grad_(False)
    return fused


def _rest(norm: nn.Module) -> nn.Module:
    """Return the modules that a batch norm runs after normalizing: its children in order, or an identity."""
    children = dict(norm.named_children())
    if not children:
        return nn.Identity()
    rest = nn.Sequential().eval()
    for name, child in children.items():
        rest.add_module(name, child)
    return rest
