"""What can be wrong with the images and annotations of a data set."""

from dataclasses import dataclass, field
from enum import StrEnum

_SHOWN = 3


class Kind(StrEnum):
    """Kinds of problems, as they are called in reports."""

    MISSING = "missing file"
    UNREADABLE = "file that may not be read"
    UNDECODABLE = "image that cannot be decoded"
    SIZE = "image of another size than its annotation says"
    EMPTY_BOX = "empty box"
    OUTSIDE = "box outside of its image"
    CLIPPED = "box that reaches out of its image"
    FRACTIONS = "boxes that seem to be fractions"
    MASK = "mask"
    NO_BOX = "no box or mask"
    COUNT = "number of images that differs from the published one"
    BOX_COUNT = "number of boxes that differs from the published one"
    TWO_SPLITS = "same file in two splits"
    TWO_CLASSES = "same file in two classes"

    @property
    def is_warning(self) -> bool:
        """Whether a run can go on in spite of it: published data sets have some of these."""
        return self in (Kind.BOX_COUNT, Kind.TWO_SPLITS, Kind.TWO_CLASSES)

    @property
    def is_note(self) -> bool:
        """Whether a run deals with it: a box that reaches out of its image is clipped."""
        return self is Kind.CLIPPED

    @property
    def is_problem(self) -> bool:
        """Whether the data set has to be put right before a run."""
        return not (self.is_warning or self.is_note)


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        split: train, val or test; empty where it is of the whole data set.
        image_id: empty where it is of the whole split.
        kind: of problem.
        message: names the file, the line where there is one, and the remedy.
    """

    split: str
    image_id: str
    kind: Kind
    message: str


@dataclass
class Tally:
    """How many problems there are of a kind, and the first three."""

    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(problem)
