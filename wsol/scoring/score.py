"""A score together with its protocol: which boxes it reads and what chose the threshold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from wsol.scoring.outcomes import Outcomes, per_image
from wsol.scoring.protocol import ThresholdPolicy
from wsol.scoring.record import LocalizationRecord, PixelRecord

FAITHFULNESS = "faithfulness"  # what is said in place of a protocol where maps are asked what they explain
NO_BOX = "no box"  # the protocol of a score that reads neither box nor map
MAP_ALONE = "map alone"
AGAINST_MASKS = "map against masks"
PIXELS = "pixels"  # in place of a box rule: what is read is the record of pixels, not of boxes

Records = Mapping[str, LocalizationRecord | PixelRecord]


@dataclass(frozen=True)
class Score:
    """One column of the table.

    Attributes:
        function: record -> fraction.
        boxes: name of the box rule whose record it reads; or `pixels`.
        threshold: what chose τ. `oracle`: the scored split's own boxes, inside the function; `held_out`: the boxes
            of `val`; `label_free`: each map's own scores (Otsu); a number: fixed; None: the score reads no box.
        needs_class: a box counts only where the class is right.
        reads_map: with no threshold: the score reads the map, not only the class.
    """

    function: Callable[[Any], float]
    boxes: str
    threshold: ThresholdPolicy | None
    needs_class: bool = False
    reads_map: bool = False

    def __post_init__(self) -> None:
        if not (self.threshold in ("oracle", "held_out", "label_free", None) or isinstance(self.threshold, float)):
            raise ValueError(
                f"threshold must be oracle, held_out, label_free, null or a float, got {self.threshold!r}."
            )

    @property
    def protocol(self) -> str:
        """What a reader must know to compare the number with another one."""
        if self.boxes == PIXELS:
            return AGAINST_MASKS
        if self.threshold is None:
            return MAP_ALONE if self.reads_map else NO_BOX
        chosen = {"oracle": "τ on test", "held_out": "τ on val", "label_free": "τ by Otsu"}
        return f"{self.boxes}, {chosen.get(str(self.threshold), f'τ {self.threshold}')}"

    @property
    def needs_boxes(self) -> bool:
        """Does it compare with true boxes? Otherwise with masks, or with classes alone."""
        return self.boxes != PIXELS and self.protocol != NO_BOX

    def __call__(self, records: Records) -> float:
        """Score the record of this score's box rule.

        Raises:
            ValueError: if that rule was not run, or the fixed threshold is not stored.
        """
        return self.function(self._read(records))

    def outcomes(self, records: Records) -> Outcomes:
        """What the number is made of, image by image.

        Raises:
            ValueError: as above.
            TypeError: if the function is not a `per_image` one.
        """
        given = self.function if isinstance(self.function, partial) else partial(self.function)
        if not isinstance(given.func, per_image):
            raise TypeError(
                f"{given.func!r} has no outcome for each image; decorate it with wsol.scoring.outcomes.per_image."
            )
        return given.func.outcomes(self._read(records), *given.args, **given.keywords)

    def record(self, records: Records) -> LocalizationRecord | PixelRecord | None:
        """The record that it reads; None if that is not there. Classes stand in every record."""
        found = records.get(self.boxes)
        return next(iter(records.values()), None) if found is None and self.protocol == NO_BOX else found

    def _read(self, records: Records) -> LocalizationRecord | PixelRecord:
        """The same at this score's threshold."""
        record = self.record(records)
        if record is None:
            raise ValueError(f"This score reads the boxes of {self.boxes!r}, but only {sorted(records)} were made.")
        if isinstance(record, PixelRecord):
            return record
        if isinstance(self.threshold, float):
            return record.at(self.threshold)
        return record.label_free_view() if self.threshold == "label_free" else record

    def threshold_used(self, records: Records) -> float | None:
        """The one τ behind the number; None where there is none, or where the function chooses (oracle)."""
        if isinstance(self.threshold, float):
            return self.threshold
        if self.threshold != "held_out":
            return None
        record = self.record(records)
        assert isinstance(record, LocalizationRecord)
        return float(record.thresholds[record.operating_point])
