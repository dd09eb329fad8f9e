"""Hold the maps of one batch, together with the network and the images that they explain."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import forward_pass
from wsol.networks.inference import evaluation_mode
from wsol.networks.pixels import mean_color, to_pixels
from wsol.scoring.protocol import TIGHT
from wsol.scoring.score_map import to_score_maps

GRAY = 0.5  # assumed mean colour of images, for networks that do not normalize


@dataclass(frozen=True)
class ExplainedBatch:
    """Input of every faithfulness measure: the maps of one method, the images, and the network that classifies them.

    Attributes:
        network: maps (N, 3, H, W) to logits (N, K); used in eval mode without a graph, left unchanged.
        images: (N, 3, H, W) uint8, or float in [0, 1], on the network's device.
        image_ids: N names.
        class_ids: (N,) int64, the classes that the maps were made for; `measure_faithfulness` uses the ground truth.
        method: method that made the maps.
        activation_maps: (N, h, w), any range.
        score_maps: (N, H, W) float in [0, 1], normalized and at the size of the images.
        batch_size: largest number of images per pass, which bounds the memory.

    Raises:
        ValueError: for shapes that do not fit together, images or score maps outside [0, 1], or maps with NaN or
            infinity, naming their images.
    """

    network: nn.Module = field(repr=False)
    images: Tensor = field(repr=False)
    image_ids: Sequence[str] = field(repr=False)
    class_ids: Tensor = field(repr=False)
    method: MapMethod
    activation_maps: Tensor = field(repr=False)
    score_maps: Tensor = field(repr=False)
    batch_size: int = 64

    def __post_init__(self) -> None:
        images, count = self.images, len(self.images)
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise ValueError(
                f"images must be (N, 3, H, W) uint8 or float in [0, 1], got {tuple(images.shape)} {images.dtype}."
            )
        for name, shape in {"class_ids": (count,), "score_maps": (count, *images.shape[2:])}.items():
            if (actual := tuple(getattr(self, name).shape)) != shape:
                raise ValueError(f"{name} must be {shape} for images {tuple(images.shape)}, got {actual}.")
        if len(self.image_ids) != count or self.activation_maps.ndim != 3 or len(self.activation_maps) != count:
            raise ValueError(
                f"{count} images need as many image_ids and (N, h, w) activation_maps, got {len(self.image_ids)} and "
                f"{tuple(self.activation_maps.shape)}."
            )
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")
        # The mean colour is a pixel value, and so must the images be.
        if images.is_floating_point() and not ((images >= 0) & (images <= 1)).all():
            raise ValueError(
                "float images must lie in [0, 1]; wrap a network that takes normalized images, so that it normalizes "
                "them itself."
            )
        self.refuse(~((self.score_maps >= 0) & (self.score_maps <= 1)), "score map", "outside [0, 1] or NaN")
        self.refuse(~self.activation_maps.isfinite(), "activation map", "NaN or infinite")

    @classmethod
    def of(
        cls,
        network: nn.Module,
        images: Tensor,
        class_ids: Tensor,
        method: MapMethod,
        image_ids: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> "ExplainedBatch":
        """Make the maps of a batch; score maps have the interpolation and normalization of `measure_faithfulness`.

        Args:
            network: see the class, as all arguments.
            images: (N, 3, H, W).
            class_ids: (N,) int64.
            method: method that makes the maps.
            image_ids: N names; None: their numbers.
            batch_size: largest number of images per pass.

        Raises:
            ValueError: see the class.
        """
        names = [str(n) for n in range(len(images))] if image_ids is None else image_ids
        maps = maps_of_batch(network, images, class_ids, method, batch_size)
        height, width = images.shape[2:]
        scores = torch.from_numpy(to_score_maps(maps, (height, width), TIGHT, names)).to(images.device)
        return cls(network, images, names, class_ids, method, maps, scores, batch_size)

    @cached_property
    def pixels(self) -> Tensor:
        """Images (N, 3, H, W) in [0, 1], in the network's own precision."""
        return to_pixels(self.network, self.images)

    @cached_property
    def mean_color(self) -> Tensor:
        """Colour (1, 3, 1, 1) in [0, 1] that the network normalizes to zero; middle gray if it does not normalize."""
        return mean_color(self.network, GRAY).to(self.pixels)

    @cached_property
    def confidence(self) -> Tensor:
        """Probability of each unchanged image's class, (N,); computed once for all measures."""
        return self.class_probability(self.pixels, self.class_ids)

    def class_probability(self, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (M,) softmax probability of each image's class, without a graph.

        Args:
            images: (M, 3, H, W) float in [0, 1]; the network gets `batch_size` at a time.
            class_ids: (M,) int64.
        """
        probabilities = []
        with evaluation_mode(self.network), torch.no_grad():
            for chunk, ids in zip(images.split(self.batch_size), class_ids.split(self.batch_size), strict=True):
                logits = self.network(chunk)
                shares = logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
                probabilities.append(shares.gather(1, ids[:, None])[:, 0])
        return torch.cat(probabilities)

    def refuse(self, wrong: Tensor, what: str, why: str) -> None:
        """Raise ValueError if any image is wrong, naming the images.

        Args:
            wrong: (N, ...) bool.
            what: noun for the message.
            why: what is wrong, for the message.
        """
        if (bad := wrong.flatten(1).any(dim=1)).any():
            names = [name for name, is_bad in zip(self.image_ids, bad.tolist(), strict=True) if is_bad]
            raise ValueError(f"The {what} is {why} for {len(names)} of {len(bad)} images: {', '.join(names[:3])}.")


def maps_of_batch(
    network: nn.Module, images: Tensor, class_ids: Tensor, method: MapMethod, batch_size: int = 64
) -> Tensor:
    """Make (N, h, w) activation maps, in separate passes over at most `batch_size` images."""
    leaves = method.target_layers if method.needs == "gradient" else ()
    return torch.cat(
        [
            method(forward_pass(network, chunk, method.target_layers, leaves), ids)
            for chunk, ids in zip(images.split(batch_size), class_ids.split(batch_size), strict=True)
        ]
    )
