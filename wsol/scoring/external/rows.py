"""Make the rows of a table of scores, for maps of any tool, from one pass over the maps."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from wsol.scoring.protocol import Protocol, ThresholdPolicy
from wsol.scoring.score import NO_BOX, PIXELS, Score
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.stream_scores import Reading, SplitMaps, StreamedScores, Total, stream_scores
from wsol.scoring.thresholds import LABEL_FREE, find_threshold

# Of a held-out split: (box rule, IoU threshold) -> the score-map threshold that was best there.
HeldOut = Mapping[tuple[str, float], float]

LARGEST, EVERY = "largest", "every"
IOU_THRESHOLDS = (0.3, 0.5, 0.7)
_GT_KNOWN_LOC = "gt_known_loc"
_LOC_IOU = 0.5  # at which a threshold is chosen for scores that are no shares of images
# The order of a table; other scores follow, by name.
_ORDER = (
    *("max_box_acc", "max_box_acc_v2", "box_acc", "gt_known_loc", "top1_loc", "top5_loc", "top1_cls", "top5_cls"),
    *("pointing_game", "energy_pointing", "box_area_ratio", "coverage", "leakage", "px_ap", "p_iou", "mask_iou"),
)


@dataclass(frozen=True)
class Row:
    """One number with what a reader must know to compare it."""

    score: str
    value: float  # a fraction, but for box_area_ratio
    boxes: str  # the box rule; empty: the score reads no box
    iou_threshold: float | None
    tau: str  # what chose τ: oracle, held_out, a key of `LABEL_FREE`, fixed; empty: no τ
    threshold: float | None  # τ, where it is one for all images


@dataclass(frozen=True)
class Choice:
    """Policies that may choose τ, and the number of classes that were predicted.

    Attributes:
        fixed: τ fixed beforehand -> its index.
        held_out: thresholds chosen on another split; None: there are none.
        classes_listed: how many classes were predicted for each image, which limits the k of top-k.
    """

    fixed: Mapping[float, int]
    held_out: HeldOut | None = None
    classes_listed: int = 0


@dataclass(frozen=True)
class Family:
    """Scores that differ in their threshold alone, and whose rows share one name."""

    name: str
    score: Score
    label_free: list[ThresholdPolicy]  # of those scores that read each image at its own threshold


def families_of(scores: Mapping[str, Score]) -> list[Family]:
    """Group scores by what they measure, in the order of a table.

    Scores that the rows of `box_acc` contain, such as GT-known Loc at an IoU of 0.3, are left out.

    Args:
        scores: by the name of their option.
    """
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, score in scores.items():
        groups.setdefault((score.measure, score.threshold == "oracle"), []).append(name)
    families = []
    for (measure, _), names in groups.items():
        names.sort(key=lambda name: (scores[name].threshold != "held_out", len(name), name))
        if measure not in _SHOWN or _GT_KNOWN_LOC in names:
            policies = {scores[name].threshold for name in names}
            families.append(Family(names[0], scores[names[0]], [key for key in LABEL_FREE if key in policies]))
    return sorted(families, key=lambda family: _place(family.name))


@dataclass(frozen=True)
class ScoreTable:
    """All scores of a split's maps, by all that may choose τ."""

    families: list[Family]
    streamed: StreamedScores
    protocol: Protocol
    from_maps: bool  # False: the boxes come from no map, which then chooses no threshold

    @classmethod
    def of(cls, split: SplitMaps, scores: Mapping[str, Score], reading: Reading, progress: bool = True) -> "ScoreTable":
        """Compute the scores of a split's maps.

        Args:
            split: maps and annotations.
            scores: by the name of their option.
            reading: box rules, among them `largest` and `every`; thresholds and protocol.
            progress: show a bar.

        Raises:
            ValueError: as `stream_scores`.
        """
        families = [
            family for family in families_of(scores) if split.class_rank is not None or not _needs_rank(family.score)
        ]
        wanted = {name: _box_acc(*key) for key, name in _BOX_ACC.items()}
        for family in families:
            wanted[family.name] = family.score
            for policy in family.label_free:
                wanted[f"{family.name} {policy}"] = replace(family.score, threshold=policy)
        return cls(families, stream_scores(split, wanted, reading, progress), reading.protocol, split.from_maps)

    def rows(self, choice: Choice) -> list[Row]:
        """Return all scores that protocol and annotations allow, in the order of a table.

        Args:
            choice: of τ.

        Raises:
            ValueError: if a held-out threshold is not among those of the maps.
        """
        rows = list(self._box_accuracies(choice))
        for family in self.families:
            enough = not _needs_rank(family.score) or (family.score.setting("k") or 1) <= choice.classes_listed
            if family.name in self.streamed.totals and enough:
                rows += self._family(family, choice)
        # A score that is not a number has nothing to read: boxes without a map, for one, do not point.
        return sorted((row for row in rows if not math.isnan(row.value)), key=lambda row: _place(row.score))

    def curves(self) -> dict[str, Any]:
        """Return every curve over the thresholds, as plain data: by box rule, and of the pixels."""
        totals = self.streamed.totals
        curves: dict[str, Any] = {"thresholds": self.streamed.thresholds.tolist()}
        if self.protocol.map_class == "true":
            for (rule, delta), name in _BOX_ACC.items():
                if name in totals:
                    curves.setdefault(rule, {})[f"{delta:g}"] = totals[name].curve().tolist()
        for family in self.families:
            if family.name in totals and totals[family.name].outcomes.curve is not None:
                curves[family.name] = totals[family.name].curve().tolist()
        return curves

    def _admits(self, score: Score, threshold: ThresholdPolicy | None) -> bool:
        return self.protocol.admits(threshold, score.needs_class, score.reads_map)

    def _row(self, family: Family, value: float, tau: str, index: int | None = None) -> Row:
        reads_box = family.score.threshold is not None and family.score.boxes != PIXELS
        threshold = None if index is None else float(self.streamed.thresholds[index])
        delta = family.score.setting("iou_threshold") if reads_box else None
        return Row(family.name, float(value), family.score.boxes if reads_box else "", delta, tau, threshold)

    def _family(self, family: Family, choice: Choice) -> Iterator[Row]:
        """Yield the rows of a family, one for each choice of τ."""
        score, total = family.score, self.streamed.totals[family.name]
        if score.threshold is None:
            if self._admits(score, None):
                yield self._row(family, total.value(), "")
            return
        if score.threshold == "oracle":
            if self._admits(score, "oracle"):
                index = self.streamed.best_index(family.name, score.boxes) if total.has_curve else None
                yield self._row(family, total.value(), "oracle", index)
            return
        curve = total.curve()
        for tau, index in self._points(family, total, choice):
            # Where no image has a box, a mean over boxes says nothing.
            if total.share or self.streamed.boxes[score.boxes][index] > 0:
                yield self._row(family, curve[index], tau, index)
        for policy in family.label_free:
            if self.from_maps and self._admits(score, policy):
                yield self._row(family, self.streamed.totals[f"{family.name} {policy}"].value(), str(policy))

    def _points(self, family: Family, total: Total, choice: Choice) -> Iterator[tuple[str, int]]:
        """Yield what may choose τ for the scores of a family, and the index that it chooses."""
        score, rule = family.score, family.score.boxes
        delta = score.setting("iou_threshold")
        chooser = (rule, delta if (rule, delta) in _BOX_ACC else _LOC_IOU)
        # The oracle of GT-known Loc is MaxBoxAcc, a score of its own. What is no share of images has no best τ.
        by = family.name if total.share else _BOX_ACC.get(chooser)
        if score.measure not in _SHOWN and by in self.streamed.totals and self._admits(score, "oracle"):
            yield "oracle", self.streamed.best_index(str(by), rule)
        if choice.held_out is not None and chooser in choice.held_out and self._admits(score, "held_out"):
            tau = choice.held_out[chooser]
            yield "held_out", find_threshold(self.streamed.thresholds, tau, "The held-out file")
        for fixed, index in choice.fixed.items():
            if self._admits(score, fixed):
                yield "fixed", index

    def _box_accuracies(self, choice: Choice) -> Iterator[Row]:
        """Yield what MaxBoxAcc and MaxBoxAccV2 are made of; the same, and V2, at thresholds that were held out."""
        for policy in ("oracle", "held_out"):
            parts: dict[tuple[str, float], Row] = {}
            for (rule, delta), name in _BOX_ACC.items():
                score = _box_acc(rule, delta)
                if name not in self.streamed.totals or not self.protocol.admits(policy, False):
                    continue
                if policy == "oracle":
                    index = self.streamed.best_index(name, rule)
                elif choice.held_out is not None:
                    tau = choice.held_out[rule, delta]
                    index = find_threshold(self.streamed.thresholds, tau, "The held-out file")
                else:
                    continue
                family = Family("box_acc", score, [])
                parts[rule, delta] = self._row(family, self.streamed.totals[name].curve()[index], policy, index)
            if parts and policy == "held_out":
                mean = float(np.mean([parts[EVERY, delta].value for delta in IOU_THRESHOLDS]))
                yield Row("box_acc_v2", mean, EVERY, None, policy, None)
            yield from parts.values()


def _place(name: str) -> tuple[int, str]:
    """Return what orders the rows of a table."""
    name = name.removesuffix("_v2") if name == "box_acc_v2" else name
    return (_ORDER.index(name), "") if name in _ORDER else (len(_ORDER), name)


def _needs_rank(score: Score) -> bool:
    """Return whether a score reads the place of the true class among those predicted."""
    return score.needs_class or score.protocol == NO_BOX


def _box_acc(rule: str, delta: float) -> Score:
    return Score(partial(gt_known_loc, iou_threshold=delta), rule, "held_out")


# What MaxBoxAcc and MaxBoxAccV2 are made of, by name.
_BOX_ACC = {(rule, delta): f"box_acc {rule} {delta:g}" for rule in (LARGEST, EVERY) for delta in IOU_THRESHOLDS}
_SHOWN = {_box_acc(*key).measure for key in _BOX_ACC}
