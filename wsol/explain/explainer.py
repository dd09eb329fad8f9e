"""Classify images and explain the classes with several map methods."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.geometry import Size, resize_boxes
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import ForwardPass, forward_pass
from wsol.scoring.boxes.largest import largest
from wsol.scoring.compilation import compile_engine
from wsol.scoring.protocol import Protocol
from wsol.scoring.score_map import to_score_maps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """One method's map of one class on one image."""

    score_map: NDArray[np.float64]  # (H, W) in [0, 1], on the image that the network reads
    box: NDArray[np.float32]  # (4,) edges on that image; zeros without a box


@dataclass(frozen=True)
class Explanation:
    """Probabilities of one image, and the findings for R classes by all methods that worked."""

    probabilities: NDArray[np.float32]  # (K,)
    class_ids: tuple[int, ...]  # the R explained classes
    findings: Mapping[str, Sequence[Finding]]  # method -> R findings

    def top(self, count: int = 5) -> list[tuple[int, float]]:
        """Return (class id, probability) of the most probable classes; of equals, the lower id comes first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(int(index), float(self.probabilities[index])) for index in order]


@dataclass
class Explainer:
    """Explainer of batches of images, with every method that works on its network.

    A method that raises is removed, `failed` keeps its reason, and the other methods continue.

    Attributes:
        network: any classifier that takes images as `__call__` does; left unchanged.
        methods: name -> map method.
        protocol: normalization of activation maps, and connectivity of regions.
        tau: score threshold of the boxes, in [0, 1).
        failed: name of a removed method -> reason.
    """

    network: nn.Module
    methods: dict[str, MapMethod]
    protocol: Protocol
    tau: float = 0.2
    failed: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, images: Tensor, image_ids: Sequence[str], class_ids: Sequence[int] | None = None
    ) -> list[Explanation]:
        """Explain a batch with one forward pass.

        Args:
            images: (N, 3, H, W) uint8, or float in [0, 1], on the network's device.
            image_ids: N names, for messages.
            class_ids: R classes, the same for all images; None: the predicted class of each image.

        Returns:
            N explanations. A method whose map of an image has NaN has no finding there; the log reports it.
        """
        compile_engine()
        try:
            forward = self._forward(images)
        except ValueError:  # a wrong layer of one method must not stop the others
            self._remove_methods_without_layers(images[:1])
            forward = self._forward(images)
        logits = forward.logits.detach().float()
        chosen = (
            logits.argmax(dim=1, keepdim=True)
            if class_ids is None
            else torch.tensor(class_ids, device=images.device).expand(len(images), -1)
        )
        activation_maps: dict[str, NDArray[np.float32]] = {}
        for name, method in list(self.methods.items()):
            try:
                activation_maps[name] = method(forward, chosen).float().cpu().numpy()
            except (ValueError, RuntimeError) as error:
                self._remove(name, error)
        probabilities = logits.softmax(dim=1).cpu().numpy()
        size = (int(images.shape[-2]), int(images.shape[-1]))
        explanations = []
        for n, image_id in enumerate(image_ids):
            findings = {name: self._findings(name, maps[n], size, image_id) for name, maps in activation_maps.items()}
            explanations.append(
                Explanation(
                    probabilities[n],
                    tuple(chosen[n].tolist()),
                    {name: finding for name, finding in findings.items() if finding is not None},
                )
            )
        return explanations

    def _forward(self, images: Tensor) -> ForwardPass:
        working = self.methods.values()
        layers = [layer for method in working for layer in method.target_layers]
        leaves = [layer for method in working if method.needs == "gradient" for layer in method.target_layers]
        return forward_pass(self.network, images, layers, leaves)

    def _remove_methods_without_layers(self, images: Tensor) -> None:
        for name, method in list(self.methods.items()):
            try:
                forward_pass(self.network, images, method.target_layers)
            except ValueError as error:
                self._remove(name, error)

    def _remove(self, name: str, error: Exception) -> None:
        del self.methods[name]
        self.failed[name] = " ".join(str(error).split())

    def _findings(self, name: str, maps: NDArray[np.float32], size: Size, image_id: str) -> list[Finding] | None:
        """Return the findings of one image's maps (R, h, w); None if a map has NaN."""
        try:
            score_maps = to_score_maps(maps, size, self.protocol, [image_id] * len(maps))
        except ValueError as error:
            log.warning("%s: %s", name, error)
            return None
        return [Finding(score_map, box_of(score_map, self.tau, self.protocol, size)) for score_map in score_maps]


def box_of(score_map: NDArray[np.float64], tau: float, protocol: Protocol, size: Size) -> NDArray[np.float32]:
    """Return the box of the largest region above a score threshold.

    Args:
        score_map: (h, w) in [0, 1].
        tau: score threshold, in [0, 1).
        protocol: protocol that defines a region.
        size: (H, W) of the image that the box is scaled to.

    Returns:
        (4,) edges on the image; zeros without a region.
    """
    (boxes,) = largest(score_map, [tau], protocol)
    if len(boxes) == 0:
        return np.zeros(4, np.float32)
    height, width = score_map.shape
    return resize_boxes(boxes[:1], (height, width), size)[0]
