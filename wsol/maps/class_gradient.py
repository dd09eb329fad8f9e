"""Represent the gradient of class scores with respect to an activation, as a whole or in two factors.

Methods need only sums of the gradient. Where the head is a pooling per channel and one linear layer, these sums follow
from one gradient of the pooling and the weights of the classes, without a backward pass per class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class ClassGradient(Protocol):
    """G, the gradient of K class scores of each image with respect to an activation (N, C, h, w)."""

    def mean(self) -> Tensor:
        """Return the mean of G over cells, (N, K, C)."""

    def sum_with(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over cells, (N, K, C)."""

    def weigh(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over channels, (N, K, h, w)."""

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """Return the sum of ReLU(G) * activation over channels, (N, K, h, w)."""

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum of function(G of one class) over cells, (N, K, C).

        The function gets (N, C, h, w), or (N, C, 1, 1) where all cells are equal, and must treat each cell separately.
        """


@dataclass(frozen=True)
class DenseGradient:
    """G of each class in full, from autograd."""

    classes: Sequence[Tensor]  # K tensors (N, C, h, w)

    def mean(self) -> Tensor:
        """Return the mean of G over cells, (N, K, C)."""
        return torch.stack([gradient.mean(dim=(2, 3)) for gradient in self.classes], dim=1)

    def sum_with(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over cells, (N, K, C)."""
        return torch.stack([(gradient * activation).sum(dim=(2, 3)) for gradient in self.classes], dim=1)

    def weigh(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over channels, (N, K, h, w)."""
        return torch.stack([(gradient * activation).sum(dim=1) for gradient in self.classes], dim=1)

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """Return the sum of ReLU(G) * activation over channels, (N, K, h, w)."""
        return torch.stack([(gradient.relu() * activation).sum(dim=1) for gradient in self.classes], dim=1)

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum of function(G of one class) over cells, (N, K, C)."""
        return torch.stack([function(gradient).sum(dim=(2, 3)) for gradient in self.classes], dim=1)


@dataclass(frozen=True)
class PooledGradient:
    """G[n, k, c, i, j] = weights[n, k, c] * shares[n, c, i, j], for pooling per channel and one linear layer."""

    weights: Tensor  # (N, K, C) of the classes
    shares: Tensor  # (N, C, h, w) gradient of each channel's pooled value with respect to its cells

    def mean(self) -> Tensor:
        """Return the mean of G over cells, (N, K, C)."""
        return self.weights * self.shares.mean(dim=(2, 3))[:, None]

    def sum_with(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over cells, (N, K, C)."""
        return self.weights * (self.shares * activation).sum(dim=(2, 3))[:, None]

    def weigh(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over channels, (N, K, h, w)."""
        return combine(self.shares * activation, self.weights)

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """Return the sum of ReLU(G) * activation over channels, (N, K, h, w)."""
        # ReLU(w s) = ReLU(w) ReLU(s) + ReLU(-w) ReLU(-s); the second term is zero where no share is negative.
        maps = combine(self.shares.relu() * activation, self.weights.relu())
        if (self.shares < 0).any():
            maps += combine((-self.shares).relu() * activation, (-self.weights).relu())
        return maps

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum of function(G of one class) over cells, (N, K, C)."""
        classes = [weights[:, :, None, None] * self.shares for weights in self.weights.unbind(dim=1)]
        return DenseGradient(classes).sum_of(function)


@dataclass(frozen=True)
class ScoreGradient:
    """G[n, k, c, i, j] = weights[n, k, c] * shares[n, k, i, j], for a linear layer per cell and a pooling per class.

    Arrays of the activation's size are built only where a method needs a function of each G.
    """

    weights: Tensor  # (N, K, C) of the classes
    shares: Tensor  # (N, K, h, w) gradient of each class's pooled score with respect to its cells

    def mean(self) -> Tensor:
        """Return the mean of G over cells, (N, K, C)."""
        return self.weights * self.shares.mean(dim=(2, 3))[:, :, None]

    def sum_with(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over cells, (N, K, C)."""
        return self.weights * torch.einsum("nkhw,nchw->nkc", self.shares.to(activation.dtype), activation)

    def weigh(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over channels, (N, K, h, w)."""
        return self.shares * combine(activation, self.weights)

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """Return the sum of ReLU(G) * activation over channels, (N, K, h, w)."""
        maps = self.shares.relu() * combine(activation, self.weights.relu())
        if (self.shares < 0).any():
            maps += (-self.shares).relu() * combine(activation, (-self.weights).relu())
        return maps

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum of function(G of one class) over cells, (N, K, C)."""
        pairs = zip(self.weights.unbind(dim=1), self.shares.unbind(dim=1), strict=True)
        return DenseGradient([w[:, :, None, None] * s[:, None] for w, s in pairs]).sum_of(function)


@dataclass(frozen=True)
class UniformGradient:
    """G[n, k, c, i, j] = weights[n, k, c] / cells, for mean pooling and one linear layer.

    It equals `PooledGradient` with shares of 1 / cells, but builds no arrays of the activation's size: such arrays,
    several per method, would cost more than the maps.
    """

    weights: Tensor  # (N, K, C) of the classes
    cells: int  # h * w

    def mean(self) -> Tensor:
        """Return the mean of G over cells, (N, K, C)."""
        return self.weights / self.cells

    def sum_with(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over cells, (N, K, C)."""
        return self.mean() * activation.sum(dim=(2, 3))[:, None]

    def weigh(self, activation: Tensor) -> Tensor:
        """Return the sum of G * activation over channels, (N, K, h, w)."""
        return combine(activation, self.mean())

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """Return the sum of ReLU(G) * activation over channels, (N, K, h, w)."""
        return combine(activation, self.mean().relu())

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum of function(G of one class) over cells, (N, K, C)."""
        classes = [function(gradient[:, :, None, None])[:, :, 0, 0] for gradient in self.mean().unbind(dim=1)]
        return torch.stack(classes, dim=1) * self.cells


def combine(activation: Tensor, weights: Tensor) -> Tensor:
    """Add the channels of an activation (N, C, h, w), weighted by (N, K, C), to maps (N, K, h, w)."""
    return torch.einsum("nchw,nkc->nkhw", activation, weights.to(activation.dtype))
