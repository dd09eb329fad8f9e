"""What every faithfulness measure is: a number an image that says how well a map explains the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wsol.subject import Subject


@dataclass(frozen=True)
class Column:
    """How to read a column.

    Attributes:
        lowest: no value lies below.
        highest: no value lies above.
        better: which values speak for the map.
    """

    lowest: float
    highest: float
    better: Literal["higher", "lower", "near zero"]


class FaithfulnessMeasure(Protocol):
    """Unlike localization, it needs no box: the network itself is the judge. See `wsol/faithfulness`."""

    columns: ClassVar[Mapping[str, Column]]

    def __call__(self, subject: Subject) -> dict[str, NDArray[np.float64]]:
        """Measure one batch.

        Returns:
            Column -> (N,), one value an image. NaN where the measure is undefined: leave it out of the mean, and say
            how many were left out.
        """
