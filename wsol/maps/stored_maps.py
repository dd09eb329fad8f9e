"""Store the activation maps of a split, and count degenerate maps."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.atomic_files import whole_file


@dataclass
class Degenerate:
    """Numbers of degenerate maps of each kind."""

    constant: int = 0  # one value everywhere, including zero
    zero: int = 0  # zeros everywhere
    one_pixel: int = 0  # one cell above a constant rest

    def add(self, activation_map: NDArray[np.floating]) -> None:
        """Count an (h, w) map without NaN."""
        lowest, highest = float(activation_map.min()), float(activation_map.max())
        self.constant += lowest == highest
        self.zero += lowest == highest == 0
        self.one_pixel += int((activation_map > lowest).sum()) == 1

    def __str__(self) -> str:
        """Return the counts above zero, such as `2 zero, 1 constant, 3 one pixel`."""
        kinds = {"zero": self.zero, "constant": self.constant - self.zero, "one pixel": self.one_pixel}
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)


@dataclass(frozen=True)
class StoredMaps:
    """The activation maps of one method on one split.

    Each map is divided by its own largest magnitude and stored as float16: Grad-CAM maps can lie wholly below float16's
    smallest normal number, where min-max normalization would turn rounding errors into boxes.
    """

    image_ids: NDArray[np.str_]  # (N,)
    values: NDArray[np.float16]  # (N, h, w) in [-1, 1]
    scale: NDArray[np.float32]  # (N,) largest magnitude of each map
    seconds: float = 0.0  # duration of making the maps, without the forward pass that all methods share

    @classmethod
    def of(cls, image_ids: list[str], activation_maps: Tensor, seconds: float = 0.0) -> "StoredMaps":
        """Round maps for storage; NaN and infinity are kept, and `to_score_maps` reports them.

        Args:
            image_ids: N names.
            activation_maps: (N, h, w), any range.
            seconds: duration of making the maps.
        """
        maps = activation_maps.detach().float().cpu()
        scale = maps.abs().amax(dim=(1, 2))
        values = maps / torch.where(scale > 0, scale, 1)[:, None, None]
        return cls(np.asarray(image_ids, dtype=np.str_), values.numpy().astype(np.float16), scale.numpy(), seconds)

    def activation_maps(self) -> Tensor:
        """Return the (N, h, w) float32 maps at their original scale."""
        return torch.from_numpy(self.values.astype(np.float32) * self.scale[:, None, None])

    def read(self, index: int) -> NDArray[np.float32]:
        """Return the (h, w) map of one image at its original scale."""
        return self.values[index].astype(np.float32) * self.scale[index]

    def degenerate(self) -> Degenerate:
        """Count the degenerate maps."""
        counts = Degenerate()
        for values in self.values:
            counts.add(values)
        return counts

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all."""
        with whole_file(path) as aside:
            np.savez(aside, image_ids=self.image_ids, values=self.values, scale=self.scale, seconds=self.seconds)

    @classmethod
    def load(cls, path: Path) -> "StoredMaps":
        """Read a file that `save` wrote."""
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return cls(arrays["image_ids"], arrays["values"], arrays["scale"], float(arrays["seconds"]))

    @classmethod
    def concatenate(cls, parts: list["StoredMaps"]) -> "StoredMaps":
        """Join the maps of several batches, in order."""
        return cls(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.scale for part in parts]),
            sum(part.seconds for part in parts),
        )
