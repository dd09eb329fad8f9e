"""Inspect one image and its annotations, and name the problems that it has."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from wsol.atomic_files import regular_file
from wsol.data.clipping import reach_out
from wsol.data.index import Entry
from wsol.data.sample import Sample
from wsol.geometry import Size, as_boxes, clip_boxes, overhangs

_SHOWN = 3

Load = Callable[[Entry], Sample]

# Of a million different files two share 8 bytes with probability 3e-8; as integers they are sorted in a second.
_DIGEST_BYTES = 8

_NO_DIGEST = 0


class Kind(StrEnum):
    """Kinds of problems, under their names in reports."""

    MISSING = "missing file"
    UNREADABLE = "file that may not be read"
    UNDECODABLE = "image that cannot be decoded"
    SIZE = "image of another size than its annotation says"
    EMPTY_BOX = "empty box"
    OUTSIDE = "box outside of its image"
    CLIPPED = "box that reaches out of its image"
    FRACTIONS = "boxes that seem to be fractions"
    MASK = "mask"
    NO_BOX = "no box or mask"
    COUNT = "number of images that differs from the published one"
    BOX_COUNT = "number of boxes that differs from the published one"
    TWO_SPLITS = "same file in two splits"
    TWO_CLASSES = "same file in two classes"

    @property
    def is_warning(self) -> bool:
        """Whether a run can go on in spite of it: published data sets have some of these."""
        return self in (Kind.BOX_COUNT, Kind.TWO_SPLITS, Kind.TWO_CLASSES)

    @property
    def is_note(self) -> bool:
        """Whether a run deals with it: a box that reaches out of its image is clipped."""
        return self is Kind.CLIPPED

    @property
    def is_problem(self) -> bool:
        """Whether the data set has to be corrected before a run."""
        return not (self.is_warning or self.is_note)


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        split: train, val or test; empty where it is of the whole data set.
        image_id: empty where it is of the whole split.
        kind: of problem.
        message: names the file, the line where there is one, and the remedy.
    """

    split: str
    image_id: str
    kind: Kind
    message: str


@dataclass
class Tally:
    """Number of problems of one kind, and the first three."""

    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(problem)


@dataclass(frozen=True)
class Inspected:
    """Results of the inspection of one image.

    Attributes:
        size: (height, width) in pixels of the image as it is loaded; None: it cannot be.
        traits: of its file: grayscale, CMYK, 16-bit, palette, transparent, turned by EXIF.
        digest: of the file's bytes, or of the pixels where the image is in no file; 0: there is none.
        problems: each with its message; notes too.
    """

    size: Size | None
    traits: tuple[str, ...]
    digest: int
    problems: tuple[tuple[Kind, str], ...]


def inspect(entry: Entry, load: Load, must_have_box: bool, with_digest: bool = True) -> Inspected:
    """Load an image as a run does, and find all that is wrong with it, not only what a run would stop at.

    Args:
        entry: with its boxes.
        load: as the data set loads it; what it raises is the problem.
        must_have_box: an image without box or mask is a problem.
        with_digest: compute it.
    """
    problems: list[tuple[Kind, str]] = []
    traits: tuple[str, ...] = ()
    digest, of_file = _NO_DIGEST, Kind.UNDECODABLE
    with ExitStack() as stack:
        file: BinaryIO | None = None
        try:
            file = stack.enter_context(regular_file(entry.path).open("rb"))
            if with_digest:
                digest = _to_int(hashlib.file_digest(file, _blake2b))
        except FileNotFoundError:
            pass  # `load` raises the same, unless the image is in no file of its own
        except (OSError, ValueError):  # ValueError: no file can have such a name
            of_file = Kind.UNREADABLE
        sample = _load(entry, load, of_file, problems)
        if sample is not None and file is not None:
            file.seek(0)
            traits = _traits(file)
    if sample is not None:
        problems += _empty_mask(entry, sample)
        if with_digest and digest == _NO_DIGEST:
            digest = _digest_of_pixels(sample.image)
    if entry.ignore_path is not None and sample is not None:
        _try(replace(_bare(entry), mask_paths=(entry.ignore_path,)), load, Kind.MASK, problems)
    if must_have_box and not len(entry.boxes) and not entry.mask_paths and (sample is None or sample.mask is None):
        problems.append(
            (Kind.NO_BOX, f"{entry.path} has no box or mask, and is scored; give it one, or move it to train.")
        )
    return Inspected(None if sample is None else sample.size, traits, digest, tuple(problems))


def _load(entry: Entry, load: Load, of_file: Kind, problems: list[tuple[Kind, str]]) -> Sample | None:
    """Load an image; after an error, which is only the first, load it piece by piece. None if it has no pixels."""
    try:
        loaded = load(entry)
        problems += _reaching_out(entry, loaded.size)
        return loaded
    except Exception as error:  # a damaged file can raise anything in a decoder, and must not end the check
        first = _message(entry, error)
    known = len(problems)
    bare = _bare(entry)
    whole = _try(replace(bare, size=None), load, of_file, problems)
    sample = None if whole is None else _try(bare, load, Kind.SIZE, problems)
    if whole is None or sample is None:
        return whole  # boxes are on another grid, or on none
    for place, box in enumerate(entry.boxes):
        x0, y0, x1, y1 = box
        kind = Kind.EMPTY_BOX if x1 <= x0 or y1 <= y0 else Kind.OUTSIDE
        _try(replace(bare, boxes=box[None], origin=entry.box_origin(place)), load, kind, problems)
    for path in entry.mask_paths:
        _try(replace(bare, mask_paths=(path,)), load, Kind.MASK, problems)
    if len(problems) == known:
        problems.append((Kind.UNDECODABLE, first))
    problems += _reaching_out(entry, sample.size)
    return replace(whole, boxes=as_boxes([]), mask=None)


def _bare(entry: Entry) -> Entry:
    return replace(entry, boxes=as_boxes([]), box_origins=(), mask_paths=(), ignore_path=None)


def _try(entry: Entry, load: Load, kind: Kind, problems: list[tuple[Kind, str]]) -> Sample | None:
    try:
        return load(entry)
    except FileNotFoundError as error:
        problems.append((kind if kind is Kind.MASK else Kind.MISSING, _message(entry, error)))
    except Exception as error:  # as above
        problems.append((kind, _message(entry, error)))
    return None


def _message(entry: Entry, error: Exception) -> str:
    """Return the error in one line, with the image and the line of its annotation."""
    text = " ".join(str(error).split())
    if not isinstance(error, (ValueError, OSError)):
        text = f"{entry.path} cannot be decoded ({type(error).__name__}: {text}); unpack its archive again."
    return text if entry.origin in text else f"{text} Its annotation is {entry.origin}."


def _reaching_out(entry: Entry, size: Size) -> list[tuple[Kind, str]]:
    """Return a note for each box that reaches out of its image and has a part inside."""
    height, width = size
    clipped = clip_boxes(entry.boxes, size)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    notes = []
    for place in np.flatnonzero(reach_out(entry.boxes, size) & inside):
        box = entry.boxes[place]
        numbers = ", ".join(f"{value:g}" for value in box)
        pixels = overhangs(box[None], size)[0]
        notes.append(
            (
                Kind.CLIPPED,
                f"{entry.box_origin(int(place))}: the box ({numbers}) (x0, y0, x1, y1) of {entry.path} reaches "
                f"{pixels:g} {'pixel' if pixels == 1 else 'pixels'} out of the image, which is {width} x {height}; it "
                "is clipped.",
            )
        )
    return notes


def _empty_mask(entry: Entry, sample: Sample) -> list[tuple[Kind, str]]:
    """Return a problem if no pixel of the mask is set: it loads, and nothing can be scored against it."""
    problems: list[tuple[Kind, str]] = []
    where = f"{entry.origin}: " if entry.origin else ""
    if sample.mask is not None and not sample.mask.any():
        files = ", ".join(map(str, entry.mask_paths)) or "the mask"
        problems.append((Kind.MASK, f"{where}{files} of {entry.path}: no pixel is set; unpack the masks again."))
    return problems


def _traits(file: BinaryIO) -> tuple[str, ...]:
    """Return the traits of an image file that can be decoded."""
    with Image.open(file) as image:
        mode, exif = image.mode, Image.Image.getexif(image)  # a PNG's own getexif would decode it once more
        traits = {
            "grayscale": mode in ("1", "L", "LA"),
            "CMYK": mode == "CMYK",
            "16-bit": mode.startswith("I"),
            "palette": mode in ("P", "PA"),
            "transparent": mode in ("RGBA", "LA", "PA") or "transparency" in image.info,
            "turned by EXIF": exif.get(ExifTags.Base.Orientation, 1) in range(2, 9),
        }
    return tuple(name for name, has in traits.items() if has)


def _blake2b() -> "hashlib._Hash":
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)  # type: ignore[return-value]


def _digest_of_pixels(image: NDArray[np.uint8]) -> int:
    made = _blake2b()
    made.update(repr(image.shape).encode())
    made.update(np.ascontiguousarray(image).data)
    return _to_int(made)


def _to_int(made: "hashlib._Hash") -> int:
    return int.from_bytes(made.digest(), "little") or 1
