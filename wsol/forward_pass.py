"""One forward pass of a batch, kept for every activation map that is made from it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from wsol.classifier import Classifier

LAST = "backbone"  # the target layer whose output the head reads: the last convolution, after its ReLU


@dataclass(frozen=True)
class ForwardPass:
    """What one forward pass left behind."""

    classifier: Classifier
    logits: Tensor  # (N, K); differentiable with respect to every activation, and to nothing before the earliest one
    activations: dict[str, Tensor] = field(repr=False)  # target layer -> (N, C, h, w)


def forward_pass(classifier: Classifier, images: Tensor, target_layers: Iterable[str]) -> ForwardPass:
    """Run the classifier once and keep the activations of the target layers.

    The trunk runs without a graph. At the earliest target layer the activation becomes a leaf, and only what comes
    after it is recorded, so gradient methods pay for the head alone. Works with frozen parameters and inside the
    caller's `no_grad`; parameters, hooks and train/eval modes are left as they were found, also after an error.

    Args:
        classifier: used in eval mode.
        images: (N, 3, H, W) uint8, or float in [0, 1].
        target_layers: dotted module names, as in `classifier.named_modules()`.

    Raises:
        ValueError: for a layer that does not exist, is run more than once or not at all, or whose output is not
            (N, C, h, w).
    """
    activations: dict[str, Tensor] = {}
    modules = dict(classifier.named_modules())
    handles = []
    modes = {module: module.training for module in classifier.modules()}
    try:
        for name in dict.fromkeys(target_layers):
            if name not in modules or name == "":
                close = difflib.get_close_matches(name, list(modules), n=3) or [LAST]
                raise ValueError(f"The classifier has no layer {name!r}; close names: {', '.join(close)}.")
            handles.append(modules[name].register_forward_hook(_keep(name, activations)))
        classifier.eval()
        with torch.inference_mode(False), torch.no_grad():  # leaving no_grad also undoes what the hooks enable
            logits = classifier(images)
        for name in target_layers:
            if name not in activations:
                raise ValueError(f"Target layer {name!r} was not run by the forward pass.")
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return ForwardPass(classifier, logits, activations)


def _keep(name: str, activations: dict[str, Tensor]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"Target layer {name!r} must give (N, C, h, w), got {shape}.")
        if name in activations:
            raise ValueError(f"Target layer {name!r} is run more than once in a forward pass; name another.")
        torch.set_grad_enabled(True)
        activations[name] = output if output.requires_grad else output.detach().requires_grad_()
        return activations[name].clone()  # an in-place ReLU that follows must not change the kept activation

    return hook
