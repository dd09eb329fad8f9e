"""Prepare what a reader finds for training and scoring: choose classes, check ids and labels, set the sizes."""

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields, is_dataclass
from functools import partial, wraps
from itertools import combinations
from typing import TypeVar

import numpy as np

from wsol.data.class_names import Classes, choose_classes
from wsol.data.image_set import Decode, ImageSet, load_entry
from wsol.data.index import Entry, Index
from wsol.data.sample import Sample, resize_sample
from wsol.data.splits import Splits, hold_out_of_test

T = TypeVar("T")

OF_TEST = "test:"  # data.val=test:0.2
_OUTSIDE = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:[/\\]|\x00"  # absolute, by `..`, or of no file


@dataclass(frozen=True)
class Preparation:
    """The settings that all readers share; `@reader` adds them to those of each.

    Attributes:
        image_size: side in pixels of the square images that the network reads.
        train_size: side in pixels of the square images that training crops are cut from; at least image_size.
        max_cache_gib: bound on the decoded images that are kept in memory, in GiB per split.
        classes: a number k for the first k classes, or a list of names (or wnids, where classes have some); None: all.
        val: `test:FRACTION`: `val` is held out of `test`, see `hold_out_of_test`, so that no other images are needed to
            choose thresholds; None: as the reader makes it. Readers with a `val` of their own take both.
        with_train: False: `train` may lack images, for networks that are not trained.
        decode: `reduced`: JPEGs at least twice as large as necessary are decoded at a fraction of their size, which is
            faster and changes numbers, see results/reference/measure/decode.md. None: at full size.

    Raises:
        ValueError: if train_size is below image_size, image_size is not positive, or decode is unknown.
    """

    image_size: int = 224
    train_size: int = 256
    max_cache_gib: float = 4
    classes: Classes = None
    decode: Decode | None = None
    val: str | None = None
    with_train: bool = True

    def __post_init__(self) -> None:
        if self.decode not in (None, "reduced"):
            raise ValueError(f"decode must be null or reduced, got {self.decode!r}.")
        if not 0 < self.image_size <= self.train_size:
            raise ValueError(f"train_size must be at least image_size, got {self.train_size} and {self.image_size}.")


def share_of_test(val: object) -> float | None:
    """Return the fraction of `test:FRACTION`; None for anything else.

    Raises:
        ValueError: if the fraction is no number.
    """
    if not isinstance(val, str) or not val.startswith(OF_TEST):
        return None
    try:
        return float(val.removeprefix(OF_TEST))
    except ValueError:
        raise ValueError(f"data.val must be {OF_TEST}FRACTION, like {OF_TEST}0.2, got {val!r}.") from None


@dataclass(frozen=True)
class Indices:
    """The images that a reader finds, before any is decoded.

    Attributes:
        name: of the data set, in tables and in the names of runs and files.
        class_names: K names, by class id.
        train: images with labels; boxes are optional.
        val: images with boxes or masks, which choose thresholds.
        test: images with boxes or masks, which are scored.
        load: entry -> sample at its original size. It takes `at_least`, as `load_entry` does, if it can decode JPEGs at
            a fraction of their size.
        source: what was read, for messages; empty: the name.
        untrained: remedy for classes without training image, for messages.
    """

    name: str
    class_names: Sequence[str]
    train: Iterable[Entry]
    val: Iterable[Entry]
    test: Iterable[Entry]
    _: KW_ONLY
    load: Callable[..., Sample] = load_entry
    source: str = ""
    untrained: str = "unpack their archives again"


def prepare(indices: Indices, preparation: Preparation) -> Splits:
    """Check the indices of a data set and make its splits: `train` at train_size, `val` and `test` at image_size.

    Raises:
        ValueError: if the data set's name is not fit for file names, an image id leads out of the data set's folder or
            occurs twice, a class has no training image, `classes` names an unknown class, or `decode` asks for what
            the reader cannot do.
    """
    name, source, load = indices.name, indices.source or indices.name, indices.load
    if not re.fullmatch(r"\w[\w.+]*", name):
        raise ValueError(
            f"The name of a data set is part of file names: letters, digits, _ . and + are allowed, got {name!r}."
        )
    reduced = preparation.decode == "reduced"
    if reduced and "at_least" not in inspect.signature(load).parameters:
        raise ValueError(f"{source}: decode must be null for this reader, got 'reduced'.")
    class_names, (train, val, test) = _choose(indices, preparation.classes)
    share = share_of_test(preparation.val)
    if share is not None:
        test, val = hold_out_of_test(test, share)
    if not len(val):
        raise ValueError(
            f"{source} has no val, which chooses thresholds; hold a part of test out, as data.val={OF_TEST}0.2."
        )
    _check_ids(name, (train, val, test))
    trained = np.zeros(len(class_names), bool)
    trained[train.class_ids.numpy()] = True
    if preparation.with_train and not trained.all():
        (untrained,) = np.nonzero(~trained)
        raise ValueError(
            f"{source}: {len(untrained)} of {len(class_names)} classes have no training image, first "
            f"{class_names[untrained[0]]!r}; {indices.untrained}."
        )

    def split(index: Index, title: str, side: int) -> ImageSet:
        return ImageSet(
            index,
            partial(load, at_least=(side, side)) if reduced else load,
            partial(resize_sample, size=(side, side)),  # not a lambda: loader processes receive it pickled
            labels_only=index is train,
            max_cache_bytes=preparation.max_cache_gib * 2**30,
            name=f"{name} {title}",
            may_be_empty=index is train,
        )

    return Splits(
        name,
        tuple(class_names),
        split(train, "train", preparation.train_size),
        split(val, "val", preparation.image_size),
        split(test, "test", preparation.image_size),
        annotated_train=train,
    )


def _choose(indices: Indices, classes: Classes) -> tuple[Sequence[str], list[Index]]:
    """Return the names of the chosen classes, and train, val and test with their images alone."""
    parts = [Index.of(part) for part in (indices.train, indices.val, indices.test)]
    if classes is None:
        return indices.class_names, parts
    chosen = choose_classes(indices.class_names, classes)
    new_ids = np.full(len(indices.class_names), -1)
    new_ids[chosen] = np.arange(len(chosen))
    return [indices.class_names[class_id] for class_id in chosen], [part.with_classes(new_ids) for part in parts]


def _check_ids(name: str, parts: Sequence[Index]) -> None:
    ids = [part.image_ids for part in parts]
    for part in ids:
        outside = part.first_match(_OUTSIDE)
        if outside is not None:
            raise ValueError(
                f"{name}: image id {outside!r} leads out of the data set's folder; ids are paths from "
                "there, without '..'."
            )
    repeated = [part.twice() for part in ids] + [part.shared(other) for part, other in combinations(ids, 2)]
    twice = next((image_id for image_id in repeated if image_id is not None), None)
    if twice is not None:
        raise ValueError(f"{name}: image id {twice!r} occurs twice; every image may be in one split, once.")


def spread(function: Callable[..., T]) -> Callable[..., T]:
    """Let a function take its parameters that are dataclasses field by field, as users type settings.

    The signature lists the fields in place of the objects, so that settings from a command line are checked against
    them like any other. The default of an object gives the defaults of its fields. Where several parameters have a
    field of one name, the first one gives its default and type, and all of them get its value.
    """
    own = inspect.signature(function)
    objects = {name: parameter.annotation for name, parameter in own.parameters.items()}
    objects = {name: kind for name, kind in objects.items() if is_dataclass(kind)}
    parameters = _flat(own.parameters.values())
    signature = own.replace(parameters=list(parameters.values()))

    @wraps(function)
    def call(*args, **settings) -> T:
        bound = signature.bind(*args, **settings)
        bound.apply_defaults()
        values = bound.arguments
        made = {
            name: kind(**{field.name: values[field.name] for field in fields(kind)}) for name, kind in objects.items()
        }
        return function(**{name: values[name] for name in own.parameters if name not in objects}, **made)

    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters.values()}
    call.__annotations__["return"] = own.return_annotation
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _flat(given: Iterable[inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """Return parameters by name, with fields in place of objects; of several with one name the first."""
    parameters: dict[str, inspect.Parameter] = {}
    for parameter in given:
        for field in _fields(parameter) if is_dataclass(parameter.annotation) else [parameter]:
            parameters.setdefault(field.name, field)
    return parameters


def _fields(given: inspect.Parameter) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters."""
    empty = inspect.Parameter.empty
    defaults = {field.name: empty if field.default is MISSING else field.default for field in fields(given.annotation)}
    if given.default is not empty:
        defaults = vars(given.default)
    return [
        given.replace(name=field.name, default=defaults[field.name], annotation=field.type)
        for field in fields(given.annotation)
    ]


def reader(defaults: Preparation | None = None) -> Callable[[Callable[..., Indices]], Callable[..., Splits]]:
    """Make a reader of data sets from a function that returns indices: it takes all settings and returns `Splits`.

    The reader takes the fields of `Preparation`, too, and those of other settings one by one; see `spread`. A function
    that has to know them has a parameter `preparation` of its own.

    Args:
        defaults: of the former; None: those of `Preparation`.
    """

    def decorate(read: Callable[..., Indices]) -> Callable[..., Splits]:
        own = inspect.signature(read)
        asked = own.parameters.get("preparation")
        shared = inspect.Parameter(
            "preparation",
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults or Preparation(),
            annotation=Preparation,
        )
        others = [parameter for name, parameter in own.parameters.items() if name != "preparation"]
        chooses_val = "val" in _flat(others)

        @wraps(read)
        def read_splits(*, preparation: Preparation, **settings) -> Splits:
            if not chooses_val and preparation.val is not None and share_of_test(preparation.val) is None:
                raise ValueError(f"data.val must be null or {OF_TEST}FRACTION, got {preparation.val!r}.")
            whole = settings if asked is None else {**settings, "preparation": preparation}
            return prepare(read(**whole), preparation)

        read_splits.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[*others, shared], return_annotation=Splits
        )
        return spread(read_splits)

    return decorate
