"""Run a network over a split of a data set, without training it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.machine import THIS_MACHINE, Machine


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Set eval mode inside a `with` block; restore each module's own mode afterwards, also after an error."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        if any(modes.values()):
            network.train()  # some of timm's networks cache fused weights in eval mode; train mode drops the cache
        for module, training in modes.items():
            module.training = training


def network_outputs(
    network: nn.Module, images: ImageSet, machine: Machine = THIS_MACHINE, label: str = ""
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield image ids and outputs of a network, batch by batch.

    Args:
        network: maps (N, 3, H, W) uint8 to (N, ...); moved to the device of `machine`, used in eval mode.
        images: one split.
        machine: device, batch size, decoding processes and progress bar.
        label: text before the progress bar.

    Yields:
        The image ids of a batch, and its outputs in float32 on the CPU.

    Raises:
        ValueError: for NaN or infinity, naming the image.
    """
    device = machine.device
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images.preload()
    loader: DataLoader = DataLoader(
        images, batch_size=machine.batch_size, num_workers=machine.workers, collate_fn=collate
    )
    hidden = None if machine.progress else True
    for batch in tqdm(loader, desc=label, unit="batch", disable=hidden, leave=False):
        with evaluation_mode(network), torch.no_grad():
            outputs = network(batch.images.to(device)).float().cpu()
        finite = outputs.isfinite().flatten(1).all(dim=1)
        if not finite.all():
            image_id = batch.image_ids[int(finite.logical_not().nonzero()[0])]
            raise ValueError(
                f"The output of {type(network).__name__} for image {image_id!r} holds NaN or infinity; train it again "
                "at a lower learning rate."
            )
        yield batch.image_ids, outputs
