"""The supervision ledger: which annotations chose what, for every score."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from wsol.scoring.protocol import Protocol
from wsol.scoring.score import Score

NOTHING = "none"
TRAIN_LABELS, TEST_LABELS, TEST_BOXES = "train labels", "test labels", "test boxes"
VAL_LABELS, VAL_BOXES = "val labels", "val boxes"


@dataclass(frozen=True)
class Supervision:
    """What chose each stage of a score.

    Attributes:
        training: the weights.
        checkpoint: which epoch's weights; nothing chose it where the last one's are taken.
        hyper_parameters: those of training and of the map methods. They stand in the run's settings; what was tuned
            outside of this suite cannot be seen.
        map_class: the class that maps are made for, where the score depends on it.
        normalization: how maps are brought to [0, 1].
        threshold: the score-map threshold τ.
    """

    training: str = NOTHING
    checkpoint: str = NOTHING
    hyper_parameters: str = NOTHING
    map_class: str = NOTHING
    normalization: str = NOTHING
    threshold: str = NOTHING

    @property
    def oracle(self) -> bool:
        """Did the boxes of the scored images choose anything."""
        return TEST_BOXES in (getattr(self, field.name) for field in fields(self))


def supervision_of(
    score: Score,
    protocol: Protocol,
    trained: bool = True,
    hyper_parameters: str = NOTHING,
    checkpoint: str = NOTHING,
    training: str = TRAIN_LABELS,
) -> Supervision:
    """The ledger's line of a score.

    Args:
        score: with what chooses its threshold.
        protocol: that it is read by.
        trained: False for a baseline, which reads no image.
        hyper_parameters: what a tuner used, where one was used.
        checkpoint: what chose the epoch.
        training: what the weights were learned from.
    """
    reads_map = score.threshold is not None or score.reads_map
    # Where the class must be right for a box to count, the predicted class is the true one wherever it matters.
    given = trained and reads_map and protocol.map_class == "true" and not score.needs_class
    chose_threshold = {"oracle": TEST_BOXES, "held_out": VAL_BOXES}
    return Supervision(
        training=training if trained else NOTHING,
        checkpoint=checkpoint,
        hyper_parameters=hyper_parameters,
        map_class=TEST_LABELS if given else NOTHING,
        threshold=chose_threshold.get(str(score.threshold), NOTHING),
    )


LEDGER_COLUMNS = ("score", *(field.name.replace("_", " ") for field in fields(Supervision)), "oracle")


def ledger_lines(ledger: Mapping[str, Supervision]) -> list[list[str]]:
    """A line a score, in the order of `LEDGER_COLUMNS`."""
    return [
        [score, *(getattr(one, field.name) for field in fields(one)), "oracle" if one.oracle else ""]
        for score, one in ledger.items()
    ]
