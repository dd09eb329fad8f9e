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
    mapping = next((one for one in _alternatives(kind) if get_origin(one) in _MAPPINGS), None)
    if mapping is not None and isinstance(value, Mapping):
        for key, one in value.items():
            check_setting(f"{name}.{key}", one, get_args(mapping)[1])
    raise ValueError(f"{name} must be {_told(kind)}, got {_shown(value)}{_as_text(name, value, kind)}.")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in _UNIONS:
        return tuple(one for part in get_args(kind) for one in _alternatives(part))
    return (NoneType,) if kind is None else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    if value == _MISSING or (isinstance(value, Mapping) and "_target_" in value):
        return True  # not given yet, which building says; or a node, of which something else is made
    if not isinstance(value, bool | int | float | str | list | tuple | Mapping | NoneType):
        return True
    return any(_fits_one(value, one) for one in _alternatives(kind))


def _fits_one(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in _LISTS:
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and inner and inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return not inner or all(_fits(one, inner[0]) for one in value)
    if origin in _MAPPINGS:
        return isinstance(value, Mapping) and (not inner or all(_fits(one, inner[1]) for one in value.values()))
    if kind in (str, Path):
        return isinstance(value, str)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if kind in (bool, NoneType):
        return isinstance(value, kind)
    return True  # of no plain type


def _told(kind: Any, many: bool = False) -> str:
    """What a value must be, in words; or many of them."""
    words: list[str] = []
    kinds = _alternatives(kind)
    for one in kinds:
        if (one is Path and str in kinds) or (one is int and float in kinds):
            continue  # text is a path, and a whole number is a number
        words += [word for word in _words(one, many) if word not in words]
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _words(kind: Any, many: bool) -> list[str]:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return [str(one) for one in inner]
    if origin in _LISTS:
        return [("lists" if many else "a list") + _items(origin, inner)]
    if origin in _MAPPINGS:
        of = f" to {_told(inner[1], many=True)}" if inner and inner[1] is not Any else ""
        return [("mappings" if many else "a mapping") + of]
    return [(_MANY if many else _ONE).get(kind, str(kind))]


def _items(origin: Any, inner: tuple[Any, ...]) -> str:
    if not inner or inner[0] is Any:
        return ""
    fixed = origin is tuple and inner[-1] is not Ellipsis
    count = f"{len(inner)} " if fixed else ""
    return f" of {count}{_told(inner[0], many=True)}"


def _shown(value: Any) -> str:
    """A value as a command says it, text in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(one)}" for key, one in value.items()) + "}"
    return repr(value)


def _as_text(name: str, value: Any, kind: Any) -> str:
    """How a number, true or false is typed where text is asked for: the shell takes the outer quotes."""
    taken = [one for one in _alternatives(kind) if one in (str, Path) or get_origin(one) is Literal]
    if not taken or not isinstance(value, bool | int | float):
        return ""
    text = _shown(value)
    return f"; as text it is '{name}=\"{text}\"'" if any(_fits_one(text, one) for one in taken) else ""
