"""The words of a command that reads a folder of runs: the folder, filters, and options that all such commands have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ReportWords:
    """What such commands share.

    Attributes:
        results: the folder that holds `runs`.
        out: where files go; None: there, too.
        filters: column of the rows -> values to keep.
        texts: that must be in a comparison's name.
        figures: are they drawn?
        data_root: where data sets lie; None: where the configuration says.
    """

    results: Path = Path("results")
    out: Path | None = None
    filters: dict[str, list[str]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    figures: bool = True
    data_root: str | None = None


def read_words(words: Sequence[str], found: ReportWords, own: Callable[[str, str], bool]) -> None:
    """Fill in what the words say.

    Args:
        words: of the command line.
        found: filled in.
        own: reads an option that only this command has, from its name and value; False if there is no such option.

    Raises:
        ValueError: for what cannot be read.
    """
    for word in words:
        key, equals, value = word.partition("=")
        if key == "results" or Path(word).is_dir():
            path = Path(value if key == "results" else word)
            if not path.is_dir():
                raise ValueError(f"there is no folder {path}; name the one that holds the runs, like results/runs.")
            found.results = path.parent if path.resolve().name == "runs" else path
        elif not equals:
            if "/" in word:
                raise ValueError(f"there is no folder {word}; name the one that holds the runs, like results/runs.")
            found.texts.append(word)
        elif key == "out":
            found.out = Path(value)
        elif key == "figures":
            if value not in ("yes", "no"):
                raise ValueError(f"figures={value}: say yes or no.")
            found.figures = value == "yes"
        elif key == "data_root":
            found.data_root = value
        elif not own(key, value):
            found.filters[key] = value.split(",")
