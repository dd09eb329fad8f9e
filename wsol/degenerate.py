"""Maps that say nothing, or nearly so: counted for each method, and scored all the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Degenerate:
    """How many maps of each kind."""

    constant: int = 0  # one value everywhere, zeros included
    zero: int = 0  # zeros everywhere
    one_pixel: int = 0  # one cell above a constant rest

    def add(self, activation_map: NDArray[np.floating]) -> None:
        """Count an (h, w) map without NaN."""
        lowest, highest = float(activation_map.min()), float(activation_map.max())
        self.constant += lowest == highest
        self.zero += lowest == highest == 0
        self.one_pixel += int((activation_map > lowest).sum()) == 1

    def __str__(self) -> str:
        """`2 zero, 1 constant, 3 one pixel`, without the kinds that there are none of."""
        kinds = {"zero": self.zero, "constant": self.constant - self.zero, "one pixel": self.one_pixel}
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
