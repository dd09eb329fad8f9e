"""Read and check activation maps that any tool wrote: a folder of .npy files, or one stacked .npy or .npz."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.atomic_files import regular_file
from wsol.data.ground_truth import GroundTruth
from wsol.geometry import Size
from wsol.maps.stored_maps import Degenerate
from wsol.threads import in_threads

_READ_ERRORS = (OSError, ValueError, EOFError, KeyError)

# NumPy parses a file's header with ast, which is not safe in threads before Python 3.12: where garbage collection
# releases the GIL in the middle, it raises SystemError (python/cpython#106905).
_HEADER = Lock()


@dataclass(frozen=True)
class MapFiles:
    """The maps of a split, in the order of its images; each file is read when its map is."""

    image_ids: NDArray[np.str_]  # (N,)
    paths: tuple[Path, ...] = ()  # N files; empty for maps in `stacked`
    stacked: NDArray[np.generic] | None = None  # (M, h, w), a memory map where the file allows it
    places: NDArray[np.int64] | None = None  # (N,) index of each image's map in `stacked`
    scale: NDArray[np.floating] | None = None  # (M,) factor of each stacked map

    def read(self, index: int) -> NDArray[np.float64]:
        """Return the (h, w) map of one image."""
        if self.stacked is None or self.places is None:
            return _load(self.paths[index]).astype(np.float64)
        place = self.places[index]
        values = np.asarray(self.stacked[place]).astype(np.float64)
        return values if self.scale is None else values * self.scale[place]

    def name(self, index: int) -> str:
        """Return the name of a map in messages: its file, or its image."""
        return str(self.paths[index]) if self.paths else f"the map of {self.image_ids[index]}"


class BadMaps(ValueError):
    """Error that lists all problems with the maps, one a line."""

    def __init__(self, source: Path, problems: Sequence[str]) -> None:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        listed = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{count} with the maps in {source}; nothing was scored:{listed}")


def find_maps(source: Path, truth: GroundTruth, ids_file: Path | None = None) -> MapFiles:
    """Find the map of every image of a split.

    Args:
        source: a folder with a file `<image_id>.npy` for each image, the id with or without its suffix; or a stacked
            .npz with `image_ids` (N,) and `maps` (or `values`, and optionally `scale` (N,)) (N, h, w), as in the
            folder `maps` of a run; or a stacked .npy (N, h, w).
        truth: the split.
        ids_file: for a stacked .npy: a text file with an image id a line, in the order of the maps.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        BadMaps: naming all maps that are missing, extra, or stored twice.
        ValueError: for a file that cannot be read as stacked maps.
    """
    if source.is_dir():
        return _in_folder(source, truth)
    if not source.is_file():
        raise FileNotFoundError(f"No maps at {source}: give a folder of .npy files, or a stacked .npy or .npz file.")
    if source.suffix not in (".npz", ".npy"):
        raise ValueError(f"{source} is neither a folder of .npy files nor a stacked .npy or .npz file.")
    scale = None
    try:
        if source.suffix == ".npz":
            with np.load(source, allow_pickle=False) as arrays:
                stacked = arrays["maps"] if "maps" in arrays else arrays["values"]
                ids = [str(image_id) for image_id in arrays["image_ids"]]
                scale = arrays["scale"] if "scale" in arrays else None
        else:
            stacked = np.load(source, mmap_mode="r", allow_pickle=False)
            if ids_file is None:
                raise ValueError("a stacked .npy contains no image ids; give --ids FILE, an image id a line")
            ids = regular_file(ids_file).read_text(encoding="utf-8-sig").split("\n")
            ids = [line.strip("\r") for line in ids if line.strip()]
    except _READ_ERRORS as error:
        raise ValueError(f"{source} cannot be read as stacked maps: {error}.") from None
    if stacked.ndim != 3 or len(stacked) != len(ids):
        raise ValueError(f"{source} must hold {len(ids)} maps, (N, h, w), one for each id; got shape {stacked.shape}.")
    place = dict(zip(ids, range(len(ids)), strict=True))
    problems = [f"twice: {image_id}" for image_id in _twice(ids)]
    image_ids = [str(image_id) for image_id in truth.image_ids]
    problems += [f"missing: {image_id}" for image_id in image_ids if image_id not in place]
    problems += [f"extra, of no image of the split: {image_id}" for image_id in sorted(set(ids) - set(image_ids))]
    if problems:
        raise BadMaps(source, problems)
    return MapFiles(
        truth.image_ids,
        stacked=stacked,
        places=np.array([place[image_id] for image_id in image_ids], np.int64),
        scale=scale,
    )


def _in_folder(folder: Path, truth: GroundTruth) -> MapFiles:
    left = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.npy")}
    if not left:
        raise FileNotFoundError(f"{folder} holds no .npy file; maps are named <image_id>.npy.")
    paths, problems = [], []
    for image_id in truth.image_ids:
        long, short = f"{image_id}.npy", str(Path(image_id).with_suffix(".npy").as_posix())
        files = [left.pop(name) for name in dict.fromkeys((long, short)) if name in left]
        if not files:
            problems.append(f"missing: {folder / long}")
        elif len(files) > 1:
            problems.append(f"twice: {files[0]} and {files[1]}")
        else:
            paths.append(files[0])
    problems += [f"extra, of no image of the split: {path}" for path in sorted(left.values())]
    if problems:
        raise BadMaps(folder, problems)
    return MapFiles(truth.image_ids, tuple(paths))


def _twice(ids: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for image_id in ids:
        if image_id in seen:
            yield image_id
        seen.add(image_id)


def check_maps(source: Path, maps: MapFiles, sizes: Sequence[Size] | None, progress: bool = True) -> Degenerate:
    """Read every map once, before anything is scored.

    Args:
        source: where the maps lie, for messages.
        maps: the maps of a split.
        sizes: for maps that are score maps already: N sizes that they must have, with all scores in [0, 1]. None: any
            size and range.
        progress: show a bar.

    Returns:
        Counts of degenerate maps.

    Raises:
        BadMaps: naming all maps that cannot be read, are not (h, w) numbers, hold NaN or infinity, or have another
            size or range.
    """
    degenerate, problems = Degenerate(), []

    def look(index: int) -> str | NDArray[np.floating]:
        return _look(maps, index, None if sizes is None else sizes[index])

    count = len(maps.image_ids)
    looks = in_threads(look, range(count))
    hidden = None if progress else True
    bar = tqdm(looks, desc="checking maps", total=count, unit="map", delay=1, leave=False, disable=hidden)
    for values in bar:
        if isinstance(values, str):
            problems.append(values)
        else:
            degenerate.add(values)
    if problems:
        raise BadMaps(source, problems)
    return degenerate


def _look(maps: MapFiles, index: int, size: Size | None) -> str | NDArray[np.floating]:
    """Return one map, or the problem with it."""
    name = maps.name(index)
    try:
        values = maps.read(index)
    except _READ_ERRORS as error:
        return f"unreadable: {name} ({error})"
    except TypeError:
        return f"not numbers: {name}"
    if values.ndim != 2 or values.size == 0:
        return f"wrong shape: {name} is {values.shape}, not (h, w)"
    if not np.isfinite(values).all():
        return f"{'NaN' if np.isnan(values).any() else 'infinite'}: {name}"
    lowest, highest = float(values.min()), float(values.max())
    if size is not None and values.shape != tuple(size):
        return f"wrong shape: {name} is {values.shape}, not {tuple(size)} as score maps must be"
    if size is not None and (lowest < 0 or highest > 1):
        return f"out of range: {name} reaches from {lowest:g} to {highest:g}, score maps from 0 to 1"
    return values


def _load(path: Path) -> NDArray[np.generic]:
    content = BytesIO(regular_file(path).read_bytes())  # in parallel; maps may lie on a network disk
    with _HEADER:
        array = np.load(content, allow_pickle=False)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        raise TypeError(array.dtype)
    return array
