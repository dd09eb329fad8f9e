"""Randomize the parameters of a network, and compare maps by rank correlation."""

import copy
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wsol.networks.linear_head import linear_head

Mode = Literal["head", "all"]

# network -> (mode, seed) -> (state of the network when copied, copy). Weak, so that copies keep no network alive.
_COPIES: WeakKeyDictionary[nn.Module, dict[tuple[str, int], tuple[Any, nn.Module]]] = WeakKeyDictionary()


def randomized_copy(network: nn.Module, mode: Mode, seed: int) -> nn.Module:
    """Return a copy of a network with random parameters, cached until the network's own parameters change.

    Modules draw their parameters by their own `reset_parameters`, which also clears the running statistics of batch
    norm. Parameters of modules without that method (a class token, a layer scale) are shuffled, which keeps their
    distribution and removes what they learned. All numbers are drawn on the CPU, so they are equal on every device.

    Args:
        network: left unchanged, like the global random state.
        mode: `head`: the last linear layer alone; `all`: every parameter.
        seed: seed of the parameters.

    Returns:
        A network on the same device, whose modules have the same modes.

    Raises:
        ValueError: for another mode, or if the network has no linear layer to randomize.
    """
    if mode not in ("head", "all"):
        raise ValueError(f"mode must be 'head' or 'all', got {mode!r}.")
    copies = _COPIES.setdefault(network, {})
    state = _state(network)
    if (mode, seed) not in copies or copies[mode, seed][0] != state:
        copies[mode, seed] = (state, _randomized(network, mode, seed))
    return copies[mode, seed][1]


def _state(network: nn.Module) -> Any:
    """Return a value that changes when a parameter or buffer is replaced or written to."""
    tensors = [*network.parameters(), *network.buffers()]
    # Tensors made in inference mode have no version; they cannot be trained either.
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]


def _randomized(network: nn.Module, mode: Mode, seed: int) -> nn.Module:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the accelerators
        randomized = copy.deepcopy(network).cpu()
        for module in (linear_head(randomized) if mode == "head" else randomized).modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].reshape(parameter.shape))
        return randomized.to(device)


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute Spearman's ρ of each pair of rows; equal values share the average of their ranks.

    Args:
        first: (N, M) finite values.
        second: (N, M) finite values.

    Returns:
        (N,) in [-1, 1]; NaN where a row is constant, because it has no order to compare.

    Raises:
        ValueError: if the arrays do not have the same shape (N, M).
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"spearman needs two arrays of the same shape (N, M), got {first.shape} and {second.shape}.")
    correlations = np.full(len(first), np.nan)
    for n, rows in enumerate(zip(first, second, strict=True)):
        ranks, other_ranks = (_centred_ranks(row) for row in rows)
        spread = np.sqrt((ranks @ ranks) * (other_ranks @ other_ranks))
        if spread > 0:
            correlations[n] = np.clip(ranks @ other_ranks / spread, -1, 1)
    return correlations


def _centred_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return average ranks minus their mean; they are multiples of 1/2, so that a constant row is exactly zero."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # 1-based: the middle of each run of equal values
    return ranks[place] - (len(values) + 1) / 2
