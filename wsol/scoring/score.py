"""Describe a score together with its protocol: which boxes it reads and what chose the threshold."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from wsol.scoring.outcomes import Outcomes, per_image
from wsol.scoring.protocol import ThresholdPolicy
from wsol.scoring.record import LocalizationRecord, PixelRecord
from wsol.scoring.thresholds import LABEL_FREE

FAITHFULNESS = "faithfulness"  # in place of a protocol, for numbers of a faithfulness measure
NO_BOX = "no box"  # the protocol of a score that reads neither box nor map
MAP_ALONE = "map alone"
AGAINST_MASKS = "map against masks"
PIXELS = "pixels"  # in place of a box rule: the score reads the record of pixels, not one of boxes

Records = Mapping[str, LocalizationRecord | PixelRecord]


@dataclass(frozen=True)
class Score:
    """One column of the table.

    Attributes:
        function: record -> fraction.
        boxes: name of the box rule whose record the score reads; or `pixels`.
        threshold: what chose τ. `oracle`: the annotations of the scored split, inside the function; `held_out`: the
            boxes of `val`; a key of `LABEL_FREE`: each map's own scores; a number: fixed; None: the score has no τ.
        needs_class: a box counts only where the class is right.
        reads_map: with no threshold, or against masks: the score reads the map, not only the class.
    """

    function: Callable[[Any], float]
    boxes: str
    threshold: ThresholdPolicy | None
    needs_class: bool = False
    reads_map: bool = False

    def __post_init__(self) -> None:
        policies = ("oracle", "held_out", *LABEL_FREE)
        if self.threshold is not None and not isinstance(self.threshold, float) and self.threshold not in policies:
            raise ValueError(f"threshold must be {', '.join(policies)}, null or a float, got {self.threshold!r}.")

    @property
    def protocol(self) -> str:
        """Boxes and threshold in words: scores of different protocols are not comparable."""
        if self.boxes == PIXELS:
            return f"{AGAINST_MASKS}, τ on test" if self.threshold == "oracle" else AGAINST_MASKS
        if self.threshold is None:
            return MAP_ALONE if self.reads_map else NO_BOX
        chosen = {"oracle": "τ on test", "held_out": "τ on val"}
        chosen |= {policy: f"τ by {method}" for policy, method in LABEL_FREE.items()}
        return f"{self.boxes}, {chosen.get(str(self.threshold), f'τ {self.threshold}')}"

    @property
    def needs_boxes(self) -> bool:
        """Whether the score compares with true boxes; others compare with masks, or with classes alone."""
        return self.boxes != PIXELS and self.protocol != NO_BOX

    @property
    def measure(self) -> str:
        """Box rule, function and settings as text: equal for scores that differ in their threshold alone."""
        function, settings = self._call()
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
        return f"{self.boxes} {name} {sorted(settings.items())}"

    def setting(self, name: str) -> Any:
        """Return a setting of the function, its default where the option leaves it out; None if there is no such."""
        return self._call()[1].get(name)

    def __call__(self, records: Records) -> float:
        """Score the record of this score's box rule.

        Raises:
            ValueError: if no record of that rule was given, or the record lacks the fixed threshold.
        """
        return self.function(self._read(records))

    def outcomes(self, records: Records) -> Outcomes:
        """Return the outcomes of all images that the number is made of.

        Raises:
            ValueError: if no record of the score's box rule was given, or the record lacks the fixed threshold.
            TypeError: if the function is not a `per_image` one.
        """
        given = self.function if isinstance(self.function, partial) else partial(self.function)
        if not isinstance(given.func, per_image):
            raise TypeError(
                f"{given.func!r} has no outcome for each image; decorate it with wsol.scoring.outcomes.per_image."
            )
        return given.func.outcomes(self._read(records), *given.args, **given.keywords)

    def record(self, records: Records) -> LocalizationRecord | PixelRecord | None:
        """Return the record that the score reads; None if there is none. Every record contains the classes."""
        record = records.get(self.boxes)
        return next(iter(records.values()), None) if record is None and self.protocol == NO_BOX else record

    def threshold_used(self, records: Records) -> float | None:
        """Return the one τ behind the number; None where there is none, or where the function chooses (oracle)."""
        if isinstance(self.threshold, float):
            return self.threshold
        if self.threshold != "held_out":
            return None
        record = self.record(records)
        assert isinstance(record, LocalizationRecord)
        return float(record.thresholds[record.operating_point])

    def _read(self, records: Records) -> LocalizationRecord | PixelRecord:
        """Return the record that the score reads, at the score's threshold."""
        record = self.record(records)
        if record is None:
            raise ValueError(f"This score reads the boxes of {self.boxes!r}, but only {sorted(records)} were made.")
        if isinstance(record, PixelRecord):
            return record
        if isinstance(self.threshold, float):
            return record.at(self.threshold)
        return record.label_free_view(self.threshold) if self.threshold in LABEL_FREE else record

    def _call(self) -> tuple[Callable[..., float], dict[str, Any]]:
        """Return the function and all of its settings, defaults included."""
        function = self.function.func if isinstance(self.function, partial) else self.function
        parameters = inspect.signature(self.function).parameters
        return function, {
            name: parameter.default
            for name, parameter in parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
