"""Content of a report's page as plain data, which `html` turns into HTML without reading any run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wsol.comparison.claim import Verdict


@dataclass(frozen=True)
class Answer:
    """A claim, answered on one comparison."""

    claim: str  # the sentence
    source: str  # who made the claim; empty if nobody is named
    where: str  # title of the section that answers the claim
    section: str  # anchor of that section
    verdict: Verdict
    estimate: str  # "+3.2 points"; empty if the runs lack the quantity
    interval: str  # "[+1.0, +5.4]"; empty with fewer than three seeds
    p: str  # corrected for the other claims; empty if nothing was tested
    reading: str  # the measured quantity, runs and protocol, and the variation that the interval covers
    needed: str  # what would decide the claim, or the command that makes what is missing
    runs: Sequence[str] = ()  # names of run folders
    few: str = ""  # "one training" or "n too small" with fewer than three seeds of a setting

    @property
    def badge(self) -> str:
        """Verdict as the page shows it, with a remark if there are fewer than three seeds."""
        return f"{self.verdict}, {self.few}" if self.few else self.verdict


@dataclass(frozen=True)
class Cell:
    """One number, or one word, of a table."""

    text: str
    value: float | str | None = None  # sort key of the column; None: missing, always last
    best: bool = False  # printed bold: the best of its column, or not distinguishable from the best
    hint: str = ""  # a tooltip
    runs: Sequence[str] = ()  # the runs that the number was read from
    command: str = ""  # the command that fills a missing cell


@dataclass(frozen=True)
class Column:
    """Heading of a table's column."""

    text: str
    group: str = ""  # printed above neighbouring columns of the same group
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()  # sentences below the table


@dataclass(frozen=True)
class Drawing:
    """A figure."""

    title: str
    svg: str  # an SVG document
    caption: str = ""


@dataclass(frozen=True)
class View:
    """Prediction of one setting on one image."""

    box: tuple[float, float, float, float] | None  # (x0, y0, x1, y1) as fractions of width and height; None: no box
    iou: float
    top1: bool | None  # whether the class was right; None: nothing was classified
    error: str  # `right`, or the type of error
    score_map: str = (
        ""  # data URI of a small grayscale PNG, which the browser colours and enlarges; empty if no map is stored
    )


@dataclass(frozen=True)
class Shown:
    """One image of the gallery."""

    image_id: str
    class_name: str
    size: str  # "small", "medium" or "large" object
    aspect: float  # width / height
    true_boxes: Sequence[tuple[float, float, float, float]]  # (x0, y0, x1, y1) as fractions of width and height
    views: Sequence[View]  # one for each setting
    photo: str = ""  # data URI of a JPEG; empty if the data set is not available


@dataclass(frozen=True)
class Gallery:
    """Several settings side by side on the same images."""

    settings: Sequence[str]
    images: Sequence[Shown]
    orders: Mapping[str, Sequence[int]]  # name -> indices into images, in the order to show; the first is the default
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One comparison: runs that share one table."""

    anchor: str
    title: str
    about: Sequence[str] = ()  # sentences
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    gallery: Gallery | None = None


@dataclass(frozen=True)
class RunCard:
    """Settings, code and commands of one run."""

    name: str
    about: Mapping[str, str] = field(default_factory=dict)  # commit, command, ...: one line each
    settings: str = ""  # JSON text
    protocols: Mapping[str, str] = field(default_factory=dict)  # protocol key -> JSON text


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    made_by: str  # the command and the commit
    warnings: Sequence[str] = ()  # runs of different code, and other facts that must not be overlooked
    answers: Sequence[Answer] = ()
    sections: Sequence[Section] = ()
    runs: Sequence[RunCard] = ()
