"""Describe what can change a number as plain data, name it by a hash, and build it again from that data."""

import functools
import hashlib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from wsol.typed_settings import check_setting

# Raised whenever the same settings would give other numbers than before, so that old results are not taken for new.
FORMAT = 1

# Packages that contain options, and the group of conf/ that names them. An option is known by its group and its
# module's name, so that files can move without renaming results.
OPTION_GROUPS = {
    "wsol.networks.backbones": "backbone",
    "wsol.scoring.boxes": "boxes",
    "wsol.data.readers": "data",
    "wsol.explain.faithfulness": "faithfulness",
    "wsol.maps.methods": "maps",
    "wsol.training.methods": "method",
    "wsol.networks.pooling": "pooling",
    "wsol.scoring.scores": "scores",
}

_admitted: dict[str, Any] = {}


def part_name(part: Any) -> str:
    """Return the name of a class or function in run names and records.

    Returns:
        `maps/cam` for an option of wsol (with `.name` where the module is not named after it); the qualified name of
        any other part of wsol; `module.name` for parts of other packages.
    """
    package, _, stem = part.__module__.rpartition(".")
    if package in OPTION_GROUPS:
        option = f"{OPTION_GROUPS[package]}/{stem}"
        same = part.__qualname__.replace("_", "").lower() == stem.replace("_", "")
        return option if same else f"{option}.{part.__qualname__}"
    return part.__qualname__ if package == "wsol" or package.startswith("wsol.") else f"{stem}.{part.__qualname__}"


def describe(part: Any) -> Any:
    """Return a part of an experiment as plain data: its name and every setting that it was given.

    Raises:
        TypeError: if it has no name, like an instance of a plain class.
    """
    if isinstance(part, functools.partial):
        return {"of": describe(part.func), "args": describe(part.args), **describe(part.keywords)}
    if is_dataclass(part) and not isinstance(part, type):
        settings = {field.name: describe(getattr(part, field.name)) for field in fields(part)}
        return {"of": part_name(type(part)), **settings}
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [describe(value) for value in part]
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if callable(part) and hasattr(part, "__qualname__"):
        return part_name(part)
    raise TypeError(f"Cannot describe {part!r}: use a function, a partial or a dataclass, so that it can be named.")


def admit(parts: Iterable[Any]) -> None:
    """Let `restore` build these classes and functions too: options that the user's own configuration names."""
    _admitted.update({part_name(part): part for part in parts})


def restore(described: Any, groups: Collection[str] = (), classes: Collection[type] = ()) -> Any:
    """Build the part of an experiment that `describe` gave as plain data.

    The data may come from a file of somebody else. So a name in it is only looked up: among the options of wsol in
    some groups, among some classes, and among what `admit` was given. Nothing else is imported or called.

    Args:
        described: plain data.
        groups: of conf/, whose options may be built.
        classes: that may be built besides.

    Raises:
        ValueError: for a name that is none of these, or settings that do not fit it.
    """
    if isinstance(described, list):
        return [restore(item, groups, classes) for item in described]
    if not isinstance(described, Mapping):
        return described
    settings = {key: restore(value, groups, classes) for key, value in described.items() if key not in ("of", "args")}
    if "of" not in described:
        return settings
    name = str(described["of"])
    part = {part_name(kind): kind for kind in classes}.get(name) or _admitted.get(name) or _option(name, groups)
    arguments = restore(described.get("args", []), groups, classes)
    try:
        signature = inspect.signature(part, eval_str=True)
        bound = signature.bind_partial(*arguments, **settings).arguments
        for key, value in bound.items():
            kind = signature.parameters[key].annotation
            if kind is not inspect.Parameter.empty:
                check_setting(f"{name}: {key}", value, kind)
        return (
            part(*arguments, **settings) if isinstance(part, type) else functools.partial(part, *arguments, **settings)
        )
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{name!r} does not take the settings that the file gives it: {error}.") from None


def _option(name: str, groups: Collection[str]) -> Callable[..., Any]:
    """Return the option of wsol that has this name; the file that names it chooses no module outside its group."""
    group, slash, option = name.partition("/")
    package = next((package for package, known in OPTION_GROUPS.items() if known == group and group in groups), None)
    stem, _, _ = option.partition(".")
    if slash and package is not None:
        stems = {module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)}
        module = importlib.import_module(f"{package}.{stem}") if stem in stems else None
        for part in vars(module).values() if module is not None else ():
            if getattr(part, "__module__", None) == f"{package}.{stem}" and part_name(part) == name:
                return part
    known = f"an option of {', '.join(groups)}" if groups else "known here"
    raise ValueError(
        f"{name!r} is not {known}; if it is an option of your own, name your configuration folder: --config-dir DIR."
    )


def digest(settings: Any) -> str:
    """Return eight hex digits that stand for these settings."""
    text = json.dumps([FORMAT, describe(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
