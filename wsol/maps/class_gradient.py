"""The gradient of class scores with respect to an activation, whole or in two factors.

Methods ask for sums of it alone. Where the head is a pooling per channel and one linear layer, these sums come from
one gradient of the pooling and the classes' weights, whatever the number of classes: no backward pass for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class ClassGradient(Protocol):
    """G, the gradient of K class scores of each image with respect to an activation (N, C, h, w)."""

    def mean(self) -> Tensor:
        """(N, K, C): the mean over cells."""

    def sum_with(self, activation: Tensor) -> Tensor:
        """(N, K, C): the sum over cells of G * activation."""

    def weigh(self, activation: Tensor) -> Tensor:
        """(N, K, h, w): the sum over channels of G * activation."""

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """(N, K, h, w): the sum over channels of ReLU(G) * activation."""

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K, C): the sum over cells of function(G of one class).

        G comes as (N, C, h, w), or as (N, C, 1, 1) where all cells have the same; each cell is to be taken by itself.
        """


@dataclass(frozen=True)
class DenseGradient:
    """G of each class, as autograd gives it."""

    classes: Sequence[Tensor]  # K tensors (N, C, h, w)

    def mean(self) -> Tensor:
        """(N, K, C)."""
        return torch.stack([one.mean(dim=(2, 3)) for one in self.classes], dim=1)

    def sum_with(self, activation: Tensor) -> Tensor:
        """(N, K, C)."""
        return torch.stack([(one * activation).sum(dim=(2, 3)) for one in self.classes], dim=1)

    def weigh(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        return torch.stack([(one * activation).sum(dim=1) for one in self.classes], dim=1)

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        return torch.stack([(one.relu() * activation).sum(dim=1) for one in self.classes], dim=1)

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K, C)."""
        return torch.stack([function(one).sum(dim=(2, 3)) for one in self.classes], dim=1)


@dataclass(frozen=True)
class PooledGradient:
    """G[n, k, c, i, j] = weights[n, k, c] * shares[n, c, i, j]: pooling per channel and one linear layer."""

    weights: Tensor  # (N, K, C) of the classes
    shares: Tensor  # (N, C, h, w) gradient of each channel's pooled value with respect to its cells

    def mean(self) -> Tensor:
        """(N, K, C)."""
        return self.weights * self.shares.mean(dim=(2, 3))[:, None]

    def sum_with(self, activation: Tensor) -> Tensor:
        """(N, K, C)."""
        return self.weights * (self.shares * activation).sum(dim=(2, 3))[:, None]

    def weigh(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        return combine(self.shares * activation, self.weights)

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        # ReLU(w s) = ReLU(w) ReLU(s) + ReLU(-w) ReLU(-s); the second is nothing where no share is negative.
        maps = combine(self.shares.relu() * activation, self.weights.relu())
        if (self.shares < 0).any():
            maps += combine((-self.shares).relu() * activation, (-self.weights).relu())
        return maps

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K, C)."""
        classes = [weights[:, :, None, None] * self.shares for weights in self.weights.unbind(dim=1)]
        return DenseGradient(classes).sum_of(function)


@dataclass(frozen=True)
class ScoreGradient:
    """G[n, k, c, i, j] = weights[n, k, c] * shares[n, k, i, j]: a linear layer at each cell, and a pooling per class.

    The activation's own size is never made, save where a method asks for a function of each G.
    """

    weights: Tensor  # (N, K, C) of the classes
    shares: Tensor  # (N, K, h, w) gradient of each class's pooled score with respect to its cells

    def mean(self) -> Tensor:
        """(N, K, C)."""
        return self.weights * self.shares.mean(dim=(2, 3))[:, :, None]

    def sum_with(self, activation: Tensor) -> Tensor:
        """(N, K, C)."""
        return self.weights * torch.einsum("nkhw,nchw->nkc", self.shares.to(activation.dtype), activation)

    def weigh(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        return self.shares * combine(activation, self.weights)

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        maps = self.shares.relu() * combine(activation, self.weights.relu())
        if (self.shares < 0).any():
            maps += (-self.shares).relu() * combine(activation, (-self.weights).relu())
        return maps

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K, C)."""
        pairs = zip(self.weights.unbind(dim=1), self.shares.unbind(dim=1), strict=True)
        return DenseGradient([w[:, :, None, None] * s[:, None] for w, s in pairs]).sum_of(function)


@dataclass(frozen=True)
class UniformGradient:
    """G[n, k, c, i, j] = weights[n, k, c] / cells: mean pooling and one linear layer.

    What `PooledGradient` would give with shares of 1 / cells, but nothing of the activation's size is ever made: such
    arrays, some for each method, would cost more than the maps.
    """

    weights: Tensor  # (N, K, C) of the classes
    cells: int  # h * w

    def mean(self) -> Tensor:
        """(N, K, C)."""
        return self.weights / self.cells

    def sum_with(self, activation: Tensor) -> Tensor:
        """(N, K, C)."""
        return self.mean() * activation.sum(dim=(2, 3))[:, None]

    def weigh(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        return combine(activation, self.mean())

    def weigh_positive(self, activation: Tensor) -> Tensor:
        """(N, K, h, w)."""
        return combine(activation, self.mean().relu())

    def sum_of(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K, C)."""
        classes = [function(one[:, :, None, None])[:, :, 0, 0] for one in self.mean().unbind(dim=1)]
        return torch.stack(classes, dim=1) * self.cells


def combine(activation: Tensor, weights: Tensor) -> Tensor:
    """Channels weighted and added: (N, C, h, w) and (N, K, C) -> (N, K, h, w)."""
    return torch.einsum("nchw,nkc->nkhw", activation, weights.to(activation.dtype))
