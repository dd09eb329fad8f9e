"""Index of a split: annotations and paths of its images before any is decoded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.data.shared_strings import Strings
from wsol.geometry import Size, as_boxes


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        image_id: unique in the data set.
        class_id: in 0 ... K - 1.
        boxes: (B, 4) edges, in pixels of the original image.
        path: its file.
        origin: file and line of the boxes, for messages.
        size: (height, width) by the annotations; None: unknown.
        box_origins: file and line of each box; empty: at `origin`.
        mask_paths: files of its objects' masks.
        ignore_path: file of the region that scores of pixels leave out.
        mask_above: gray values above this one count as set.
        part_points: part name -> (x, y).
    """

    image_id: str
    class_id: int
    boxes: NDArray[np.float32]
    path: Path
    origin: str = ""
    size: Size | None = None
    box_origins: tuple[str, ...] = ()
    mask_paths: tuple[Path, ...] = ()
    ignore_path: Path | None = None
    mask_above: float = 127.0
    part_points: dict[str, tuple[float, float]] = field(default_factory=dict)

    def box_origin(self, place: int) -> str:
        """Return file and line of a box, for messages."""
        return self.box_origins[place] if self.box_origins else self.origin or str(self.path)


@dataclass(frozen=True)
class _Rest:
    """Fields that few data sets have."""

    mask_paths: tuple[Path, ...]
    ignore_path: Path | None
    mask_above: float
    part_points: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, entry: Entry) -> "_Rest":
        return cls(entry.mask_paths, entry.ignore_path, entry.mask_above, entry.part_points)


@dataclass(frozen=True, eq=False)
class Index(Sequence[Entry]):
    """N images in columns: a million take 100 MB, once, however many processes load them.

    Entries are made on access. The columns are tensors, for the reason in `Strings`.

    Attributes:
        image_ids: unique in the data set.
        class_ids: (N,) int64.
        folder: where `paths` start; empty if they are complete.
        paths: the files.
        boxes: (M, 4) float32 edges, those of image i at box_ends[i] ... box_ends[i + 1].
        box_ends: (N + 1,) int64.
        sizes: (N, 2) int32 height and width by the annotations; 0, 0: unknown; None: all unknown.
        origins: file and line of the boxes; None: unknown.
        box_origins: M lines, one for each box; None: those of their images.
        rest: N records of the fields that few data sets have, or None.
    """

    image_ids: Strings
    class_ids: Tensor
    folder: str
    paths: Strings
    boxes: Tensor
    box_ends: Tensor
    sizes: Tensor | None = None
    origins: Strings | None = None
    box_origins: Strings | None = None
    rest: tuple[_Rest, ...] | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Index":
        """Make an index of entries; return an index as it is."""
        if isinstance(entries, Index):
            return entries
        entries = list(entries)
        sizes = [entry.size or (0, 0) for entry in entries]
        rest = tuple(_Rest.of(entry) for entry in entries)
        return cls(
            image_ids=Strings.of(entry.image_id for entry in entries),
            class_ids=torch.tensor([entry.class_id for entry in entries], dtype=torch.int64),
            folder="",
            paths=Strings.of(str(entry.path) for entry in entries),
            boxes=torch.from_numpy(np.concatenate([as_boxes([]), *(as_boxes(entry.boxes) for entry in entries)])),
            box_ends=_ends([len(entry.boxes) for entry in entries]),
            sizes=torch.tensor(sizes, dtype=torch.int32) if any(entry.size for entry in entries) else None,
            origins=Strings.of(entry.origin for entry in entries) if any(entry.origin for entry in entries) else None,
            box_origins=Strings.of(entry.box_origin(place) for entry in entries for place in range(len(entry.boxes)))
            if any(entry.box_origins for entry in entries)
            else None,
            rest=rest
            if any(record.mask_paths or record.ignore_path or record.part_points for record in rest)
            else None,
        )

    @classmethod
    def of_files(cls, folder: Path, files: Strings, class_ids: NDArray[np.int64]) -> "Index":
        """Make an index of images without boxes: files below a folder, whose ids are their paths from there."""
        return cls(
            image_ids=files,
            class_ids=torch.from_numpy(np.asarray(class_ids, np.int64)),
            folder=str(folder),
            paths=files,
            boxes=torch.zeros(0, 4),
            box_ends=torch.zeros(len(files) + 1, dtype=torch.int64),
        )

    def __len__(self) -> int:
        return len(self.class_ids)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        place = range(len(self))[index]
        size = None if self.sizes is None else tuple(self.sizes[place].tolist())
        rest = _Rest((), None, 127.0, {}) if self.rest is None else self.rest[place]
        start, end = self.box_ends[place : place + 2].tolist()
        return Entry(
            image_id=self.image_ids[place],
            class_id=int(self.class_ids[place]),
            boxes=self.boxes[start:end].numpy(),
            path=Path(self.folder, self.paths[place]),
            origin="" if self.origins is None else self.origins[place],
            size=None if size is None or 0 in size else size,
            box_origins=() if self.box_origins is None else tuple(self.box_origins[box] for box in range(start, end)),
            mask_paths=rest.mask_paths,
            ignore_path=rest.ignore_path,
            mask_above=rest.mask_above,
            part_points=rest.part_points,
        )

    def __iter__(self) -> Iterator[Entry]:
        for place in range(len(self)):
            yield self[place]

    @property
    def box_counts(self) -> NDArray[np.int64]:
        """(N,) number of boxes of each image."""
        return np.diff(self.box_ends.numpy())

    def box_origin(self, place: int) -> str:
        """Return file and line of a box, for messages."""
        image = int(np.searchsorted(self.box_ends.numpy(), place, side="right")) - 1
        return self[image].box_origin(place - int(self.box_ends[image]))

    def select(self, places: NDArray[np.int64]) -> "Index":
        """Return the images at these places, in this order."""
        places = np.asarray(places, np.int64)
        chosen = torch.from_numpy(places)
        counts = self.box_counts[places]
        starts = np.repeat(self.box_ends.numpy()[places], counts)
        ends = _ends(counts)
        within = np.arange(len(starts)) - np.repeat(ends.numpy()[:-1], counts)
        same = self.paths is self.image_ids
        image_ids = self.image_ids.select(places)
        return replace(
            self,
            image_ids=image_ids,
            class_ids=self.class_ids[chosen],
            paths=image_ids if same else self.paths.select(places),
            boxes=self.boxes[torch.from_numpy(starts + within)],
            box_ends=ends,
            sizes=None if self.sizes is None else self.sizes[chosen],
            origins=None if self.origins is None else self.origins.select(places),
            box_origins=None if self.box_origins is None else self.box_origins.select(starts + within),
            rest=None if self.rest is None else tuple(self.rest[place] for place in places),
        )

    def without_boxes(self) -> "Index":
        """Return the same images with class labels alone."""
        return replace(
            self,
            boxes=torch.zeros(0, 4),
            box_ends=torch.zeros(len(self) + 1, dtype=torch.int64),
            origins=None,
            box_origins=None,
            rest=None,
        )

    def with_classes(self, new_ids: NDArray[np.int64]) -> "Index":
        """Return the images of some classes, under new class ids.

        Args:
            new_ids: (K,) the new id of each class; -1: its images are left out.
        """
        renamed = new_ids[self.class_ids.numpy()] if len(self) else np.zeros(0, np.int64)
        (kept,) = np.nonzero(renamed >= 0)
        return replace(self.select(kept), class_ids=torch.from_numpy(renamed[kept].astype(np.int64)))


def _ends(counts: Sequence[int] | NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
