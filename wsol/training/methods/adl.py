"""Attention-based dropout layer."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsol.networks.classifier import Classifier
from wsol.training.base_method import TrainingBatch, TrainingMethod


@dataclass(frozen=True)
class ADL(TrainingMethod):
    """ADL: the output of some layers is masked by its own self-attention, which is the mean of its channels.

        A = mean_c x_c;  x <- x * 1[A < γ max A]  with probability `drop_rate`,  else  x <- x * sigmoid(A)

    The maximum is taken per image; the choice is drawn once for each layer and step. Only training steps have masks:
    testing and map methods use the plain network. ADL assumes layers behind a ReLU: where a maximum is below 0, nothing
    is dropped.

    Source: Choe and Shim, "Attention-based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019, section
    3. The defaults are those of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR
    2020, in their published code; its ResNet-50 has the layers `backbone.layer3.0`, `backbone.layer4.0` and
    `backbone.layer4.2`. They draw both rates uniformly from [0, 1]. As in their code, a cell exactly at the threshold
    is dropped.

    Attributes:
        layers: dotted names below the classifier; each must give (N, C, h, w) and run once. `backbone` is the last
            features, which the head reads.
        drop_rate: probability of the drop mask, in [0, 1]; otherwise the importance map applies, so a rate of 0 is not
            plain training.
        drop_threshold: γ in [0, 1], the share of the maximum at and above which cells are dropped.
    """

    layers: Sequence[str] = ("backbone",)
    drop_rate: float = 0.75
    drop_threshold: float = 0.9

    def __post_init__(self) -> None:
        if isinstance(self.layers, str) or not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers of ADL must be a list of different names, got {self.layers!r}.")
        for name in ("drop_rate", "drop_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of ADL must lie in [0, 1], got {getattr(self, name)}.")

    def attach(self, classifier: Classifier) -> Classifier:
        """Check the layers and return the classifier unchanged; see `loss`.

        Raises:
            ValueError: if a layer does not exist, naming close names.
        """
        modules = [name for name, _ in classifier.named_modules() if name]
        for name in self.layers:
            if name not in modules:
                close = difflib.get_close_matches(name, modules, n=3) or modules[:1]
                raise ValueError(f"The classifier has no layer {name!r} for ADL; close names: {', '.join(close)}.")
        return classifier

    def attend(self, features: Tensor, drop: bool) -> Tensor:
        """Multiply features (N, C, h, w) by the drop mask or the importance map."""
        attention = features.mean(dim=1, keepdim=True)
        if drop:
            return features * (attention < self.drop_threshold * attention.amax(dim=(2, 3), keepdim=True))
        return features * attention.sigmoid()

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the cross entropy and the logits (N, K) of the network with the masks.

        Hooks apply the masks in this one pass, so the network keeps its names and its state, can be copied and pickled,
        and has no masks elsewhere. With a frozen backbone the head learns from masked features.

        Raises:
            ValueError: if a layer does not exist, gives no (N, C, h, w), or does not run exactly once.
        """
        self.attach(classifier)
        drops = (torch.rand(len(self.layers), generator=batch.generator) < self.drop_rate).tolist()
        runs = dict.fromkeys(self.layers, 0)
        handles = [
            classifier.get_submodule(name).register_forward_hook(self._hook(name, drop, runs))
            for name, drop in zip(self.layers, drops, strict=True)
        ]
        try:
            result = super().loss(classifier, batch)
        finally:
            for handle in handles:
                handle.remove()
        for name, count in runs.items():
            if count != 1:
                raise ValueError(f"Layer {name!r} of ADL must run once in a forward pass, it ran {count} times.")
        return result

    def _hook(self, name: str, drop: bool, runs: dict[str, int]) -> Callable[[nn.Module, Any, Any], Tensor]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim != 4:
                given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(f"Layer {name!r} of ADL must give (N, C, h, w), got {given}; name a layer that does.")
            runs[name] += 1
            return self.attend(output, drop)

        return hook
