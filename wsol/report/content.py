"""What a report's page shows, as plain data: `html` turns it into HTML, and knows nothing of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wsol.comparison.claim import Verdict


@dataclass(frozen=True)
class Answer:
    """A claim, answered on one comparison."""

    claim: str  # the sentence
    source: str  # who made it; empty: nobody
    where: str  # title of the section that answers it
    section: str  # its anchor
    verdict: Verdict
    estimate: str  # "+3.2 points"; empty where it was not answered
    interval: str  # "[+1.0, +5.4]"
    p: str  # corrected for the other claims
    reading: str  # what was measured of which runs, by which protocol, and what the interval covers
    needed: str  # what would decide it, or the command that makes what is missing
    runs: Sequence[str] = ()  # names of run folders
    one_training: bool = False  # each setting was trained once, so that other seeds may say otherwise

    @property
    def badge(self) -> str:
        """Verdict as it is shown, with the remark that it rests on one training."""
        return f"{self.verdict}, one training" if self.one_training else self.verdict


@dataclass(frozen=True)
class Cell:
    """One number, or one word, of a table."""

    text: str
    value: float | str | None = None  # what the column sorts by; None: missing, always last
    best: bool = False  # printed bold: the best of its column, or not told apart from it
    hint: str = ""  # a tooltip
    runs: Sequence[str] = ()  # the runs that it comes from
    command: str = ""  # of a missing cell: what fills it


@dataclass(frozen=True)
class Column:
    """Heading of a table's column."""

    text: str
    group: str = ""  # printed above neighbours of the same group
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()  # below it


@dataclass(frozen=True)
class Drawing:
    """A figure."""

    title: str
    svg: str  # an SVG document
    caption: str = ""


@dataclass(frozen=True)
class View:
    """What one setting makes of an image."""

    box: tuple[float, float, float, float] | None  # (x0, y0, x1, y1) as fractions of width and height; None: no box
    iou: float
    top1: bool | None  # was the class right; None: nothing was classified
    error: str  # `right`, or the type of error
    score_map: str = (
        ""  # data URI of a small grayscale PNG, which the browser colours and enlarges; empty: none is stored
    )


@dataclass(frozen=True)
class Shown:
    """One image of the gallery."""

    image_id: str
    class_name: str
    size: str  # "small", "medium" or "large" object
    aspect: float  # width / height
    true_boxes: Sequence[tuple[float, float, float, float]]  # fractions, as above
    views: Sequence[View]  # one for each setting
    photo: str = ""  # data URI of a JPEG; empty: the data set is not here


@dataclass(frozen=True)
class Gallery:
    """Settings side by side on the same images."""

    settings: Sequence[str]
    images: Sequence[Shown]
    orders: Mapping[str, Sequence[int]]  # name -> indices into images, in the order to show; the first is the default
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One comparison: runs that may stand in one table."""

    anchor: str
    title: str
    about: Sequence[str] = ()  # sentences
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    gallery: Gallery | None = None


@dataclass(frozen=True)
class RunCard:
    """Everything that is known of one run."""

    name: str
    about: Mapping[str, str] = field(default_factory=dict)  # commit, command, ...: one line each
    settings: str = ""  # JSON text
    protocols: Mapping[str, str] = field(default_factory=dict)  # protocol key -> JSON text


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    made_by: str  # the command and the commit
    warnings: Sequence[str] = ()  # runs of different code, and what else must not be overlooked
    answers: Sequence[Answer] = ()
    sections: Sequence[Section] = ()
    runs: Sequence[RunCard] = ()
