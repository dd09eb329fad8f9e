"""SmoothGrad."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsol.maps.base_map import PixelMap
from wsol.maps.input_gradient import sum_of_gradients
from wsol.networks.pixels import to_pixels


@dataclass(frozen=True)
class SmoothGrad(PixelMap):
    """SmoothGrad: the gradient, averaged over the neighbourhood of the image.

        M = max_c |mean_s ∂S_k/∂x_c (x + σ ε_s)|,  ε_s ~ N(0, 1),  σ = noise (max x - min x)

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", arXiv:1706.03825, 2017.

    The mean estimates the gradient of the score smoothed by a Gaussian, which does not jump where a ReLU switches.
    Signs are kept while averaging; `channels` removes them afterwards. The noise is the same for every image and comes
    from a generator on the CPU, so that maps depend neither on the batch nor on the device. It is added to the pixels
    before the normalization, and noisy pixels are not clipped to their range.

    Attributes:
        samples: number of noisy copies; each costs a pass.
        noise: σ as a share of the image's range; the paper recommends 0.1 to 0.2.
        seed: seed of the noise.
    """

    samples: int = 25
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1 or self.noise < 0:
            raise ValueError(
                f"SmoothGrad needs samples >= 1 and noise >= 0, got samples={self.samples}, noise={self.noise}."
            )

    def attributions(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, K, 3, H, W) attributions, any range."""
        weights = [1 / self.samples] * self.samples
        return sum_of_gradients(network, self._copies(to_pixels(network, images)), weights, class_ids)

    def _copies(self, pixels: Tensor) -> Iterator[Tensor]:
        sigma = self.noise * (pixels.amax(dim=(1, 2, 3), keepdim=True) - pixels.amin(dim=(1, 2, 3), keepdim=True))
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.samples):
            yield pixels + sigma * torch.randn(pixels.shape[1:], generator=generator).to(pixels)
