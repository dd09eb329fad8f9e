"""Check plain values against type annotations, with errors in the words of a command line."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_LISTS: tuple[Any, ...] = (list, tuple, Sequence, Collection, Iterable)
_MAPPINGS: tuple[Any, ...] = (dict, Mapping)
_UNIONS: tuple[Any, ...] = (Union, UnionType)
_ONE: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "null",
}
_MANY = {**_ONE, int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
_MISSING = "???"


def check_setting(name: str, value: Any, kind: Any) -> None:
    """Check one value.

    Args:
        name: of the setting, as it is typed.
        value: plain data.
        kind: the annotation: of bool, int, float, str, Path, None, literals, unions, lists and mappings.

    Raises:
        ValueError: naming the setting, what it must be, and what it is.
    """
    if _fits(value, kind):
        return
    mapping = next((alternative for alternative in _alternatives(kind) if get_origin(alternative) in _MAPPINGS), None)
    if mapping is not None and isinstance(value, Mapping):
        for key, item in value.items():
            check_setting(f"{name}.{key}", item, get_args(mapping)[1])
    raise ValueError(f"{name} must be {_expected(kind)}, got {_shown(value)}{_as_text(name, value, kind)}.")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in _UNIONS:
        return tuple(alternative for part in get_args(kind) for alternative in _alternatives(part))
    return (NoneType,) if kind is None else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    if value == _MISSING or (isinstance(value, Mapping) and "_target_" in value):
        return True  # not given yet, which building reports; or a node, of which something else is made
    if not isinstance(value, bool | int | float | str | list | tuple | Mapping | NoneType):
        return True
    return any(_fits_one(value, alternative) for alternative in _alternatives(kind))


def _fits_one(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return any(value == literal and type(value) is type(literal) for literal in inner)
    if origin in _LISTS:
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and inner and inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return not inner or all(_fits(item, inner[0]) for item in value)
    if origin in _MAPPINGS:
        return isinstance(value, Mapping) and (not inner or all(_fits(item, inner[1]) for item in value.values()))
    if kind in (str, Path):
        return isinstance(value, str)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if kind in (bool, NoneType):
        return isinstance(value, kind)
    return True  # of no plain type


def _expected(kind: Any, many: bool = False) -> str:
    """Return in words what a value, or many of them, must be."""
    words: list[str] = []
    kinds = _alternatives(kind)
    for alternative in kinds:
        if (alternative is Path and str in kinds) or (alternative is int and float in kinds):
            continue  # text is a path, and a whole number is a number
        words += [word for word in _words(alternative, many) if word not in words]
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _words(kind: Any, many: bool) -> list[str]:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return [str(literal) for literal in inner]
    if origin in _LISTS:
        return [("lists" if many else "a list") + _items(origin, inner)]
    if origin in _MAPPINGS:
        of = f" to {_expected(inner[1], many=True)}" if inner and inner[1] is not Any else ""
        return [("mappings" if many else "a mapping") + of]
    return [(_MANY if many else _ONE).get(kind, str(kind))]


def _items(origin: Any, inner: tuple[Any, ...]) -> str:
    if not inner or inner[0] is Any:
        return ""
    fixed = origin is tuple and inner[-1] is not Ellipsis
    count = f"{len(inner)} " if fixed else ""
    return f" of {count}{_expected(inner[0], many=True)}"


def _shown(value: Any) -> str:
    """Return a value as it is typed in a command, text in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _as_text(name: str, value: Any, kind: Any) -> str:
    """Return how to type a number, true or false where text is expected: the shell takes the outer quotes."""
    taken = [
        alternative
        for alternative in _alternatives(kind)
        if alternative in (str, Path) or get_origin(alternative) is Literal
    ]
    if not taken or not isinstance(value, bool | int | float):
        return ""
    text = _shown(value)
    return f"; as text it is '{name}=\"{text}\"'" if any(_fits_one(text, taken_kind) for taken_kind in taken) else ""
