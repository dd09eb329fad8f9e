"""A network is used in eval mode and handed back as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode inside; each module's own mode again afterwards, also after an error."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        if any(modes.values()):
            network.train()  # some of timm's networks keep what they made of their weights, until told to train
        for module, training in modes.items():
            module.training = training
