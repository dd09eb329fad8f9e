"""Read the images of a split, as they are or at another split's size."""

import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from wsol.data.clipping import clip, clip_split
from wsol.data.decode import read_image, read_mask, read_reduced, read_size
from wsol.data.index import Entry, Index
from wsol.data.sample import Sample, resize_annotations, resize_sample
from wsol.data.shared_strings import Strings
from wsol.geometry import Size, as_boxes

log = logging.getLogger(__name__)

Decode = Literal["reduced"]  # None: at full size


def load_entry(entry: Entry, at_least: Size | None = None) -> Sample:
    """Decode an image file and clip its boxes to it.

    Args:
        entry: of the index.
        at_least: a JPEG may come out smaller, but not below this (height, width), see `read_reduced`; boxes, mask and
            points are then of the smaller image.

    Raises:
        ValueError: naming image, annotation line and remedy, for a box that is empty or has nothing inside the image;
            and as `read_image`.
    """
    image, size = _read_as_annotated(entry, at_least)
    boxes = clip(entry.boxes, size, entry.box_origin, lambda place: entry.image_id)
    mask = None
    for path in entry.mask_paths:
        gray = read_mask(path)
        if gray.shape != size:
            raise ValueError(f"Mask {path} is {gray.shape}, its image {size}; unpack both again.")
        mask = gray > entry.mask_above if mask is None else mask | (gray > entry.mask_above)
    points = {name: np.array(point, np.float32) for name, point in entry.part_points.items()}
    sample = Sample(image, entry.class_id, entry.image_id, boxes, mask, part_points=points)
    return sample if sample.size == size else resize_annotations(sample, size)


def _read_as_annotated(entry: Entry, at_least: Size | None) -> tuple[NDArray[np.uint8], Size]:
    """Read the pixels on the grid of the boxes: upright, or as stored if the annotations state that size.

    Returns:
        The image, and the size of that grid, which is the image's own unless it was decoded at a fraction of it.
    """
    if at_least is not None:
        reduced, size = read_reduced(entry.path, at_least)
        if entry.size in (None, size):
            return reduced, size
    image = read_image(entry.path)
    if entry.size in (None, image.shape[:2]):
        return image, image.shape[:2]
    stored = read_image(entry.path, upright=False)
    if stored.shape[:2] == entry.size:  # some cameras' photographs were annotated before any tool turned them
        return stored, entry.size
    (height, width), (stated_height, stated_width) = image.shape[:2], entry.size
    raise ValueError(
        f"{entry.origin or entry.path}: the annotations state that {entry.path} has {stated_width} x {stated_height} "
        f"pixels, but it has {width} x {height}; it is another version of the image: unpack both again."
    )


class ImageSet(Dataset[Sample]):
    """The samples of one split, resized to one size.

    Args:
        entries: the images; kept as an `Index`.
        load: entry -> sample at its original size.
        prepare: sample -> sample of the size that a network reads; deterministic; None: as loaded.
        labels_only: hand out images and classes alone, as weakly supervised training may see them; the boxes are not
            even kept.
        max_cache_bytes: prepared images stay in memory if all of them take no more than this.
        name: for progress bars and the log.
        may_be_empty: accept no entry.

    Raises:
        ValueError: if there is no entry, unless there may be none.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        load: Callable[[Entry], Sample] = load_entry,
        prepare: Callable[[Sample], Sample] | None = None,
        labels_only: bool = False,
        max_cache_bytes: float = 4 * 2**30,
        name: str = "images",
        may_be_empty: bool = False,
    ) -> None:
        index = Index.of(entries)
        if not len(index) and not may_be_empty:
            raise ValueError(f"{name} holds no image.")
        self.entries = index.without_boxes() if labels_only else index
        self.name = name
        self.class_ids = index.class_ids.numpy()
        self.load, self._prepare, self._labels_only = load, prepare, labels_only
        self._max_cache_bytes = max_cache_bytes
        self._memory: list[Sample] | None = None
        self._boxes_checked = False

    @property
    def image_ids(self) -> Strings:
        """N ids, unique in the data set."""
        return self.entries.image_ids

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        if self._memory is not None:
            return self._memory[index]
        sample = self.load(self.entries[index])
        sample = sample if self._prepare is None else self._prepare(sample)
        return sample.without_boxes() if self._labels_only else sample

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) height and width of the grid of each image's boxes, as loading finds it.

        Sizes that annotations state are not verified here; loading compares them with the image. Others are read from
        the heads of the files, in threads.
        """
        index = self.entries
        sizes = np.zeros((len(index), 2), np.int32) if index.sizes is None else index.sizes.numpy().copy()
        places = np.flatnonzero((sizes == 0).any(axis=1))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = pool.map(self._size, places.tolist())
            title = f"reading image sizes of {self.name}"
            bar = tqdm(read, total=len(places), desc=title, unit="image", delay=2, leave=False, disable=None)
            for place, size in zip(places, bar, strict=True):
                sizes[place] = size
        return sizes

    def _size(self, place: int) -> Size:
        entry = self.entries[place]
        # An image without a file of its own must be loaded.
        return read_size(entry.path) if entry.path.is_file() else self.load(entry).size

    def clipped_boxes(self) -> NDArray[np.float32]:
        """Return the boxes of all images, clipped to them, and log how many reach out. No image is decoded.

        Returns:
            (M, 4) edges, in pixels of the original images, in the order of the entries.

        Raises:
            FileNotFoundError: if an image is missing whose size no annotation states.
            ValueError: naming file, line, image and remedy, for a box that is empty or has nothing inside its image.
        """
        index = self.entries
        if not len(index.boxes):
            return as_boxes([])
        return clip_split(
            self.name,
            index.boxes.numpy(),
            index.box_ends.numpy(),
            self.sizes,
            index.box_origin,
            index.image_ids.__getitem__,
        )

    def check_boxes(self) -> None:
        """Check all boxes before anything is trained on or decoded; a second call does nothing.

        Raises:
            FileNotFoundError: as `clipped_boxes`.
            ValueError: as `clipped_boxes`.
        """
        if not self._boxes_checked:
            self.clipped_boxes()
            self._boxes_checked = True

    def preload(self) -> None:
        """Decode everything into memory, in threads, if it fits; a second call does nothing.

        Raises:
            ValueError: for the first bad image or box.
        """
        if self._memory is not None or not len(self):
            return
        size = self[0].image.nbytes * len(self)
        if size > self._max_cache_bytes:
            log.info(
                "%s: %d images need %.0f MiB, more than may be kept; decoded on access, in machine.workers processes.",
                self.name,
                len(self),
                size / 2**20,
            )
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the GIL
            images = pool.map(self.__getitem__, range(len(self)))
            title = f"decoding {self.name}"
            self._memory = list(
                tqdm(images, total=len(self), desc=title, unit="image", delay=2, leave=False, disable=None)
            )
        log.info("%s: %d images in memory, %.0f MiB.", self.name, len(self), size / 2**20)


def prepared_as(
    images: ImageSet,
    like: ImageSet,
    places: NDArray[np.int64] | None = None,
    max_cache_bytes: float = 2**30,
    name: str = "",
) -> ImageSet:
    """Return images of one split, decoded and resized like those of another.

    Boxes and masks that a split hides, as `train` does, stay hidden.

    Args:
        images: of the split.
        like: images whose decoding and size are used; the first of them is read.
        places: (N,) indices into `images`, in the order wanted; None: all.
        max_cache_bytes: the images stay in memory if they take no more than this.
        name: for progress bars and the log; empty: as `images`.
    """
    entries = images.entries if places is None else images.entries.select(places)
    return ImageSet(
        entries,
        like.load,
        partial(resize_sample, size=like[0].size),
        labels_only=not len(images.entries.boxes),
        max_cache_bytes=max_cache_bytes,
        name=name or images.name,
    )
