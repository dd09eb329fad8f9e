"""The name of a head in tables, folders and commands: what is pooled, where, how it was trained, how it is tested."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_AT_SCORES, _AT_TEST, _METHOD = "_on_scores", "_tested_as_", "+"
_MARKS = (":", _METHOD, _AT_SCORES, _AT_TEST)


@dataclass(frozen=True)
class HeadName:
    """Runs of one name differ in nothing but the seed, given the data, the network and the training settings.

    Attributes:
        pooling: an option, with its settings where they are not those of its file: `lse:sharpness=5`.
        on_scores: class scores are pooled, not features. For the maximum that is another network, so it has a name of
            its own and no table can mix the two.
        tested_as: the pooling that took the trained one's place; empty: none did.
        method: of training, with its settings where they are not those of its file; empty: plain.
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
        """The head that a name stands for."""
        head, _, method = text.partition(_METHOD)
        trained, _, tested_as = head.partition(_AT_TEST)
        return cls(trained.removesuffix(_AT_SCORES), trained.endswith(_AT_SCORES), tested_as, method)

    def overrides(self) -> list[str]:
        """What a command says to train it."""
        words = _words("pooling", self.pooling)
        words += ["pool_site=scores"] if self.on_scores else []
        # Hydra reads a second = only within quotes of its own.
        tested_as = f'"{self.tested_as}"' if ":" in self.tested_as else self.tested_as
        words += [f"pooling_at_test={tested_as}"] if tested_as else []
        return words + (_words("method", self.method) if self.method else [])


def option_name(option: str, settings: Mapping[str, Any], usual: Mapping[str, Any], exact: Collection[str] = ()) -> str:
    """An option with those settings that are not its file's.

    Args:
        option: the file's stem.
        settings: as they are.
        usual: as the file has them.
        exact: settings that tell 1 from 1.0, as top-k's k does.

    Raises:
        ValueError: for a value that would read as another part of the name.
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
    """A setting's value in a name.

    Args:
        value: null for None; a float in the fewest digits that give it back, so 5 for 5.0.
        exact: 5.0 stays 5.0, for it differs from 5.
    """
    if not isinstance(value, float):
        return "null" if value is None else str(value)
    short = f"{value:g}"
    text = repr(value) if exact or float(short) != value else short
    return text.replace("e+", "e")  # a + would begin the method


def read_option(text: str) -> tuple[str, dict[str, str]]:
    """Option and settings of a name; values are text.

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
    """A head's name as part of a folder's name."""
    return re.sub(r"[^\w.+=-]+", "-", text)


def _words(group: str, option: str) -> list[str]:
    name, settings = read_option(option)
    return [f"{group}={name}", *(f"{group}.{key}={value}" for key, value in settings.items())]
