"""Name a head in tables, folders and commands: what is pooled, where, how it was trained, how it is tested."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_AT_SCORES, _AT_TEST, _METHOD = "_on_scores", "_tested_as_", "+"
_MARKS = (":", _METHOD, _AT_SCORES, _AT_TEST)


@dataclass(frozen=True)
class HeadName:
    """Name a head. Runs of one name, data set, network and training settings differ in the seed alone.

    Attributes:
        pooling: an option, with its settings where they differ from its file: `lse:sharpness=5`.
        on_scores: class scores are pooled, not features. For the maximum that is another network, so that it needs
            another name: no table may mix the two.
        tested_as: the pooling that replaces the trained one at test; empty: none.
        method: of training, with its settings where they differ from its file; empty: plain.
    """

    pooling: str
    on_scores: bool = False
    tested_as: str = ""
    method: str = ""

    def __str__(self) -> str:
        site = _AT_SCORES if self.on_scores else ""
        test = f"{_AT_TEST}{self.tested_as}" if self.tested_as else ""
        return f"{self.pooling}{site}{test}" + (f"{_METHOD}{self.method}" if self.method else "")

    @classmethod
    def read(cls, text: str) -> "HeadName":
        """Parse the text of a head's name."""
        head, _, method = text.partition(_METHOD)
        trained, _, tested_as = head.partition(_AT_TEST)
        return cls(trained.removesuffix(_AT_SCORES), trained.endswith(_AT_SCORES), tested_as, method)

    def overrides(self) -> list[str]:
        """Return the arguments of a command that trains this head."""
        words = _words("pooling", self.pooling)
        words += ["pool_site=scores"] if self.on_scores else []
        # Hydra accepts a second = only within quotes of its own grammar.
        tested_as = f'"{self.tested_as}"' if ":" in self.tested_as else self.tested_as
        words += [f"pooling_at_test={tested_as}"] if tested_as else []
        return words + (_words("method", self.method) if self.method else [])


def option_name(option: str, settings: Mapping[str, Any], usual: Mapping[str, Any], exact: Collection[str] = ()) -> str:
    """Return the name of an option with those settings that differ from its file.

    Args:
        option: the file's stem.
        settings: the settings of the option.
        usual: the settings in the file.
        exact: settings for which 1 and 1.0 differ, like the k of top-k.

    Raises:
        ValueError: for a value that would be parsed as another part of the name.
    """
    changed = []
    for key, value in settings.items():
        if key in usual and usual[key] == value and (key not in exact or type(usual[key]) is type(value)):
            continue
        text = value_text(value, exact=key in exact)
        if any(mark in text for mark in _MARKS):
            raise ValueError(
                f"{key}={text} of {option} cannot stand in the head's name, which {' '.join(_MARKS)} divide; "
                "give it a value without them, or write it into an option file of its own."
            )
        changed.append(f"{key}={text}")
    return ":".join([option, *changed])


def value_text(value: Any, exact: bool = False) -> str:
    """Format a setting's value in a name: null for None, a float in the fewest digits that restore it, so 5 for 5.0.

    Args:
        value: of the setting.
        exact: write 5.0 as 5.0, because it differs from 5.
    """
    if not isinstance(value, float):
        return "null" if value is None else str(value)
    short = f"{value:g}"
    text = repr(value) if exact or float(short) != value else short
    return text.replace("e+", "e")  # a + would start the method's name


def read_option(text: str) -> tuple[str, dict[str, str]]:
    """Parse the option and the settings of a name; values are text.

    Raises:
        ValueError: for a setting without a value.
    """
    option, *settings = text.split(":")
    pairs = [setting.partition("=") for setting in settings]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise ValueError(f"{text!r} must be an option, or an option with settings like lse:sharpness=5.")
    return option, {key: value for key, _, value in pairs}


def file_name(text: str) -> str:
    """Return a head's name as part of a folder's name."""
    return re.sub(r"[^\w.+=-]+", "-", text)


def _words(group: str, option: str) -> list[str]:
    name, settings = read_option(option)
    return [f"{group}={name}", *(f"{group}.{key}={value}" for key, value in settings.items())]
