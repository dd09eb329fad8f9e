"""List which annotations chose what, for every score: the supervision ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from wsol.scoring.protocol import Protocol
from wsol.scoring.score import PIXELS, Score

NOTHING = "none"
EVERY = "every"  # the box rule that gives all boxes of a map
TRAIN_LABELS, TEST_LABELS, TEST_BOXES, TEST_MASKS = "train labels", "test labels", "test boxes", "test masks"
VAL_LABELS, VAL_BOXES = "val labels", "val boxes"
HELD_OUT_OF_TEST = "boxes held out of test"  # of images that are not scored
ELSEWHERE = "elsewhere"  # whatever the authors of a network had


@dataclass(frozen=True)
class Supervision:
    """Choices behind each stage of a score.

    Attributes:
        training: the weights.
        checkpoint: which epoch's weights; `none` where the weights are those of the last epoch.
        hyper_parameters: those of training and of the map methods. The run's settings list them; the ledger does not
            contain what was tuned outside of this suite.
        map_class: the class that maps are made for, where the score depends on it.
        normalization: how maps are scaled to [0, 1].
        threshold: the score-map threshold τ.
        box_choice: which of several boxes of a map is scored; `none` where the rule gives one box.
    """

    training: str = NOTHING
    checkpoint: str = NOTHING
    hyper_parameters: str = NOTHING
    map_class: str = NOTHING
    normalization: str = NOTHING
    threshold: str = NOTHING
    box_choice: str = NOTHING

    @property
    def oracle(self) -> bool:
        """Whether the boxes or masks of the scored images chose anything."""
        return bool({TEST_BOXES, TEST_MASKS} & {getattr(self, field.name) for field in fields(self)})


def supervision_of(
    score: Score,
    protocol: Protocol,
    trained: bool = True,
    hyper_parameters: str = NOTHING,
    checkpoint: str = NOTHING,
    training: str = TRAIN_LABELS,
) -> Supervision:
    """Return the line of a score in the ledger.

    Args:
        score: the score; its `threshold` names what chooses τ.
        protocol: the protocol that the score is read under.
        trained: False for a baseline, which reads no image.
        hyper_parameters: the annotations that a tuner read; `none` without a tuner.
        checkpoint: the annotations that chose the epoch.
        training: the annotations that the weights were learned from.
    """
    reads_map = score.threshold is not None or score.reads_map
    # Where the class must be right for a box to count, the predicted class is the true one wherever it matters.
    given = trained and reads_map and not score.needs_class
    chose_threshold = {"oracle": TEST_MASKS if score.boxes == PIXELS else TEST_BOXES, "held_out": VAL_BOXES}
    return Supervision(
        training=training if trained else NOTHING,
        checkpoint=checkpoint,
        hyper_parameters=hyper_parameters,
        map_class=TEST_LABELS if given else NOTHING,
        threshold=chose_threshold.get(str(score.threshold), NOTHING),
        # The rule `every` scores the best of all boxes, which the boxes of the scored images choose.
        box_choice=TEST_BOXES if score.boxes == EVERY and score.threshold is not None else NOTHING,
    )


LEDGER_COLUMNS = ("score", *(field.name.replace("_", " ") for field in fields(Supervision)), "oracle")


def ledger_lines(ledger: Mapping[str, Supervision]) -> list[list[str]]:
    """Return one line a score, in the order of `LEDGER_COLUMNS`."""
    return [
        [score, *(getattr(line, field.name) for field in fields(line)), "oracle" if line.oracle else ""]
        for score, line in ledger.items()
    ]
