"""Run one forward pass of a batch, and keep what activation maps need of it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from wsol.maps.class_gradient import (
    ClassGradient,
    DenseGradient,
    PooledGradient,
    ScoreGradient,
    UniformGradient,
)
from wsol.networks.base_pooling import ChannelPooling
from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode
from wsol.networks.linear_head import check_reads_places, class_weights
from wsol.networks.token_grid import Layout, check_patch_gradient, to_grid

LAST = "backbone"  # the target layer whose output the head reads: the last convolution, after its ReLU


@dataclass(frozen=True)
class ForwardPass:
    """Results of one forward pass that map methods read; nothing is computed twice.

    Attributes:
        network: the classifier that ran.
        images: (N, 3, H, W) input of the pass.
        logits: (N, K); differentiable with respect to the activations of the gradient layers, and to nothing before the
            earliest one.
        outputs: target layer -> output of the layer in the network's own layout.
    """

    network: nn.Module
    images: Tensor = field(repr=False)
    logits: Tensor = field(repr=False)
    outputs: dict[str, Tensor] = field(repr=False)
    _gradients: dict[Any, Any] = field(default_factory=dict, repr=False)

    def activation(self, layer: str, layout: Layout = "channels_first", prefix_tokens: int = 0) -> Tensor:
        """Return the activation A of a layer, (N, C, h, w), without a graph and at least float32.

        Args:
            layer: name of a target layer.
            layout: layout of the layer's output; see `to_grid`.
            prefix_tokens: number of tokens before the patches, for `layout="tokens"`.

        Raises:
            ValueError: if the pass did not keep the layer, or its output has another layout; see `to_grid`.
        """
        if layer not in self.outputs:
            raise ValueError(f"The forward pass did not keep {layer!r}; it kept {sorted(self.outputs)}.")
        grid = to_grid(self.outputs[layer].detach(), layout, layer, prefix_tokens)
        return grid if grid.dtype in (torch.float32, torch.float64) else grid.float()

    def class_weights(
        self, layer: str, class_ids: Tensor, layout: Layout = "channels_first", prefix_tokens: int = 0
    ) -> Tensor:
        """Return the linear layer's weights W, (N, K, C), of each image's classes; see `linear_head`.

        Args:
            layer: name of the target layer that the head reads.
            class_ids: (N, K) int64.
            layout: layout of the layer's output; see `to_grid`.
            prefix_tokens: number of tokens before the patches, for `layout="tokens"`.

        Raises:
            ValueError: if pooling and one linear layer do not follow the layer.
        """
        activation = self.activation(layer, layout, prefix_tokens)
        weights = class_weights(self.network, activation, self.logits.detach(), layer)
        return weights.detach()[class_ids].to(activation.dtype)

    def gradient(
        self, layer: str, class_ids: Tensor, layout: Layout = "channels_first", prefix_tokens: int = 0
    ) -> ClassGradient:
        """Return the gradient G of each image's class scores, computed once for all methods.

        Args:
            layer: name of a target layer among the gradient layers.
            class_ids: (N, K) int64.
            layout: layout of the layer's output; see `to_grid`.
            prefix_tokens: number of tokens before the patches, for `layout="tokens"`.

        Raises:
            ValueError: if no gradient reaches the cells of the layer.
        """
        key = (layer, layout, prefix_tokens, *class_ids.shape, *class_ids.flatten().tolist())
        if key not in self._gradients:
            self._gradients[key] = self._gradient(layer, class_ids, layout, prefix_tokens)
        return self._gradients[key]

    def _gradient(self, layer: str, class_ids: Tensor, layout: Layout, prefix_tokens: int) -> ClassGradient:
        network = self.network
        if layer == LAST and has_closed_form(network):
            weights = self.class_weights(layer, class_ids)
            if network.pooling.is_mean:
                return UniformGradient(weights, self.outputs[layer][0, 0].numel())
            shares = self.pooling_shares()
            if network.pool_site == "features":
                return PooledGradient(weights, shares)
            of_classes = class_ids[:, :, None, None].expand(-1, -1, *shares.shape[2:])
            return ScoreGradient(weights, shares.gather(1, of_classes))
        if layer == LAST and isinstance(network, Classifier):
            check_reads_places(network, layer)
        output, dense = self.outputs[layer], []
        for column in class_ids.unbind(dim=1):
            # The sum of the class scores: in eval mode images do not mix, so one pass serves the batch.
            seed = torch.zeros_like(self.logits).scatter_(1, column[:, None].clone(), 1)
            (gradient,) = torch.autograd.grad(self.logits, output, seed, retain_graph=True)
            grid = to_grid(gradient, layout, layer, prefix_tokens)
            if layout == "tokens":
                check_patch_gradient(gradient, layer, prefix_tokens)
            dense.append(grid if grid.dtype in (torch.float32, torch.float64) else grid.float())
        return DenseGradient(dense)

    def pooling_shares(self) -> Tensor:
        """Return the gradient of each pooled channel with respect to its cells, for a `ChannelPooling`.

        Returns:
            (N, C, h, w) where features are pooled, (N, K, h, w) where class score maps are pooled.
        """
        if "shares" not in self._gradients:
            network = self.network
            assert isinstance(network, Classifier)
            cells = self.activation(LAST)
            if network.pool_site == "scores":
                cells = network.class_maps(cells.to(network.fc.weight.dtype)).detach()
            with torch.enable_grad():
                cells.requires_grad_()
                pooled = network.pooling(cells).sum()
            (self._gradients["shares"],) = torch.autograd.grad(pooled, cells)
        return self._gradients["shares"]


def has_closed_form(network: nn.Module) -> TypeGuard[Classifier]:
    """Return True if the head is a pooling of each channel and one linear layer, in either order.

    The answer for a subclass of `Classifier` is False, because it may run its head in another way.
    """
    return type(network) is Classifier and isinstance(network.pooling, ChannelPooling)


def forward_pass(
    network: nn.Module, images: Tensor, target_layers: Iterable[str] = (), gradient_layers: Iterable[str] | None = None
) -> ForwardPass:
    """Run the classifier once and keep the activations of the target layers.

    The trunk runs without a graph. At the earliest gradient layer, the activation becomes a leaf, and autograd records
    only the operations after it, so gradient methods pay for the head alone. The function works with frozen parameters
    and inside the caller's `no_grad`. It restores parameters, hooks and train/eval modes, also after an error.

    Args:
        network: any classifier that maps (N, 3, H, W) to (N, K); used in eval mode.
        images: (N, 3, H, W) in the network's own range; a wsol `Classifier` takes uint8, or float in [0, 1].
        target_layers: dotted module names, as in `network.named_modules()`.
        gradient_layers: target layers whose gradients methods will read; None: all.

    Raises:
        ValueError: for a layer that does not exist, runs more than once or not at all, or gives no tensor.
    """
    names = list(dict.fromkeys(target_layers))
    leaves = set(names if gradient_layers is None else gradient_layers)
    outputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    handles = []
    try:
        for name in names:
            if name not in modules or name == "":
                close = difflib.get_close_matches(name, list(modules), n=3) or list(modules)[1:2]
                raise ValueError(f"The classifier has no layer {name!r}; close names: {', '.join(close)}.")
            handles.append(modules[name].register_forward_hook(_keep(name, outputs, name in leaves)))
        # Leaving no_grad also undoes what the hooks enable.
        with evaluation_mode(network), torch.inference_mode(False), torch.no_grad():
            logits = network(images)
    finally:
        for handle in handles:
            handle.remove()
    for name in names:
        if name not in outputs:
            raise ValueError(f"Target layer {name!r} was not run by the forward pass.")
    return ForwardPass(network, images, logits, outputs)


def _keep(name: str, outputs: dict[str, Tensor], is_leaf: bool) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(f"Target layer {name!r} must give a tensor, got {type(output).__name__}.")
        if name in outputs:
            raise ValueError(f"Target layer {name!r} is run more than once in a forward pass; name another.")
        if is_leaf:
            torch.set_grad_enabled(True)
            output = output if output.requires_grad else output.detach().requires_grad_()
        outputs[name] = output
        return output.clone()  # an in-place ReLU that follows must not change the kept output

    return hook
