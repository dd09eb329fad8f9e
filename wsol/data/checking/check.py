"""Check a whole data set: decode every image and compare it with its annotations."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.checking.inspection import Inspected, Kind, Load, Problem, Tally, inspect
from wsol.data.checking.published import Figure, Published
from wsol.data.image_set import ImageSet
from wsol.data.index import Index
from wsol.data.splits import Splits
from wsol.threads import in_threads, processors

Member = tuple[int, int]

# Images that a thread receives at once: handing over costs as much as decoding a third of a small image.
_AT_ONCE = 32


def same_files(digests: Sequence[NDArray[np.uint64]]) -> Iterator[list[Member]]:
    """Yield groups of files with the same digest.

    Args:
        digests: of the files of each split, (N,) each; 0: unknown, equal to no other.

    Yields:
        Two or more (split, place in the split), ascending.
    """
    table = pd.DataFrame(
        {
            "split": np.repeat(np.arange(len(digests)), [len(column) for column in digests]),
            "place": np.concatenate([np.arange(len(column)) for column in digests]),
            "digest": np.concatenate(digests),
        }
    )
    copies = table[(table["digest"] != 0) & table.duplicated("digest", keep=False)]
    for _, group in copies.groupby("digest", sort=False):  # in the order of their first files
        yield list(zip(group["split"].tolist(), group["place"].tolist(), strict=True))


@dataclass(frozen=True)
class SplitFacts:
    """Facts about one split.

    Attributes:
        name: train, val or test.
        images: their number.
        boxes: their number.
        several: images with more than one box.
        per_class: (K,) images of each class.
        sizes: (D, 2) height and width in pixels of the images that could be decoded.
        traits: kind of file -> images.
        copies: files that equal an earlier one.
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
    """A published number and the number found."""

    figure: Figure
    found: int


@dataclass(frozen=True)
class Report:
    """Results of the check.

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
        """Number of images in all splits."""
        return sum(split.images for split in self.splits)

    @property
    def problems(self) -> int:
        """Number of problems, warnings and notes not counted."""
        return sum(tally.count for kind, tally in self.tallies.items() if kind.is_problem)

    @property
    def is_ready(self) -> bool:
        """Whether there is no problem."""
        return self.problems == 0


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
    tallies: dict[Kind, Tally] = {}

    def add(problem: Problem) -> None:
        tallies.setdefault(problem.kind, Tally()).add(problem)
        on_problem(problem)

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
        for split, problem in _copies(parts, [results.digests for results in looked]):
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
            sizes=results.sizes[results.sizes[:, 0] > 0],
            traits=results.traits,
            copies=count,
        )
        for (name, _, index), results, count in zip(parts, looked, copies, strict=True)
    )
    for (_, _, index), fact in zip(parts, facts, strict=True):
        for problem in _fractions(fact, index):
            add(problem)
    compared: tuple[Compared, ...] = ()
    if published is not None:
        compared = tuple(Compared(figure, _count(figure, facts)) for figure in published.figures)
        for problem in _differing(published, compared, splits.num_classes):
            add(problem)
    return Report(splits.name, splits.class_names, facts, published, compared, tallies, seconds, processors())


@dataclass(frozen=True)
class _Looked:
    """Results of each image of a split."""

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
    for start, inspected in zip(starts, in_threads(look, starts), strict=True):
        for place, (image_id, result) in enumerate(inspected, start):
            sizes[place] = result.size or (0, 0)
            digests[place] = result.digest
            traits.update(result.traits)
            for kind, message in result.problems:
                add(Problem(name, image_id, kind, message))
        bar.update(len(inspected))
    return _Looked(sizes, digests, traits)


def _whole(load: Load) -> Load:
    """Return a loader that decodes at full size, where the split's own decodes at a fraction of it."""
    if isinstance(load, partial) and "at_least" in load.keywords:
        return partial(load, at_least=None)
    return load


def _copies(
    parts: Iterable[tuple[str, ImageSet, Index]], digests: list[NDArray[np.uint64]]
) -> Iterator[tuple[int, Problem | None]]:
    """Yield the split of each file that equals an earlier one, with a problem if splits or classes differ."""
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
    """Yield a problem if all boxes of a split lie in [0, 1] though its images have more pixels."""
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
    return sum(split.boxes if figure.of_boxes else split.images for split in facts if split.name in figure.splits)


def _differing(published: Published, compared: Iterable[Compared], num_classes: int) -> Iterator[Problem]:
    """Yield a problem for each count that contradicts the published one, or its share of the classes read."""
    for count in compared:
        whole = num_classes >= published.num_classes
        expected, known = count.figure.count, whole
        if count.figure.even and not whole:
            expected, known = count.figure.count * num_classes // published.num_classes, True
        if count.found > expected or (known and count.found != expected):
            kind = Kind.BOX_COUNT if count.figure.of_boxes else Kind.COUNT
            remedy = "another list of boxes is not comparable" if count.figure.of_boxes else "unpack the archive again"
            yield Problem(
                "",
                "",
                kind,
                f"{published.title}: {count.found:,} {count.figure.what}, of {expected:,} published"
                f"{'' if whole else f' for {num_classes:,} of {published.num_classes:,} classes'}; {remedy}.",
            )
