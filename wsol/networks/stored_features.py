"""Store the features of a frozen trunk on disk, so that the trunk runs once for all heads that read them."""

import errno
import hashlib
import json
import logging
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.atomic_files import read_json, whole_file, write_json
from wsol.data.disk_cache import cache_folder
from wsol.data.image_set import ImageSet
from wsol.data.sample import Batch, collate
from wsol.data.views import Views
from wsol.geometry import Size
from wsol.identity import describe, digest, part_name
from wsol.machine import THIS_MACHINE, Machine
from wsol.networks.backbone import Backbone
from wsol.networks.inference import evaluation_mode

log = logging.getLogger(__name__)

_VERSION = 1  # of the form of the files; raised to have all of them made again
_AT_ONCE = 16  # images per pass of the trunk, which bounds the memory
_RELEASED = 2**27  # bytes that are read before the memory map gives its pages back
_TOLERANCE = 0.02  # of the largest feature; devices and batch sizes round differently
_PROBED: set[tuple[str, str]] = set()


@dataclass
class FeatureSet:
    """Features of a split on disk, or their pooled vectors, which a head reads in place of the images.

    Attributes:
        images: the split.
        files: one .npy file per view: (N, C, h, w) float16 features, or (N, C) float32 pooled vectors.
        boxes: N arrays (B, 4), edges in pixels of the prepared images, as in `Sample`.
        size: (height, width) of the prepared images.
        seconds: duration of the trunk's passes over one view of the split.
        pooled: the files contain pooled vectors.
    """

    images: ImageSet = field(repr=False)
    files: tuple[Path, ...]
    boxes: list[NDArray[np.float32]] = field(repr=False)
    size: Size
    seconds: float = 0.0
    pooled: bool = False
    _read: int = field(default=0, init=False, repr=False)

    @property
    def name(self) -> str:
        """Name of the split."""
        return self.images.name

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """One memory map per view."""
        return tuple(np.load(file, mmap_mode="r", allow_pickle=False) for file in self.files)

    def __len__(self) -> int:
        return len(self.images)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the memory maps, which pickle would copy."""
        return {key: value for key, value in self.__dict__.items() if key != "arrays"}

    def read(self, places: Tensor, views: Tensor | None = None) -> Tensor:
        """Read some images.

        Args:
            places: (M,) int64 indices into the split.
            views: (M,) int64, the view of each image; None: the first.

        Returns:
            (M, C, h, w) float16, or (M, C) float32 if pooled.
        """
        index = places.numpy()
        if views is None or len(self.arrays) == 1:
            rows = np.asarray(self.arrays[0][index])
        else:
            rows = np.empty((len(index), *self.arrays[0].shape[1:]), self.arrays[0].dtype)
            for view in views.unique().tolist():
                chosen = (views == view).numpy()
                rows[chosen] = self.arrays[view][index[chosen]]
        self._release(rows.nbytes)
        return torch.from_numpy(rows)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the first view of all images, in order; the features are in the place of the images."""
        class_ids, ids = torch.from_numpy(self.images.class_ids), self.images.image_ids
        for places in torch.arange(len(self)).split(batch_size):
            some = slice(int(places[0]), int(places[-1]) + 1)
            yield Batch(self.read(places).float(), class_ids[some], list(ids[some]), self.boxes[some])

    def pool(self, pooling: nn.Module) -> "FeatureSet":
        """Return the pooled vectors in place of the features; they are computed once, and stored beside them.

        Returns:
            This set, unchanged, if they cannot be computed before training: the pooling has parameters or buffers, or
            gives other values in training than in tests.
        """
        key = _pooling_key(pooling)
        if key is None or self.pooled or not self.same_in_training(pooling):
            return self
        first = self.first()
        with evaluation_mode(pooling), torch.no_grad():
            expected = pooling(first)
        files = []
        for view, source in enumerate(self.files):
            file = source.with_name(f"pooled-{view}-{key}.npy")
            stored = _load_array(file, np.float32, (len(self), *expected.shape[1:]))
            # The code of a pooling may have changed since.
            if stored is None or (view == 0 and not np.allclose(stored[: len(first)], expected, rtol=1e-3, atol=1e-5)):
                self._write_pooled(file, view, pooling)
            files.append(file)
        return FeatureSet(self.images, tuple(files), self.boxes, self.size, self.seconds, pooled=True)

    def same_in_training(self, pooling: nn.Module) -> bool:
        """Return True if a pooling, tried on the first images, draws no random numbers and reads no statistics."""
        first = self.first()
        with evaluation_mode(pooling), torch.no_grad():
            expected = pooling(first)
            pooling.train()
            return torch.equal(pooling(first), expected)

    def first(self) -> Tensor:
        """Return the features of the first images in float32."""
        return self.read(torch.arange(min(4, len(self)))).float()

    def _write_pooled(self, file: Path, view: int, pooling: nn.Module) -> None:
        with evaluation_mode(pooling), torch.no_grad(), _whole_array(file, len(self)) as write:
            bar = tqdm(
                torch.arange(len(self)).split(_AT_ONCE),
                desc=f"pooled features of {self.name}",
                unit="batch",
                delay=2,
                leave=False,
                disable=None,
            )
            for places in bar:
                write(pooling(self.read(places, torch.full_like(places, view)).float()).float().numpy())

    def _release(self, read: int) -> None:
        """Give the pages of the memory maps back now and then: they count as memory of the process until then."""
        self._read += read
        if self._read > _RELEASED:
            self._read = 0
            for array in self.arrays:
                if isinstance(array.base, mmap.mmap):
                    array.base.madvise(mmap.MADV_DONTNEED)


def store_features(
    trunk: Backbone,
    images: ImageSet,
    views: Views,
    identity: Mapping[str, Any],
    machine: Machine = THIS_MACHINE,
) -> FeatureSet:
    """Return the features of a split, and compute those that the cache lacks.

    The cache is the folder `features` of `cache_folder()`, shared by all runs. It may be deleted at any time. One
    process computes the features of a split, and others wait for it. The split is streamed in batches, so that memory
    does not grow with it. Files of another version, damaged files, and files that differ from what the trunk gives for
    the first image are made again.

    Args:
        trunk: frozen; used in eval mode on the device of `machine`.
        images: the split.
        views: which parts of the images the trunk reads.
        identity: plain data that distinguishes trunks of equal weights and images of equal ids, as the settings of the
            backbone and of the data set do.
        machine: device, batch size, decoding processes and progress bar.

    Raises:
        OSError: if the disk is full, naming the folder and the size.
        ValueError: if a feature is not finite or exceeds the range of float16, naming the image.
    """
    key = _key(trunk, images, views, identity)
    folder = cache_folder() / "features" / key[:16]
    with _locked(folder, images.name):
        return _Store(trunk, images, views, machine, folder, key).load_or_make()


@dataclass(frozen=True)
class _Store:
    """Read or write the files of one split; the caller holds the lock of the folder."""

    trunk: Backbone
    images: ImageSet
    views: Views
    machine: Machine
    folder: Path
    key: str

    @property
    def about_file(self) -> Path:
        return self.folder / "features.json"

    def view_file(self, view: int) -> Path:
        return self.folder / f"view-{view}.npy"

    def load_or_make(self) -> FeatureSet:
        about = self.load()
        if about is None:
            about = self.make()
        shape = (len(self.images), *about["shape"])
        for view in range(1, self.views.count):
            if _load_array(self.view_file(view), np.float16, shape) is None:
                self.write_view(view)
        boxes = self.load_boxes()
        files = tuple(self.view_file(view) for view in range(self.views.count))
        height, width = about["size"]
        return FeatureSet(self.images, files, boxes, (height, width), about["seconds"])

    def load(self) -> dict[str, Any] | None:
        """Return what `features.json` contains; None if the first view has to be made."""
        try:
            about = read_json(self.about_file)
            if (about["version"], about["key"]) != (_VERSION, self.key):
                log.info("%s has features of another version; they are made again.", self.folder)
                return None
            shape = tuple(about["shape"])
            self.load_boxes()
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            log.warning("The features in %s cannot be read (%s); they are made again.", self.folder, error)
            return None
        array = _load_array(self.view_file(0), np.float16, (len(self.images), *shape))
        return about if array is not None and self.probe(array) else None

    def probe(self, array: NDArray[np.float16]) -> bool:
        """Return True if the trunk gives the stored features for the first image; checked once in a process."""
        if (self.key, str(self.folder)) in _PROBED:
            return True
        batch = collate([self.images[0]])
        fresh = self.run(batch, 0)[0].astype(np.float32)
        stored = array[0].astype(np.float32)
        same = bool(np.abs(fresh - stored).max() <= _TOLERANCE * np.abs(fresh).max())
        if same:
            _PROBED.add((self.key, str(self.folder)))
        else:
            log.warning(
                "The features in %s differ from those that the network gives now for %s; they are made again.",
                self.folder,
                batch.image_ids[0],
            )
        return same

    def make(self) -> dict[str, Any]:
        """Compute the first view, and write everything that describes the split."""
        for old in [*self.folder.glob("*.npy"), self.about_file]:
            old.unlink(missing_ok=True)
        seconds, shape, boxes = self.write_view(0)
        with whole_file(self.folder / "boxes.npz") as aside:
            np.savez(aside, boxes=np.concatenate(boxes), counts=[len(each) for each in boxes])
        about = {
            "version": _VERSION,
            "key": self.key,
            "images": self.images.name,
            "size": list(self.images[0].size),
            "shape": list(shape),
            "seconds": seconds,
        }
        write_json(self.about_file, about)  # last: without it the other files do not count
        _PROBED.add((self.key, str(self.folder)))
        return about

    def load_boxes(self) -> list[NDArray[np.float32]]:
        with (self.folder / "boxes.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            boxes, counts = arrays["boxes"], arrays["counts"]
        if len(counts) != len(self.images) or counts.sum() != len(boxes):
            raise ValueError("the boxes do not fit the images")
        return np.split(boxes, np.cumsum(counts)[:-1])

    def write_view(self, view: int) -> tuple[float, tuple[int, ...], list[NDArray[np.float32]]]:
        """Compute and write one view; return the trunk's seconds, the shape of an image's features, and all boxes."""
        machine, count = self.machine, len(self.images)
        loader: DataLoader = DataLoader(
            self.images,
            batch_size=min(_AT_ONCE, machine.batch_size),
            num_workers=machine.workers,
            collate_fn=collate,
        )
        seconds, boxes, shape = 0.0, list[NDArray[np.float32]](), tuple[int, ...]()
        title = f"features of {self.images.name}" + (f", view {view + 1}" if self.views.count > 1 else "")
        with _whole_array(self.view_file(view), count) as write:
            hidden = None if machine.progress else True
            for batch in tqdm(loader, desc=title, unit="batch", disable=hidden, leave=False):
                begun = time.perf_counter()
                features = self.run(batch, view)
                seconds += time.perf_counter() - begun
                finite = np.isfinite(features).reshape(len(features), -1).all(axis=1)
                if not finite.all():
                    raise ValueError(
                        f"Features of image {batch.image_ids[int(np.flatnonzero(~finite)[0])]!r} are not finite, or "
                        "exceed 65504, the range of float16. Check the weights, or try train.views=null, which stores "
                        "no features."
                    )
                write(features)
                shape = features.shape[1:]
                boxes += batch.boxes
        return seconds, shape, boxes

    def run(self, batch: Batch, view: int) -> NDArray[np.float16]:
        """Return the (N, C, h, w) features of a batch."""
        device = self.machine.device
        trunk = self.trunk.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        cut = self.views.cut(batch.images, batch.image_ids, torch.full_like(batch.class_ids, view))
        with evaluation_mode(trunk), torch.no_grad():
            features = trunk(cut.to(device))
        return features.to("cpu", torch.float16).contiguous().numpy()


def _key(trunk: nn.Module, images: ImageSet, views: Views, identity: Mapping[str, Any]) -> str:
    """Return 64 hex digits of everything that the features depend on, save for the number of views."""
    text = hashlib.sha256(json.dumps(describe(identity), sort_keys=True).encode())
    text.update(f"{views.size}\n{images[0].size}\n{trunk}\n".encode())
    for name, tensor in trunk.state_dict().items():
        text.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        text.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    index = images.entries
    for image_id, path in zip(index.image_ids, index.paths, strict=True):
        text.update(f"{image_id}\t{_bytes(os.path.join(index.folder, path))}\n".encode())
    for column in (index.boxes, index.box_ends, *([] if index.sizes is None else [index.sizes])):
        text.update(column.contiguous().numpy().tobytes())
    return text.hexdigest()


def _bytes(path: str) -> int:
    """Return the size of a file, which tells apart two copies of a data set at different sizes; -1 without a file."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _pooling_key(pooling: nn.Module) -> str | None:
    """Return eight hex digits of a pooling's class and settings; None if it has a state or settings of its own kind."""
    if any(True for _ in pooling.parameters()) or any(True for _ in pooling.buffers()):
        return None
    described = []
    for module in pooling.modules():
        settings = {name: value for name, value in vars(module).items() if name != "training" and name[0] != "_"}
        described.append([part_name(type(module)), settings])
    try:
        return digest(described)
    except TypeError:
        return None


def _load_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return the memory map of a file; None if it does not exist, is damaged or has another form, which is logged."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError) as error:
        log.warning("The features %s cannot be read (%s); they are made again.", path, error)
        return None
    if array.dtype != dtype or array.shape != shape:
        log.warning("The features %s have another form than expected; they are made again.", path)
        return None
    return array


@contextmanager
def _whole_array(path: Path, rows: int) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write an array of a known number of rows in pieces; the file appears whole, or not at all.

    Plain writes, because a memory map on a full disk ends the process by a signal instead of an error.

    Raises:
        OSError: if the disk is full, with the first piece where its size shows that.
    """
    needed = 0

    def write(piece: NDArray[Any]) -> None:
        nonlocal needed
        if not needed:
            needed = piece.nbytes // len(piece) * rows
            if needed > shutil.disk_usage(path.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            header = {"descr": piece.dtype.str, "fortran_order": False, "shape": (rows, *piece.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(piece).data)

    try:
        with whole_file(path) as aside, aside.open("wb") as file:
            yield write
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            error.errno,
            f"The features need {needed / 2**30:.2f} GiB, and the disk of {path.parent} has {free / 2**30:.2f} GiB "
            f"free. Delete folders of {path.parent.parent} that are not needed, set WSOL_CACHE to a folder of another "
            "disk, or try train.views=null, which stores no features",
        ) from None


@contextmanager
def _locked(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder; log that another process works on it, and wait."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Another process computes the features of %s; this one waits for it.", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
