"""Check a whole data set: decode every image and compare it with its annotations."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.checking.inspection import Inspected, Kind, Load, Problem, Tally, inspect
from wsol.data.checking.published import Figure, Published
from wsol.data.image_set import ImageSet
from wsol.data.index import Index
from wsol.data.splits import Splits
from wsol.threads import in_threads, processors

Member = tuple[int, int]

# Images that a thread takes at once: the hand-over costs as much as decoding a third of a small image.
_AT_ONCE = 32


def same_files(digests: Sequence[NDArray[np.uint64]]) -> Iterator[list[Member]]:
    """Groups of files with the same digest.

    Args:
        digests: of the files of each split, (N,) each; 0: not known, which is like no other.

    Yields:
        Two or more (split, place in the split), ascending.
    """
    splits = np.repeat(np.arange(len(digests)), [len(one) for one in digests])
    places = np.concatenate([np.arange(len(one)) for one in digests])
    joined = np.concatenate(digests)
    order = np.argsort(joined, kind="stable")
    order = order[joined[order] != 0]
    starts = np.flatnonzero(np.diff(joined[order], prepend=np.uint64(0)) != 0)
    lengths = np.diff(starts, append=len(order))
    repeated = lengths > 1
    # In the order of their first files, not of their digests.
    groups = sorted(
        (order[start : start + length] for start, length in zip(starts[repeated], lengths[repeated], strict=True)),
        key=lambda group: int(group[0]),
    )
    for group in groups:
        yield list(zip(splits[group].tolist(), places[group].tolist(), strict=True))


@dataclass(frozen=True)
class SplitFacts:
    """What is in a split.

    Attributes:
        name: train, val or test.
        images: their number.
        boxes: their number.
        several: images with more than one box.
        per_class: (K,) images of each class.
        sizes: (D, 2) height and width in pixels of the images that could be decoded.
        traits: kind of file -> images.
        copies: files that are there once more.
    """

    name: str
    images: int
    boxes: int
    several: int
    per_class: NDArray[np.int64]
    sizes: NDArray[np.int32]
    traits: Counter[str]
    copies: int


@dataclass(frozen=True)
class Compared:
    """A published number beside that at hand."""

    figure: Figure
    found: int


@dataclass(frozen=True)
class Report:
    """What the check found.

    Attributes:
        name: of the data set.
        class_names: K names.
        splits: train, val and test.
        published: what it was compared with.
        compared: its figures.
        tallies: problems, warnings and notes, counted by kind.
        seconds: that decoding took.
        threads: that decoded.
    """

    name: str
    class_names: tuple[str, ...]
    splits: tuple[SplitFacts, ...]
    published: Published | None
    compared: tuple[Compared, ...]
    tallies: dict[Kind, Tally]
    seconds: float
    threads: int

    @property
    def images(self) -> int:
        """In all splits."""
        return sum(one.images for one in self.splits)

    @property
    def problems(self) -> int:
        """Their number; warnings and notes are not counted."""
        return sum(tally.count for kind, tally in self.tallies.items() if kind.is_problem)

    @property
    def is_ready(self) -> bool:
        """Whether there is no problem."""
        return self.problems == 0


def check(
    splits: Splits,
    published: Published | None = None,
    *,
    tell: Callable[[Problem], object] = lambda problem: None,
    duplicates: bool = True,
    progress: bool = True,
) -> Report:
    """Decode every image of every split, in threads, and hold every annotation against it.

    Nothing decoded is kept, and no problem but the first three of a kind: a million bad images take no more memory
    than a million good ones.

    Args:
        splits: as a reader returns them; the boxes of train are checked too.
        published: figures to compare with; None: there are none.
        tell: is handed every problem, warning and note: those of images in the order of the splits, then those of the
            whole.
        duplicates: look for files that are the same byte for byte. Reading and hashing take a few percent of the time.
        progress: show a bar where the output is a terminal.
    """
    tallies: dict[Kind, Tally] = {}

    def add(problem: Problem) -> None:
        tallies.setdefault(problem.kind, Tally()).add(problem)
        tell(problem)

    # Train hands out no boxes, which `annotated_train` still has.
    parts = (
        ("train", splits.train, splits.annotated_train),
        ("val", splits.val, splits.val.entries),
        ("test", splits.test, splits.test.entries),
    )
    started = time.monotonic()
    total = sum(len(index) for _, _, index in parts)
    looked = []
    bar = tqdm(
        total=total, desc=f"checking {splits.name}", unit="image", leave=False, disable=None if progress else True
    )
    with bar, warnings.catch_warnings():
        # Set once, around all threads: filters of warnings are shared by them.
        warnings.simplefilter("ignore")
        for name, images, index in parts:
            looked.append(_look_through(name, images, index, duplicates, add, bar))
    seconds = time.monotonic() - started
    copies = [0] * len(parts)
    if duplicates:
        for split, problem in _copies(parts, [one.digests for one in looked]):
            copies[split] += 1
            if problem is not None:
                add(problem)
    facts = tuple(
        SplitFacts(
            name=name,
            images=len(index),
            boxes=len(index.boxes),
            several=int((index.box_counts > 1).sum()),
            per_class=np.bincount(index.class_ids.numpy(), minlength=splits.num_classes),
            sizes=found.sizes[found.sizes[:, 0] > 0],
            traits=found.traits,
            copies=count,
        )
        for (name, _, index), found, count in zip(parts, looked, copies, strict=True)
    )
    for (_, _, index), one in zip(parts, facts, strict=True):
        for problem in _fractions(one, index):
            add(problem)
    compared: tuple[Compared, ...] = ()
    if published is not None:
        compared = tuple(Compared(one, _count(one, facts)) for one in published.figures)
        for problem in _differing(published, compared, splits.num_classes):
            add(problem)
    return Report(splits.name, splits.class_names, facts, published, compared, tallies, seconds, processors())


@dataclass(frozen=True)
class _Looked:
    """Of a split: what is told of each image."""

    sizes: NDArray[np.int32]  # (N, 2) height and width; 0, 0 where it could not be decoded
    digests: NDArray[np.uint64]  # (N,), 0 where there is none
    traits: Counter[str]


def _look_through(
    name: str, images: ImageSet, index: Index, with_digest: bool, add: Callable[[Problem], None], bar: tqdm
) -> _Looked:
    sizes, digests = np.zeros((len(index), 2), np.int32), np.zeros(len(index), np.uint64)
    traits: Counter[str] = Counter()
    load, must_have_box = _whole(images.load), name != "train"

    def look(start: int) -> list[tuple[str, Inspected]]:
        entries = (index[place] for place in range(start, min(start + _AT_ONCE, len(index))))
        return [(entry.image_id, inspect(entry, load, must_have_box, with_digest)) for entry in entries]

    starts = range(0, len(index), _AT_ONCE)
    for start, found in zip(starts, in_threads(look, starts), strict=True):
        for place, (image_id, one) in enumerate(found, start):
            sizes[place] = one.size or (0, 0)
            digests[place] = one.digest
            traits.update(one.traits)
            for kind, message in one.problems:
                add(Problem(name, image_id, kind, message))
        bar.update(len(found))
    return _Looked(sizes, digests, traits)


def _whole(load: Load) -> Load:
    """The same at full size, where a split's images come out at a fraction of it."""
    if isinstance(load, partial) and "at_least" in load.keywords:
        return partial(load, at_least=None)
    return load


def _copies(
    parts: Iterable[tuple[str, ImageSet, Index]], digests: list[NDArray[np.uint64]]
) -> Iterator[tuple[int, Problem | None]]:
    """Of each file that is like an earlier one: its split, and the problem that it is, if it is one."""
    names, _, indexes = zip(*parts, strict=True)
    for (split, place), *others in same_files(digests):
        first = indexes[split][place]
        for other_split, other_place in others:
            other = indexes[other_split][other_place]
            where = f"{other.path} is, byte for byte, {first.path}, which is in {names[split]}"
            if other_split != split:
                kind, why = Kind.TWO_SPLITS, "a score on images that were seen before is too high"
            elif other.class_id != first.class_id:
                kind, why = Kind.TWO_CLASSES, "one of the labels is wrong, or both are right"
            else:
                yield other_split, None
                continue
            other_class = ", of another class" if other.class_id != first.class_id else ""
            yield other_split, Problem(names[other_split], other.image_id, kind, f"{where}{other_class}; {why}.")


def _fractions(facts: SplitFacts, index: Index) -> Iterator[Problem]:
    """Boxes in [0, 1], all of them, of images that have more pixels."""
    if len(index.boxes) and len(facts.sizes) and float(index.boxes.max()) <= 1 < facts.sizes.max():
        boxed = int(np.argmax(index.box_counts > 0))
        origin = index[boxed].origin or str(index[boxed].path)
        yield Problem(
            facts.name,
            "",
            Kind.FRACTIONS,
            f"{origin}: no coordinate of the {len(index.boxes):,} boxes of {facts.name} is above 1, and images have up "
            f"to {facts.sizes.max()} pixels: they seem to be fractions of the images. Write pixels, or state it where "
            "the reader has an option, as data.box_format=normalized of data=folder.",
        )


def _count(figure: Figure, facts: Iterable[SplitFacts]) -> int:
    return sum(one.boxes if figure.of_boxes else one.images for one in facts if one.name in figure.splits)


def _differing(published: Published, compared: Iterable[Compared], num_classes: int) -> Iterator[Problem]:
    """Numbers that cannot be: of all classes others than published, of a part of them more, or not their share."""
    for one in compared:
        whole = num_classes >= published.num_classes
        expected, known = one.figure.count, whole
        if one.figure.even and not whole:
            expected, known = one.figure.count * num_classes // published.num_classes, True
        if one.found > expected or (known and one.found != expected):
            kind = Kind.BOX_COUNT if one.figure.of_boxes else Kind.COUNT
            remedy = "another list of boxes is not comparable" if one.figure.of_boxes else "unpack the archive again"
            yield Problem(
                "",
                "",
                kind,
                f"{published.title}: {one.found:,} {one.figure.what}, of {expected:,} published"
                f"{'' if whole else f' for {num_classes:,} of {published.num_classes:,} classes'}; {remedy}.",
            )
