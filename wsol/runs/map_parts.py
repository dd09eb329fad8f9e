"""Make the maps of a split part by part, so that memory does not grow with it and a stopped pass goes on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from wsol.data.image_set import ImageSet
from wsol.machine import Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.make_maps import make_maps
from wsol.maps.stored_maps import StoredMaps
from wsol.runs.folder import load_maps, load_or_none, save_frame

_AT_ONCE = 1024  # images of a part
_SLOWLY = 16  # images of a part at least, of a method that calls the network up to thousands of times an image


@dataclass(frozen=True)
class PartFiles:
    """Name the files of one pass over a split: those that it makes, and those of its parts beside them.

    Attributes:
        predictions: file of the predictions.
        maps: method -> file of its maps.
    """

    predictions: Path
    maps: Mapping[str, Path]

    def of(self, places: range) -> "PartFiles":
        """Return the files of one part."""
        return PartFiles(
            _part(self.predictions, places), {name: _part(path, places) for name, path in self.maps.items()}
        )

    def parts_on_disk(self) -> Iterator[Path]:
        """Yield the files of all parts, also of parts of another size."""
        for path in (self.predictions, *self.maps.values()):
            yield from path.parent.glob(f"{path.stem}.part-*{path.suffix}")


def parts_of(images: int, methods: Mapping[str, MapMethod], batch_size: int) -> list[range]:
    """Divide a split into parts of whole batches, so that every batch is that of a pass over the whole split."""
    slow = any(method.needs == "calls" for method in methods.values())
    size = batch_size * max(1, (_SLOWLY if slow else _AT_ONCE) // batch_size)
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


def make_by_part(
    network: Callable[[], nn.Module],
    images: ImageSet,
    methods: Mapping[str, MapMethod],
    files: PartFiles,
    machine: Machine,
) -> None:
    """Make the maps of a split, or go on where a pass was stopped, and join the parts into the files of the split.

    Args:
        network: returns the classifier; called only if a part is missing.
        images: the split.
        methods: name -> map method; may be empty.
        files: to make; predictions that are on disk stay.
        machine: device, batch size, decoding processes and progress bar.

    Raises:
        ValueError: as `make_maps`.
    """
    parts = parts_of(len(images), methods, machine.batch_size)
    for places in parts:
        part = files.of(places)
        if _is_whole(part):
            continue
        predictions, made = make_maps(network(), images, methods, machine, places)
        for name, maps in made.items():
            maps.save(part.maps[name])
        save_frame(part.predictions, predictions)
    for name, path in files.maps.items():
        StoredMaps.join([files.of(places).maps[name] for places in parts], path)
    if not files.predictions.exists():
        save_frame(files.predictions, _joined([pd.read_parquet(files.of(places).predictions) for places in parts]))
    for path in files.parts_on_disk():
        path.unlink()


def _part(path: Path, places: range) -> Path:
    return path.with_name(f"{path.stem}.part-{places.start:07d}-{places.stop:07d}{path.suffix}")


def _is_whole(part: PartFiles) -> bool:
    """Return whether all files of a part can be read; the predictions were written last."""
    if load_or_none(part.predictions, pd.read_parquet) is None:
        return False
    return all(load_or_none(path, load_maps) is not None for path in part.maps.values())


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    predictions = pd.concat(parts, ignore_index=True)
    predictions.attrs = {**parts[0].attrs, "seconds": sum(part.attrs["seconds"] for part in parts)}
    return predictions
