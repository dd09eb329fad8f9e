"""Read the words of a command that reports runs: their folder, filters, and options that all such commands have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ReportWords:
    """Options that all commands which report runs share.

    Attributes:
        results: the folder that contains `runs`.
        out: the folder of new files; None for `results`.
        filters: column of the rows -> values to keep.
        texts: texts that must be in a comparison's name.
        figures: whether to draw figures.
        data_root: the folder of the data sets; None for the folder of the configuration.
    """

    results: Path = Path("results")
    out: Path | None = None
    filters: dict[str, list[str]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    figures: bool = True
    data_root: str | None = None


def read_words(words: Sequence[str], arguments: ReportWords, own: Callable[[str, str], bool]) -> None:
    """Read words into arguments.

    Args:
        words: words of the command line.
        arguments: the object to fill.
        own: (name, value) -> reads an option that only this command has; False if there is no such option.

    Raises:
        ValueError: if a word cannot be read.
    """
    for word in words:
        key, equals, value = word.partition("=")
        named = key == "results" and bool(equals)
        if named or Path(word).is_dir():
            path = Path(value if named else word)
            if not path.is_dir() or (named and not value):
                raise ValueError(
                    f"there is no folder {path}; name the folder that contains the runs, like results/runs."
                )
            arguments.results = path.parent if path.resolve().name == "runs" else path
        elif not equals:
            if "/" in word:
                raise ValueError(
                    f"there is no folder {word}; name the folder that contains the runs, like results/runs."
                )
            arguments.texts.append(word)
        elif key == "out":
            arguments.out = Path(value)
        elif key == "figures":
            if value not in ("yes", "no"):
                raise ValueError(f"figures={value}: say yes or no.")
            arguments.figures = value == "yes"
        elif key == "data_root":
            arguments.data_root = value
        elif not own(key, value):
            arguments.filters[key] = value.split(",")
