"""A copy of a network that has forgotten what it learned."""

import copy
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import nn

from wsol.linear_head import linear_head

Mode = Literal["head", "all"]

# network -> (mode, seed) -> (the state it was copied at, the copy). Weak, so that no network is kept for its copies.
_COPIES: WeakKeyDictionary[nn.Module, dict[tuple[str, int], tuple[Any, nn.Module]]] = WeakKeyDictionary()


def randomized_copy(network: nn.Module, mode: Mode, seed: int) -> nn.Module:
    """The network with parameters drawn anew, kept from call to call until the network's own parameters change.

    Modules draw their parameters by their own `reset_parameters`, which also clears the running statistics of batch
    norm. A parameter whose module has none (a class token, a layer scale) has its entries shuffled: its distribution
    stays, what was learned does not. Drawn on the CPU, so the numbers are the same on every device.

    Args:
        network: left as it is, and so is the global random state.
        mode: `head`: the last linear layer alone; `all`: every parameter.
        seed: of the draw.

    Returns:
        A network on the same device, in the modes of the given one.

    Raises:
        ValueError: for another mode, or if there is no linear layer to randomize.
    """
    if mode not in ("head", "all"):
        raise ValueError(f"mode must be 'head' or 'all', got {mode!r}.")
    copies = _COPIES.setdefault(network, {})
    state = _state(network)
    if (mode, seed) not in copies or copies[mode, seed][0] != state:
        copies[mode, seed] = (state, _randomized(network, mode, seed))
    return copies[mode, seed][1]


def _state(network: nn.Module) -> Any:
    """Changes when a parameter or buffer is replaced or written to."""
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
