"""Check a whole data set: decode every image and compare it with its annotations."""

import hashlib
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags, Image
from tqdm import tqdm

from wsol.atomic_files import regular_file
from wsol.data.checking.published import Published
from wsol.data.clipping import reach_out
from wsol.data.image_set import ImageSet
from wsol.data.index import Entry, Index
from wsol.data.sample import Sample
from wsol.data.splits import Splits
from wsol.geometry import Size, as_boxes, clip_boxes, overhangs
from wsol.threads import in_threads, processors

Load = Callable[[Entry], Sample]

_SHOWN = 3  # problems of a kind
# Images that a thread receives at once: handing over costs as much as decoding a third of a small image.
_AT_ONCE = 32


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


@dataclass(frozen=True)
class Part:
    """One split.

    Attributes:
        name: train, val or test.
        images: of the split.
        index: its annotations; train hands out no boxes, which this index still has.
        sizes: (N, 2) height and width in pixels; 0, 0 where the image could not be decoded.
        digests: (N,) of the files; 0 where the image is in no file of its own.
        traits: kind of file -> images.
    """

    name: str
    images: ImageSet
    index: Index
    sizes: NDArray[np.int32]
    digests: NDArray[np.uint64]
    traits: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, name: str, images: ImageSet, index: Index) -> "Part":
        """Return a split that was not looked through yet."""
        return cls(name, images, index, np.zeros((len(index), 2), np.int32), np.zeros(len(index), np.uint64))

    @property
    def decoded(self) -> NDArray[np.int32]:
        """Sizes of the images that could be decoded, (D, 2)."""
        return self.sizes[self.sizes[:, 0] > 0]


@dataclass
class Report:
    """Results of the check.

    Attributes:
        splits: the data set.
        parts: train, val and test.
        published: what it was compared with; None: nothing.
        found: the numbers found, in the order of the published figures.
        counts: kind -> number of problems, warnings and notes.
        first: kind -> the first three.
        copies: split -> files that equal an earlier one.
        seconds: that decoding took.
        threads: that decoded.
    """

    splits: Splits
    parts: tuple[Part, ...]
    published: Published | None
    found: list[int] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    first: dict[Kind, list[Problem]] = field(default_factory=lambda: defaultdict(list))
    copies: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    threads: int = field(default_factory=processors)

    @property
    def problems(self) -> int:
        """Number of problems, warnings and notes not counted."""
        return sum(count for kind, count in self.counts.items() if kind.is_problem)

    def add(self, problem: Problem) -> None:
        """Count one more problem; keep it if it is one of the first of its kind."""
        self.counts[problem.kind] += 1
        if len(self.first[problem.kind]) < _SHOWN:
            self.first[problem.kind].append(problem)


def check(
    splits: Splits,
    published: Published | None = None,
    *,
    on_problem: Callable[[Problem], object] = lambda problem: None,
    duplicates: bool = True,
    progress: bool = True,
) -> Report:
    """Decode every image of every split, in threads, and compare it with every annotation.

    Nothing decoded is kept, and no problem but the first three of a kind: a million bad images take no more memory
    than a million good ones.

    Args:
        splits: as a reader returns them; the boxes of train are checked too.
        published: figures to compare with; None: there are none.
        on_problem: called with every problem, warning and note: first those of images, in the order of the splits, then
            those of the whole.
        duplicates: look for files that are the same byte for byte. Reading and hashing take a few percent of the time.
        progress: show a bar where the output is a terminal.
    """
    parts = (
        Part.of("train", splits.train, splits.annotated_train),
        Part.of("val", splits.val, splits.val.entries),
        Part.of("test", splits.test, splits.test.entries),
    )
    report = Report(splits, parts, published)

    def add(problems: Iterator[Problem]) -> None:
        for problem in problems:
            report.add(problem)
            on_problem(problem)

    started = time.monotonic()
    total, hidden = sum(len(part.index) for part in parts), None if progress else True
    with (
        tqdm(desc=f"checking {splits.name}", total=total, unit="image", leave=False, disable=hidden) as bar,
        warnings.catch_warnings(),  # set once, around all threads: filters of warnings are shared by them
    ):
        warnings.simplefilter("ignore")
        for part in parts:
            add(_look_through(part, duplicates, bar))
    report.seconds = time.monotonic() - started
    add(_copies(report))
    for part in parts:
        add(_fractions(part))
    if published is not None:
        add(_differing(report, published))
    return report


def _look_through(part: Part, duplicates: bool, bar: tqdm) -> Iterator[Problem]:
    """Yield the problems of each image, and note its size and digest."""
    index, load = part.index, _whole(part.images.load)

    def look(start: int) -> list[tuple[str, _Inspected]]:
        entries = (index[place] for place in range(start, min(start + _AT_ONCE, len(index))))
        return [(entry.image_id, _inspect(entry, load, part.name != "train", duplicates)) for entry in entries]

    place = 0
    for inspected in in_threads(look, range(0, len(index), _AT_ONCE)):
        for image_id, result in inspected:
            part.sizes[place], part.digests[place] = result.size or (0, 0), result.digest
            part.traits.update(result.traits)
            place += 1
            for kind, message in result.problems:
                yield Problem(part.name, image_id, kind, message)
        bar.update(len(inspected))


def _whole(load: Load) -> Load:
    """Return a loader that decodes at full size, where the split's own decodes at a fraction of it."""
    if isinstance(load, partial) and "at_least" in load.keywords:
        return partial(load, at_least=None)
    return load


class _Inspected(NamedTuple):
    size: Size | None  # None if it cannot be decoded
    digest: int  # of its file
    traits: list[str]
    problems: list[tuple[Kind, str]]


def _inspect(entry: Entry, load: Load, is_scored: bool, with_digest: bool) -> _Inspected:
    """Load an image as a run does, and find all that is wrong with it, not only what a run would stop at."""
    problems: list[tuple[Kind, str]] = []
    digest, of_file = 0, Kind.UNDECODABLE
    try:
        with regular_file(entry.path).open("rb") as file:
            if with_digest:
                # Of a million different files two share 8 bytes with probability 3e-8.
                short = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
                digest = int.from_bytes(short.digest(), "little")
    except FileNotFoundError:
        pass  # `load` raises the same, unless the image is in no file of its own
    except (OSError, ValueError):  # ValueError: no file can have such a name
        of_file = Kind.UNREADABLE
    sample = _load(entry, load, of_file, problems)
    if sample is not None and sample.mask is not None and not sample.mask.any():
        masks = ", ".join(map(str, entry.mask_paths)) or "the mask"
        where = f"{entry.origin}: " if entry.origin else ""
        problems.append((Kind.MASK, f"{where}{masks} of {entry.path}: no pixel is set; unpack the masks again."))
    if entry.ignore_path is not None and sample is not None:
        _try(replace(_bare(entry), mask_paths=(entry.ignore_path,)), load, Kind.MASK, problems)
    if is_scored and not len(entry.boxes) and not entry.mask_paths and (sample is None or sample.mask is None):
        problems.append(
            (Kind.NO_BOX, f"{entry.path} has no box or mask, and is scored; give it one, or move it to train.")
        )
    traits = [] if sample is None or not entry.path.is_file() else _traits(entry.path)
    return _Inspected(None if sample is None else sample.size, digest, traits, problems)


def _traits(path: Path) -> list[str]:
    """Return the traits of an image file that can be decoded."""
    with Image.open(path) as image:
        mode, exif = image.mode, Image.Image.getexif(image)  # a PNG's own getexif would decode it once more
        traits = {
            "grayscale": mode in ("1", "L", "LA"),
            "CMYK": mode == "CMYK",
            "16-bit": mode.startswith("I"),
            "palette": mode in ("P", "PA"),
            "transparent": mode in ("RGBA", "LA", "PA") or "transparency" in image.info,
            "turned by EXIF": exif.get(ExifTags.Base.Orientation, 1) in range(2, 9),
        }
    return [name for name, has in traits.items() if has]


def _load(entry: Entry, load: Load, of_file: Kind, problems: list[tuple[Kind, str]]) -> Sample | None:
    """Load an image; after an error, which is only the first, load it piece by piece. None if it has no pixels."""
    try:
        sample = load(entry)
        problems += _reaching_out(entry, sample.size)
        return sample
    except Exception as error:  # a damaged file can raise anything in a decoder, and must not end the check
        first = _message(entry, error)
    known, bare = len(problems), _bare(entry)
    whole = _try(replace(bare, size=None), load, of_file, problems)
    if whole is None or _try(bare, load, Kind.SIZE, problems) is None:
        return whole  # boxes are on another grid, or on none
    for place, box in enumerate(entry.boxes):
        kind = Kind.EMPTY_BOX if (box[2:] <= box[:2]).any() else Kind.OUTSIDE
        _try(replace(bare, boxes=box[None], origin=entry.box_origin(place)), load, kind, problems)
    for path in entry.mask_paths:
        _try(replace(bare, mask_paths=(path,)), load, Kind.MASK, problems)
    if len(problems) == known:
        problems.append((Kind.UNDECODABLE, first))
    problems += _reaching_out(entry, whole.size)
    return replace(whole, boxes=as_boxes([]), mask=None)


def _bare(entry: Entry) -> Entry:
    return replace(entry, boxes=as_boxes([]), box_origins=(), mask_paths=(), ignore_path=None)


def _try(entry: Entry, load: Load, kind: Kind, problems: list[tuple[Kind, str]]) -> Sample | None:
    try:
        return load(entry)
    except Exception as error:  # as above
        missing = isinstance(error, FileNotFoundError) and kind is not Kind.MASK
        problems.append((Kind.MISSING if missing else kind, _message(entry, error)))
    return None


def _message(entry: Entry, error: Exception) -> str:
    """Return the error in one line, with the image and the line of its annotation."""
    text = " ".join(str(error).split())
    if not isinstance(error, (ValueError, OSError)):
        text = f"{entry.path} cannot be decoded ({type(error).__name__}: {text}); unpack its archive again."
    return text if entry.origin in text else f"{text} Its annotation is {entry.origin}."


def _reaching_out(entry: Entry, size: Size) -> Iterator[tuple[Kind, str]]:
    """Yield a note for each box that reaches out of its image and has a part inside."""
    clipped = clip_boxes(entry.boxes, size)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    for place in np.flatnonzero(reach_out(entry.boxes, size) & inside):
        numbers = ", ".join(f"{value:g}" for value in entry.boxes[place])
        pixels = overhangs(entry.boxes[place][None], size)[0]
        yield (
            Kind.CLIPPED,
            f"{entry.box_origin(int(place))}: the box ({numbers}) (x0, y0, x1, y1) of {entry.path} reaches {pixels:g} "
            f"{'pixel' if pixels == 1 else 'pixels'} out of the image, which is {size[1]} x {size[0]}; it is clipped.",
        )


def _copies(report: Report) -> Iterator[Problem]:
    """Count files that equal an earlier one, and yield those whose splits or classes differ."""
    repeated = pd.Series(np.concatenate([part.digests for part in report.parts])).duplicated(keep=False).to_numpy()
    ends = np.cumsum([len(part.index) for part in report.parts])[:-1]
    seen: dict[int, tuple[Part, int]] = {}
    for part, candidates in zip(report.parts, np.split(repeated, ends), strict=True):
        for place in np.flatnonzero(candidates & (part.digests != 0)).tolist():
            first_part, first_place = seen.setdefault(int(part.digests[place]), (part, place))
            if first_part is part and first_place == place:
                continue
            report.copies[part.name] += 1
            first, other = first_part.index[first_place], part.index[place]
            if first_part is not part:
                kind, why = Kind.TWO_SPLITS, "a score on images that were seen before is too high"
            elif other.class_id != first.class_id:
                kind, why = Kind.TWO_CLASSES, "one of the labels is wrong, or both are right"
            else:
                continue
            where = f"{other.path} is, byte for byte, {first.path}, which is in {first_part.name}"
            other_class = ", of another class" if other.class_id != first.class_id else ""
            yield Problem(part.name, other.image_id, kind, f"{where}{other_class}; {why}.")


def _fractions(part: Part) -> Iterator[Problem]:
    """Yield a problem if all boxes of a split lie in [0, 1] though its images have more pixels."""
    boxes, pixels = part.index.boxes, int(part.sizes.max(initial=0))
    if len(boxes) and float(boxes.max()) <= 1 < pixels:
        boxed = part.index[int(np.argmax(part.index.box_counts > 0))]
        yield Problem(
            part.name,
            "",
            Kind.FRACTIONS,
            f"{boxed.origin or boxed.path}: no coordinate of the {len(boxes):,} boxes of {part.name} is above 1, and "
            f"images have up to {pixels} pixels: they seem to be fractions of the images. Write pixels, or state it "
            "where the reader has an option, as data.box_format=normalized of data=folder.",
        )


def _differing(report: Report, published: Published) -> Iterator[Problem]:
    """Count what was published, and yield a problem for each count that contradicts it, or its share of the classes."""
    classes = report.splits.num_classes
    whole = classes >= published.num_classes
    for figure in published.figures:
        indexes = [part.index for part in report.parts if part.name in figure.splits]
        found = sum(len(index.boxes) if figure.of_boxes else len(index) for index in indexes)
        report.found.append(found)
        expected, known = figure.count, whole
        if figure.even and not whole:
            expected, known = figure.count * classes // published.num_classes, True
        if found > expected or (known and found != expected):
            of_part = "" if whole else f" for {classes:,} of {published.num_classes:,} classes"
            remedy = "another list of boxes is not comparable" if figure.of_boxes else "unpack the archive again"
            yield Problem(
                "",
                "",
                Kind.BOX_COUNT if figure.of_boxes else Kind.COUNT,
                f"{published.title}: {found:,} {figure.what}, of {expected:,} published{of_part}; {remedy}.",
            )
