"""What an experiment is made of: what is trained, how it is scored, where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from wsol.explain.base_measure import FaithfulnessMeasure
from wsol.identity import describe, digest
from wsol.maps.base_map import MapMethod
from wsol.networks.base_pooling import PoolSite
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.protocol import TIGHT, Protocol
from wsol.scoring.score import NO_BOX, PIXELS, Score
from wsol.scoring.thresholds import find_threshold
from wsol.training.base_method import TrainingMethod
from wsol.training.train import PLAIN, TrainSettings

PSOL = "psol"  # what stands in a table where a map method's name does


@dataclass(frozen=True)
class Experiment:
    """One classifier, by name and by everything that can change its numbers.

    Attributes:
        data: short name of the data set, for folder names and tables; so is backbone.
        pooling: the head's name, see `HeadName`.
        reader: what reads the data set again, as plain data, its files and folders too; tells no two runs apart.
        seed: of the weights, the order of the images and their augmentation.
        settings: plain data for each of `data`, `backbone`, `pooling`, and of `pool_site`, `method` and
            `pooling_at_test` where they are not as usual; what tells two runs of these names apart.
        pooling_layer: the pooling itself, for what is known of it by theorem; None: nothing.
        pool_site: where it stands.
        method: of training.
        trained_as: the experiment whose network is read with `pooling_layer`; None: this one is trained.
    """

    data: str
    backbone: str
    pooling: str
    seed: int
    settings: Mapping[str, Any]
    train: TrainSettings
    image_size: int
    pooling_layer: nn.Module | None = None
    reader: Mapping[str, Any] = field(default_factory=dict)
    pool_site: PoolSite = "features"
    method: TrainingMethod = PLAIN
    trained_as: "Experiment | None" = None


@dataclass(frozen=True)
class Evaluation:
    """What a trained classifier is asked.

    Attributes:
        maps: map methods by name.
        boxes: box rules by name.
        scores: the table's columns by name.
        thresholds: (T,) score-map thresholds, ascending in [0, 1).
        protocol: what lies between a map and a hit.
        faithfulness: measures of whether a map explains the decision, by name.
        optimized: predictions and maps come from a network with folded batch norms, in bfloat16 on hardware that has
            it; numbers move a little, so they are kept apart.
    """

    maps: Mapping[str, MapMethod]
    boxes: Mapping[str, BoxRule]
    scores: Mapping[str, Score]
    thresholds: tuple[float, ...]
    protocol: Protocol = TIGHT
    faithfulness: Mapping[str, FaithfulnessMeasure] = field(default_factory=dict)
    optimized: bool = False

    def __post_init__(self) -> None:
        taus = np.asarray(self.thresholds)
        if taus.ndim != 1 or len(taus) == 0 or (np.diff(taus) <= 0).any() or taus[0] < 0 or taus[-1] >= 1:
            raise ValueError(f"thresholds must ascend within [0, 1), got {self.thresholds}.")
        for name, score in self.scores.items():
            if score.boxes not in (*self.boxes, PIXELS):
                raise ValueError(
                    f"Score {name!r} reads boxes {score.boxes!r}; choose it in `boxes` (have {sorted(self.boxes)})."
                )
            if isinstance(score.threshold, float):
                find_threshold(taus, score.threshold, f"Score {name!r}")
            self.protocol.check_score(name, score.threshold, score.needs_class, score.reads_map)

    @property
    def key(self) -> str:
        """The protocol's name and eight hex digits; rows of different keys never share a table."""
        parts = [self.maps, self.boxes, self.scores, self.thresholds, self.protocol, self.faithfulness, self.optimized]
        return f"{self.protocol.name}-{digest(parts)}"

    def protocol_of(self, score: Score) -> str:
        """What a reader must know to compare a score's numbers with others."""
        return score.protocol if score.protocol == NO_BOX else f"{self.protocol.name}: {score.protocol}"

    def describe_record(self, rule: str) -> dict[str, Any]:
        """What a record is made by, as plain data."""
        return {**describe(self.protocol), "box_rule": describe(self.boxes[rule])}

    def map_key(self, name: str) -> str:
        """The name of a method's maps: the method, its settings, and the way they were made."""
        return map_key(describe(self), name)

    def measure_key(self, name: str, measure: str) -> str:
        """The name of what a measure says of a method's maps."""
        return measure_key(describe(self), name, measure)

    @property
    def reads_pixels(self) -> bool:
        """Is there a score against masks?"""
        return any(score.boxes == PIXELS for score in self.scores.values())

    def record_key(self, source: str, rule: str) -> str:
        """The name of a record: what made its maps (a method, or a baseline), its boxes and its grid of thresholds."""
        return record_key(describe(self), source, rule)


# The same names from an evaluation as plain data, which is what a run keeps of it.


def map_key(evaluation: Mapping[str, Any], name: str) -> str:
    """See `Evaluation.map_key`."""
    return f"{name}-{digest([evaluation['maps'][name], evaluation['optimized']])}"


def measure_key(evaluation: Mapping[str, Any], name: str, measure: str) -> str:
    """See `Evaluation.measure_key`."""
    parts = [evaluation["maps"][name], evaluation["optimized"], evaluation["faithfulness"][measure]]
    return f"{name}-{measure}-{digest(parts)}"


def record_key(evaluation: Mapping[str, Any], source: str, rule: str) -> str:
    """See `Evaluation.record_key`."""
    maps, optimized, boxes = (evaluation[part] for part in ("maps", "optimized", "boxes"))
    read = PIXELS if rule == PIXELS else boxes[rule]
    # The map method that is best on val makes the pseudo boxes, so that all of them say which record this is.
    made_by = [source, maps, boxes] if source == PSOL else maps.get(source, source)
    parts = [made_by, optimized, read, evaluation["thresholds"], evaluation["protocol"]]
    return f"{source}-{rule}-{evaluation['protocol']['name']}-{digest(parts)}"
