"""Store the activation maps of a split, and count degenerate maps."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.atomic_files import whole_file

_IN_MEMORY = 64 * 2**20  # bytes of a file whose maps are read at once
_BLOCK = 2**20


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

    def activation_maps(self, places: slice | NDArray[np.int64] = slice(None)) -> Tensor:
        """Return the (N, h, w) float32 maps at these places, all by default, at their original scale."""
        return torch.from_numpy(self.values[places].astype(np.float32) * self.scale[places, None, None])

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
        """Read a file that `save` or `join` wrote. Maps of more than 64 MiB stay on disk until they are read."""
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = _mapped(path, file, arrays.zip) if path.stat().st_size > _IN_MEMORY else arrays["values"]
            return cls(arrays["image_ids"], values, arrays["scale"], float(arrays["seconds"]))

    @classmethod
    def join(cls, parts: Sequence[Path], path: Path) -> None:
        """Write the maps of several files, in order, into one, and hold those of one file in memory at a time.

        Args:
            parts: files of `save`, of maps of one size; at least one.
            path: of the new file, which appears whole.
        """
        loaded = (cls.load(part) for part in parts)
        heads = [(part.image_ids, part.scale, part.seconds, part.values.shape) for part in loaded]
        count, size = sum(len(ids) for ids, *_ in heads), heads[0][3][1:]
        with whole_file(path) as aside, zipfile.ZipFile(aside, "w") as archive:
            for name, array in (
                ("image_ids", np.concatenate([ids for ids, *_ in heads])),
                ("scale", np.concatenate([scale for _, scale, *_ in heads])),
                ("seconds", np.asarray(sum(seconds for *_, seconds, _ in heads))),
            ):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with archive.open("values.npy", "w", force_zip64=True) as member:
                described = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
                np.lib.format.write_array_header_1_0(member, {**described, "shape": (count, *size)})
                for part in parts:
                    member.write(cls.load(part).values.tobytes())

    @classmethod
    def concatenate(cls, parts: list["StoredMaps"]) -> "StoredMaps":
        """Join the maps of several batches, in order."""
        return cls(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.scale for part in parts]),
            sum(part.seconds for part in parts),
        )


def _mapped(path: Path, file: IO[bytes], archive: zipfile.ZipFile) -> NDArray[np.float16]:
    """Return the maps of an uncompressed .npz file as a memory map, after its checksum was verified block by block.

    Raises:
        ValueError: if the maps are compressed or no float16 array.
        zipfile.BadZipFile: if the file is damaged.
    """
    entry = archive.getinfo("values.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"The maps of {path} are compressed.")
    with archive.open(entry) as member:
        while member.read(_BLOCK):
            pass
    file.seek(entry.header_offset)
    head = file.read(30)  # the local header, whose last two numbers are the lengths of what follows it
    file.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype != np.float16 or fortran_order:
        raise ValueError(f"The maps of {path} are {dtype}, not float16 in C order.")
    return np.memmap(path, dtype, "r", file.tell(), shape)
