"""Hold a classifier as somebody trained it, with its own head, its normalization, image size and classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsol.networks.inference import evaluation_mode

_NAMED = 3  # parameters that a message names


class NormalizedNetwork(nn.Module):
    """Any classifier behind the normalization that its weights were trained with.

    The layers keep their names below `network`: `network.layer4`.

    Args:
        network: maps (N, 3, H, W) normalized to logits (N, K).
        mean: mean of each colour channel, for images in [0, 1].
        std: standard deviation of each colour channel.

    Attributes:
        class_order: (K',) int64, the output of the inner network that each logit is; None: all in its own order.
    """

    mean: Tensor
    std: Tensor
    class_order: Tensor | None

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.register_buffer("class_order", None)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W), uint8 or float in [0, 1], to logits (N, K')."""
        pixels = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        return self.in_class_order(self.network((pixels - self.mean) / self.std))

    def in_class_order(self, logits: Tensor) -> Tensor:
        """Bring what the inner network gives for each of its K classes, along the last dimension, to the class order.

        Args:
            logits: (..., K).
        """
        return logits if self.class_order is None else logits[..., self.class_order]


@dataclass(frozen=True)
class TrainedNetwork:
    """A classifier with its own head.

    Attributes:
        name: short name, in tables and in the names of runs.
        network: the network; set to eval mode.
        image_size: side in pixels of the square images that it was trained for.
        class_names: K names by output, each with its synonyms between commas, after a wnid where it has one; None:
            unknown.
    """

    name: str
    network: NormalizedNetwork
    image_size: int
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.network.eval()

    @property
    def weights_digest(self) -> str:
        """16 hex digits that identify the names, shapes and values of all parameters and buffers."""
        text = hashlib.sha256()
        for name, tensor in self.network.network.state_dict().items():
            values = tensor.detach().cpu().contiguous()
            text.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            text.update(values.flatten().view(torch.uint8).numpy().tobytes() if values.numel() else b"")
        return text.hexdigest()[:16]


def count_classes(network: nn.Module, image_size: int) -> int:
    """Return K, the number of classes, from the logits of one gray image.

    Args:
        network: takes uint8 images; left unchanged.
        image_size: height and width in pixels.

    Raises:
        ValueError: if parameters are NaN or infinite, the network does not take images of this size, or it does not
            give finite logits (1, K).
    """
    name = type(network.network if isinstance(network, NormalizedNetwork) else network).__name__
    bad = [key for key, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise ValueError(f"The weights of {name} hold NaN or infinity: {', '.join(bad[:_NAMED])}{more}. Load others.")
    device = next(network.parameters()).device
    gray = torch.full((1, 3, image_size, image_size), 128, dtype=torch.uint8, device=device)
    try:
        with evaluation_mode(network), torch.no_grad():
            logits = network(gray)
    except (AssertionError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{name} does not take images of {image_size} x {image_size} px: {reason}.") from None
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"{name} must give logits (1, K) for one image, got {given}; name a classifier, or wrap it so that it "
            "returns its logits alone."
        )
    if not logits.isfinite().all():
        raise ValueError(f"{name} gives NaN or infinity for a gray image of {image_size} px; check mean and std.")
    return logits.shape[1]
