"""Match boxes or maps of a run with the ground truth, and keep one record for each box rule."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.data.ground_truth import GroundTruth, truth_of
from wsol.data.image_set import ImageSet
from wsol.data.masks import true_masks
from wsol.identity import describe
from wsol.maps.stored_maps import StoredMaps
from wsol.runs.artifacts import RunArtifacts
from wsol.runs.experiment import PSOL, SCORED_SPLITS, Evaluation
from wsol.runs.pseudo_boxes import match_boxes
from wsol.scoring.baselines import CENTER_GAUSSIAN, CenterGaussians
from wsol.scoring.box_ranges import StoredBoxes
from wsol.scoring.match_maps import Matches, counted, make_record, match_baseline, match_maps, match_pixels
from wsol.scoring.record import LocalizationRecord, PixelRecord, choose_operating_point
from wsol.scoring.score import PIXELS, Records


@dataclass(frozen=True)
class ScoredImages:
    """Hold the predictions and the ground truth of the images that are scored.

    Attributes:
        predictions: split -> a frame with a row per image, as `make_maps` returns it.
        test: the images of test, whose masks are read.
    """

    predictions: Callable[[str], pd.DataFrame]
    test: ImageSet

    @property
    def have_boxes(self) -> bool:
        """True if there are ground-truth boxes to compare with."""
        return len(self.test.entries.boxes) > 0

    def ground_truth(self, split: str) -> GroundTruth:
        """Return the classes and boxes of a split."""
        return truth_of(self.predictions(split))

    def masks(self) -> GroundTruth:
        """Return the ground truth of test with its masks."""
        return replace(self.ground_truth("test"), read_mask=true_masks(self.test))

    def unclassified(self) -> "ScoredImages":
        """Return the same images with class rank -1, for sources that predict no class."""
        return ScoredImages(lambda split: self.predictions(split).assign(class_rank=-1), self.test)


class Source(Interface):
    """Interface of what is matched with the ground truth: maps, a baseline, or one box per image."""

    @property
    def name(self) -> str:
        """Name of the source in tables and files."""

    @property
    def has_map(self) -> bool:
        """True if the source can be compared with masks."""

    def match(
        self, split: str, ground_truth: GroundTruth, evaluation: Evaluation, rule: str, point: int | None
    ) -> Matches:
        """Match a split at all thresholds; keep the boxes of the threshold `point` alone, of all thresholds if None."""

    def match_pixels(self, ground_truth: GroundTruth, evaluation: Evaluation) -> NDArray[np.int32]:
        """Count the pixels of test by their scores, off and on the objects, as `match_pixels`."""


@dataclass
class MapsSource:
    """Match the stored maps of one method.

    Attributes:
        name: of the method.
        read: split -> the maps. The maps of the last split are kept, so that each split is read once.
        progress: show bars.
    """

    name: str
    read: Callable[[str], StoredMaps]
    progress: bool = False
    has_map: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self.read = functools.lru_cache(maxsize=1)(self.read)

    def match(
        self, split: str, ground_truth: GroundTruth, evaluation: Evaluation, rule: str, point: int | None
    ) -> Matches:
        """Match the boxes of the maps under a box rule."""
        maps, box_rule = self.read(split), evaluation.boxes[rule]
        progress = f"boxes of {self.name}, {rule}, {split}" if self.progress else ""
        with counted(maps, progress) as source:
            return match_maps(source, ground_truth, box_rule, evaluation.taus, evaluation.protocol, point)

    def match_pixels(self, ground_truth: GroundTruth, evaluation: Evaluation) -> NDArray[np.int32]:
        """Count the pixels of the maps of test."""
        progress = f"pixels of {self.name}, test" if self.progress else ""
        with counted(self.read("test"), progress) as source:
            return match_pixels(source, ground_truth, evaluation.taus, evaluation.protocol)


@dataclass(frozen=True)
class BaselineSource:
    """Match one of `BASELINES`, which need no network. Only the Gaussian is a map."""

    name: str

    @property
    def has_map(self) -> bool:
        """True for the Gaussian."""
        return self.name == CENTER_GAUSSIAN

    def match(
        self, split: str, ground_truth: GroundTruth, evaluation: Evaluation, rule: str, point: int | None
    ) -> Matches:
        """Match the boxes of the baseline under a box rule."""
        box_rule, protocol = evaluation.boxes[rule], evaluation.protocol
        return match_baseline(self.name, ground_truth, box_rule, evaluation.taus, protocol, point)

    def match_pixels(self, ground_truth: GroundTruth, evaluation: Evaluation) -> NDArray[np.int32]:
        """Count the pixels of the Gaussian."""
        maps = CenterGaussians(ground_truth, evaluation.protocol)
        return match_pixels(maps, ground_truth, evaluation.taus, evaluation.protocol)


@dataclass(frozen=True)
class BoxesSource:
    """Match one box per image, the same at every threshold and under every box rule.

    Attributes:
        read: split -> the boxes.
    """

    read: Callable[[str], StoredBoxes]
    name: str = field(default=PSOL, init=False)
    has_map: bool = field(default=False, init=False)

    def match(
        self, split: str, ground_truth: GroundTruth, evaluation: Evaluation, rule: str, point: int | None
    ) -> Matches:
        """Match the boxes of a split."""
        return match_boxes(self.read(split), ground_truth, evaluation.taus, evaluation.protocol, point)

    def match_pixels(self, ground_truth: GroundTruth, evaluation: Evaluation) -> NDArray[np.int32]:
        """Raise TypeError: boxes are no map."""
        raise TypeError("A box is no map, so it cannot be compared with masks.")


@dataclass(frozen=True)
class SplitRecords:
    """Hold the records of one source by box rule; those of test include `pixels`."""

    val: Mapping[str, LocalizationRecord]
    test: Records


def match_records(source: Source, images: ScoredImages, artifacts: RunArtifacts) -> SplitRecords:
    """Match one source with the ground truth of val, which chooses the operating point, and of test.

    Records on disk are loaded; a record of test whose operating point is not that of val is made again.

    Args:
        source: maps, a baseline, or one box per image.
        images: predictions and ground truth.
        artifacts: the run whose folder keeps the records.
    """
    evaluation = artifacts.evaluation
    records: dict[str, dict[str, LocalizationRecord]] = {split: {} for split in SCORED_SPLITS}
    points: dict[str, int] = {}
    for split in SCORED_SPLITS:
        for rule in evaluation.boxes if images.have_boxes else ():
            point = points.get(rule)
            match = functools.partial(_match, source, images, evaluation, split, rule, point)
            records[split][rule] = artifacts.record(split, source.name, rule, point, match)
            points[rule] = records[split][rule].operating_point
    if not (evaluation.reads_pixels and source.has_map):
        return SplitRecords(records["val"], records["test"])
    pixels = artifacts.pixel_record(source.name, lambda: _match_pixels(source, images, evaluation))
    return SplitRecords(records["val"], {**records["test"], PIXELS: pixels})


def _match(
    source: Source, images: ScoredImages, evaluation: Evaluation, split: str, rule: str, point: int | None
) -> LocalizationRecord:
    """Make the record of one split and box rule; choose the operating point if None."""
    matches = source.match(split, images.ground_truth(split), evaluation, rule, point)
    chosen = choose_operating_point(matches.best_iou) if point is None else point
    return make_record(matches, chosen, evaluation.taus, images.predictions(split), evaluation.describe_record(rule))


def _match_pixels(source: Source, images: ScoredImages, evaluation: Evaluation) -> PixelRecord:
    predictions = images.predictions("test")
    return PixelRecord(
        image_ids=predictions["image_id"].to_numpy(dtype=np.str_),
        class_ids=predictions["class_id"].to_numpy(np.int64),
        class_rank=predictions["class_rank"].to_numpy(np.int64),
        histograms=source.match_pixels(images.masks(), evaluation),
        thresholds=evaluation.taus,
        protocol=describe(evaluation.protocol),
    )
