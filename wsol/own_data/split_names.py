"""The names of the three splits, in annotations and as folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
_LIKE = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


def split_name(text: str, origin: str) -> SplitName:
    """A split as annotations name it.

    Args:
        text: as written.
        origin: where, for messages.

    Raises:
        ValueError: if it is none of train, val and test.
    """
    for name in SPLITS:
        if text == name:
            return name
    meant = _meant(text)
    hint = f" ({meant}?)" if meant in SPLITS else ""
    raise ValueError(f"{origin}: expected the split train, val or test, got {text!r}{hint}; correct it.")


@dataclass(frozen=True)
class Layout:
    """What the folders of an image say of it.

    Attributes:
        by_split: the folders at the top are splits, those below them classes; otherwise those at the top are classes.
    """

    by_split: bool

    def split_of(self, file: str) -> SplitName | None:
        """The split of an image, by its path; None: its folder tells none."""
        top, slash, _ = file.partition("/")
        return split_name(top, file) if self.by_split and slash else None

    def label_of(self, file: str) -> str:
        """The class of an image, by its path; "": its folder tells none."""
        folders = file.split("/")[:-1]
        folders = folders[1:] if self.by_split else folders
        return folders[0] if folders else ""


def find_layout(root: Path, folders: Sequence[str]) -> Layout:
    """Tell splits from classes.

    Args:
        root: of the folders, for messages.
        folders: names of those at the top; "" stands for the top itself.

    Raises:
        ValueError: if splits stand beside other folders, or under other names than train, val and test.
    """
    named = [name for name in folders if name]
    if named and set(named) <= set(SPLITS):
        return Layout(by_split=True)
    splits = [name for name in named if _meant(name) in SPLITS]
    if len({_meant(name) for name in splits}) > 1:  # one alone may be a class: a train is a vehicle
        others = [name for name in named if name not in SPLITS]
        raise ValueError(
            f"{root}: the folders {', '.join(splits)} look like splits, which are called train, val and test and stand "
            f"beside no other folder; rename or move {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}."
        )
    return Layout(by_split=False)


def _meant(name: str) -> str:
    return _LIKE.get(name.lower(), name.lower())
