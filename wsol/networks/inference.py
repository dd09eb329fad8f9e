"""Run a network over a split without training it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate


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


def network_outputs(
    network: nn.Module,
    images: ImageSet,
    *,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
    progress: str = "",
) -> Iterator[tuple[list[str], Tensor]]:
    """Image ids and outputs, batch by batch.

    Args:
        network: (N, 3, H, W) uint8 -> (N, ...); moved to `device`, used in eval mode.
        images: one split.
        device: where to compute.
        batch_size: images at a time.
        workers: processes that decode; 0 decodes in this one.
        progress: what a progress bar says; empty for none.

    Yields:
        The batch's ids, and its outputs in float32 on the CPU.

    Raises:
        ValueError: for NaN or infinity, naming the image.
    """
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images.preload()
    loader: DataLoader = DataLoader(images, batch_size=batch_size, num_workers=workers, collate_fn=collate)
    hidden = None if progress else True
    for batch in tqdm(loader, desc=progress, unit="batch", disable=hidden, leave=False):
        with evaluation_mode(network), torch.no_grad():
            made = network(batch.images.to(device)).float().cpu()
        finite = made.isfinite().flatten(1).all(dim=1)
        if not finite.all():
            image_id = batch.image_ids[int(finite.logical_not().nonzero()[0])]
            raise ValueError(
                f"The output of {type(network).__name__} for image {image_id!r} holds NaN or infinity; train it again "
                "at a lower learning rate."
            )
        yield batch.image_ids, made
