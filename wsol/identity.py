"""What can change a number, as plain data with a hash: the names of runs and of everything in them."""

import functools
import hashlib
import importlib
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


def restore(described: Any) -> Any:
    """The part of an experiment that `describe` gave as plain data; of this package's own parts alone.

    Raises:
        ValueError: if it is something else, or a part that is not there any more.
    """
    if isinstance(described, list):
        return [restore(one) for one in described]
    if not isinstance(described, Mapping):
        return described
    if "of" not in described:
        return {key: restore(value) for key, value in described.items()}
    settings = {key: restore(value) for key, value in described.items() if key not in ("of", "args")}
    module, _, name = str(described["of"]).rpartition(".")
    if not module.startswith("wsol."):  # a file names it, and files come from anywhere
        raise ValueError(f"{described['of']!r} is no part of wsol.")
    try:
        part = getattr(importlib.import_module(module), name)
        if isinstance(part, type):
            return part(**settings)
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{described['of']!r} is not what it was when this was written: {error}.") from None
    return functools.partial(part, *restore(described.get("args", [])), **settings)


def _name(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def digest(settings: Any) -> str:
    """Eight hex digits that stand for these settings."""
    text = json.dumps([FORMAT, describe(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
