"""Describe the machine that a program runs on: device, memory, processes and the folder of results."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """Settings that cannot change a number, save for the rounding of floats.

    Attributes:
        results: folder that runs are written to.
        accelerator: auto, cpu or gpu, as in Lightning's Fabric; except in training also a device of torch: cuda:1.
        devices: number of devices that train one classifier; above one, each trains in a process of its own.
        workers: processes that decode images; 0 decodes in the calling process.
        batch_size: images per pass of a network that is not trained.
        progress: show progress bars.
        compile: run the classifier through torch.compile in training.
    """

    results: Path = Path("results")
    accelerator: str = "auto"
    devices: int = 1
    workers: int = 0
    batch_size: int = 64
    progress: bool = True
    compile: bool = False

    @property
    def device(self) -> torch.device:
        """Device that one process computes on."""
        return device_of(self.accelerator)


THIS_MACHINE = Machine()


def device_of(accelerator: str) -> torch.device:
    """Return the device of an accelerator's name."""
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))
