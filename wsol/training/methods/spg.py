"""Self-produced guidance."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsol.networks.base_pooling import ChannelPooling
from wsol.networks.classifier import Classifier
from wsol.networks.inference import evaluation_mode
from wsol.networks.two_branches import class_attention
from wsol.training.base_method import TrainingBatch, TrainingMethod
from wsol.training.self_produced_guidance import Guidance, guidance_mask, guided_loss

_PROBE = (96, 128)  # px, size of the image that reveals the stages' channels; not square, so that the axes differ


@dataclass(frozen=True)
class SPG(TrainingMethod):
    """SPG: foreground maps from earlier stages learn from the confident pixels of later attention maps.

        L = CE(A) + BCE(B2; M_A) + BCE(B1; σ(B2)) + BCE(C; (σ(B1) + σ(B2)) / 2)

    M_A is the activation map of the ground-truth class, min-max normalized. All maps are resized to the image, and two
    thresholds divide each target into foreground, background and ignored pixels: see `guidance_mask`. No gradient flows
    through a target. The branches work in training only; logits and maps are the classifier's.

    Source: Zhang et al., "Self-produced Guidance for Weakly-supervised Object Localization", ECCV 2018, with widths and
    thresholds of their released code; stages for ResNet-50 as in the code of Choe et al., CVPR 2020, which has 0.01 for
    the first lower threshold.

    Differs from the released code, where branch A ends in convolutions of its own with dropout: here A is the
    classifier, with any pooling of single channels. Where all pixels of a target are ignored, its loss is 0, not 0 / 0.

    Attributes:
        stages: dotted names of the layers that B1 and B2 read, the earlier one first; they give (N, C, h, w).
        thresholds: (high, low) for the targets of B2, B1 and C, in this order, 0 <= low <= high < 1.
        width: number of channels of the branches' convolutions.
    """

    stages: tuple[str, str] = ("backbone.layer3.0", "backbone.layer3")
    thresholds: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = (
        (0.7, 0.05),
        (0.5, 0.05),
        (0.7, 0.1),
    )
    width: int = 512

    def __post_init__(self) -> None:
        if not isinstance(self.stages, list | tuple) or len(self.stages) != 2:
            raise ValueError(f"stages of method=spg must be the names of two layers, got {self.stages!r}.")
        try:
            pairs = tuple((high, low) for high, low in self.thresholds)
            ordered = len(pairs) == 3 and all(0 <= low <= high < 1 for high, low in pairs)
        except (TypeError, ValueError):  # no pairs, or not of numbers
            ordered = False
        if not ordered:
            raise ValueError(
                f"thresholds of method=spg must be three pairs (high, low) with 0 <= low <= high < 1, got "
                f"{self.thresholds!r}."
            )
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"width of method=spg must be an int from 1, got {self.width!r}.")
        object.__setattr__(self, "stages", tuple(self.stages))  # a config gives lists
        object.__setattr__(self, "thresholds", pairs)

    def attach(self, classifier: Classifier) -> Classifier:
        """Add the branches to the classifier as `spg`; a test image reveals the channels of the stages.

        Raises:
            ValueError: if the pooling mixes channels, a stage does not exist or gives no map, or the network does not
                take images of 96 x 128 px, such as a transformer.
        """
        if not isinstance(classifier.pooling, ChannelPooling):
            raise ValueError(
                f"method=spg needs a pooling of each channel by itself, as gap and gmp are, got "
                f"{type(classifier.pooling).__name__}; it has no class map to learn from."
            )
        image = torch.zeros(1, 3, *_PROBE, dtype=torch.uint8, device=classifier.fc.weight.device)
        self._check_names(classifier)
        try:
            with evaluation_mode(classifier), torch.no_grad():
                features, (stage1, stage2) = self._run(classifier, image)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"method=spg could not read its stages from an image of {_PROBE[0]} x {_PROBE[1]} px, and "
                f"needs a convolutional network that takes any size: {error}"
            ) from error
        for name, output in zip(self.stages, (stage1, stage2), strict=True):
            if output.ndim != 4 or output.shape[2] >= output.shape[3]:
                raise ValueError(
                    f"Stage {name!r} of method=spg must give maps (N, C, h, w), got {tuple(output.shape)}; name a "
                    "layer that does."
                )
        channels = (stage1.shape[1], stage2.shape[1], features.shape[1])
        classifier.spg = Guidance(channels, self.width)
        return classifier

    def loss(self, classifier: Classifier, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the sum of the cross entropy and the three branches' losses, and the classifier's logits.

        Raises:
            ValueError: if `attach` has not prepared the classifier.
        """
        guidance = getattr(classifier, "spg", None)
        if not isinstance(guidance, Guidance):
            raise ValueError("method=spg trains branches that this classifier does not have; call attach first.")
        features, stages = self._run(classifier, batch.images)
        logits = classifier.head(features)
        size = (batch.images.shape[-2], batch.images.shape[-1])
        b1, b2, c = (
            interpolate(output.float(), size, mode="bilinear", align_corners=False)[:, 0]
            for output in guidance(*stages, features)
        )
        of_b1, of_b2 = b1.detach().sigmoid(), b2.detach().sigmoid()
        attention = class_attention(features, classifier.class_weights()[batch.class_ids], size)
        loss = batch.cross_entropy(logits)
        targets = (attention, of_b2, (of_b1 + of_b2) / 2)
        for output, target, (high, low) in zip((b2, b1, c), targets, self.thresholds, strict=True):
            loss = loss + guided_loss(output, guidance_mask(target, high, low))
        return loss, logits

    def _check_names(self, classifier: Classifier) -> None:
        modules = [name for name, _ in classifier.named_modules()]
        candidates = [name for name in modules if name.startswith("backbone")]
        for name in self.stages:
            if name not in modules or not f"{name}.".startswith("backbone."):
                close = difflib.get_close_matches(name, candidates, n=3)
                raise ValueError(
                    f"The backbone has no stage {name!r} for method=spg; close names: {', '.join(close) or 'none'}. "
                    "Set method.stages to two layers of this network."
                )

    def _run(self, classifier: Classifier, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features, and the outputs of the stages."""
        outputs: dict[str, Tensor] = {}
        handles = []
        try:
            for name in self.stages:
                handles.append(classifier.get_submodule(name).register_forward_hook(_keep(name, outputs)))
            features = classifier.backbone(images)
        finally:
            for handle in handles:
                handle.remove()
        for name in self.stages:
            if name not in outputs:
                raise ValueError(f"stage {name!r} was not run.")
        return features, [outputs[name] for name in self.stages]


def _keep(name: str, outputs: dict[str, Tensor]) -> Callable[..., None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise ValueError(f"stage {name!r} must give a tensor, got {type(output).__name__}.")
        outputs[name] = output.clone()  # an in-place ReLU that follows must not change the kept output

    return hook
