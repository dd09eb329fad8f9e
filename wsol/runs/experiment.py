"""Describe an experiment: what is trained, how it is scored, where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wsol.explain.base_measure import FaithfulnessMeasure
from wsol.identity import describe, digest
from wsol.maps.base_map import MapMethod
from wsol.networks.base_pooling import PoolSite
from wsol.runs.tuning import Tuned, Tuning
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.protocol import TIGHT, Protocol
from wsol.scoring.score import NO_BOX, PIXELS, Score
from wsol.scoring.thresholds import find_threshold
from wsol.training.base_method import TrainingMethod
from wsol.training.train import PLAIN, TrainSettings

PSOL = "psol"  # the map's name in PSOL's rows, although there is no map
SCORED_SPLITS = ("val", "test")  # in this order: val chooses the operating point that test is read at


@dataclass(frozen=True)
class Experiment:
    """Describe one classifier by name and by everything that can change its numbers.

    Attributes:
        data: short name of the data set, for folder names and tables.
        backbone: short name of the backbone, for the same.
        pooling: the head's name, see `HeadName`.
        seed: of the weights, the order of the images and their augmentation.
        settings: plain data for each of `data`, `backbone`, `pooling`, and of `pool_site`, `method` and
            `pooling_at_test` where they differ from the default. They distinguish runs of equal names.
        train: training settings.
        image_size: side of the square training images, in pixels.
        pooling_layer: the pooling itself, for what theorems say of it; None: unknown.
        reader: plain data that reads the data set again, with its files and folders; distinguishes no runs.
        pool_site: what is pooled, features or class scores.
        method: of training.
        trained_as: the experiment whose network is read with `pooling_layer`; None: this one is trained.
        tuning: how `train` is searched before the run; None: not at all.
        tuned: the search that `train` comes from; None: there was none.
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
    tuning: Tuning | None = None
    tuned: Tuned | None = None

    @property
    def shared_training(self) -> TrainSettings:
        """Settings that all heads of the comparison are trained with, or that their searches start from."""
        return self.train if self.tuned is None else self.tuned.base

    def tuned_by(self, tuned: Tuned) -> "Experiment":
        """Return the experiment with the settings that a search chose."""
        trained_as = None if self.trained_as is None else self.trained_as.tuned_by(tuned)
        return replace(self, train=tuned.train, tuned=tuned, trained_as=trained_as)


@dataclass(frozen=True)
class Evaluation:
    """Describe how a trained classifier is scored.

    Attributes:
        maps: map methods by name.
        boxes: box rules by name.
        scores: the table's columns by name.
        thresholds: (T,) score-map thresholds, ascending in [0, 1).
        protocol: every choice between an activation map and a hit.
        faithfulness: measures of whether a map explains the decision, by name.
        optimized: predictions and maps come from a network with folded batch norms, in bfloat16 on hardware that
            supports it. Numbers move a little, so they are kept apart.
    """

    maps: Mapping[str, MapMethod]
    boxes: Mapping[str, BoxRule]
    scores: Mapping[str, Score]
    thresholds: tuple[float, ...]
    protocol: Protocol = TIGHT
    faithfulness: Mapping[str, FaithfulnessMeasure] = field(default_factory=dict)
    optimized: bool = False

    def __post_init__(self) -> None:
        taus = self.taus
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
        """Name of the protocol and eight hex digits; rows of different keys never share a table."""
        parts = [self.maps, self.boxes, self.scores, self.thresholds, self.protocol, self.faithfulness, self.optimized]
        return f"{self.protocol.name}-{digest(parts)}"

    @property
    def taus(self) -> NDArray[np.float64]:
        """Score-map thresholds as an array (T,)."""
        return np.asarray(self.thresholds)

    def protocol_of(self, score: Score) -> str:
        """Return what a reader must know to compare a score's numbers with others."""
        return score.protocol if score.protocol == NO_BOX else f"{self.protocol.name}: {score.protocol}"

    def describe_record(self, rule: str) -> dict[str, Any]:
        """Return the protocol and the box rule of a record, as plain data."""
        return {**describe(self.protocol), "box_rule": describe(self.boxes[rule])}

    def map_key(self, name: str) -> str:
        """Return the file key of a method's maps: its name, and a hash of its settings and of `optimized`."""
        return map_key(describe(self), name)

    def measure_key(self, name: str, measure: str) -> str:
        """Return the file key of one faithfulness measure of a method's maps."""
        return measure_key(describe(self), name, measure)

    @property
    def reads_pixels(self) -> bool:
        """True if a score compares maps with masks."""
        return any(score.boxes == PIXELS for score in self.scores.values())

    def record_key(self, source: str, rule: str) -> str:
        """Return the file key of a record.

        Args:
            source: the map method or the baseline that is matched.
            rule: the box rule, or `pixels`.
        """
        return record_key(describe(self), source, rule)


# These functions take an evaluation as plain data, which is what a run folder keeps of it.


def map_key(evaluation: Mapping[str, Any], name: str) -> str:
    """Return the key as `Evaluation.map_key` does."""
    return f"{name}-{digest([evaluation['maps'][name], evaluation['optimized']])}"


def measure_key(evaluation: Mapping[str, Any], name: str, measure: str) -> str:
    """Return the key as `Evaluation.measure_key` does."""
    parts = [evaluation["maps"][name], evaluation["optimized"], evaluation["faithfulness"][measure]]
    return f"{name}-{measure}-{digest(parts)}"


def record_key(evaluation: Mapping[str, Any], source: str, rule: str) -> str:
    """Return the key as `Evaluation.record_key` does."""
    maps, optimized, boxes = (evaluation[part] for part in ("maps", "optimized", "boxes"))
    read = PIXELS if rule == PIXELS else boxes[rule]
    # The map method that is best on val makes the pseudo boxes, so that the key depends on all methods.
    made_by = [source, maps, boxes] if source == PSOL else maps.get(source, source)
    parts = [made_by, optimized, read, evaluation["thresholds"], evaluation["protocol"]]
    return f"{source}-{rule}-{evaluation['protocol']['name']}-{digest(parts)}"
