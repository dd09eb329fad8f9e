"""What can change a number, as plain data with a hash: the names of runs and of everything in them."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

# Raised whenever the same settings would give other numbers than before, so that old results are not taken for new.
FORMAT = 1


def describe(part: Any) -> Any:
    """A part of an experiment as plain data: its qualified name and every setting that it was given."""
    if isinstance(part, functools.partial):
        return {"of": describe(part.func), "args": describe(part.args), **describe(part.keywords)}
    if is_dataclass(part) and not isinstance(part, type):
        settings = {field.name: describe(getattr(part, field.name)) for field in fields(part)}
        return {"of": _name(type(part)), **settings}
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [describe(value) for value in part]
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if callable(part) and hasattr(part, "__qualname__"):
        return _name(part)
    raise TypeError(f"Cannot describe {part!r}: use a function, a partial or a dataclass, so that it can be named.")


def _name(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def digest(settings: Any) -> str:
    """Eight hex digits that stand for these settings."""
    text = json.dumps([FORMAT, describe(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
