"""From a judgement to the scores that its protocol admits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.scoring.external.totals import ANY, TOP1, TOP5, BoxTally, Judgement
from wsol.scoring.pixel_scores import pixel_iou, px_ap
from wsol.scoring.protocol import Protocol, ThresholdPolicy
from wsol.scoring.thresholds import best_index, find_threshold

# Of a held-out split: (box rule, IoU threshold) -> the score-map threshold that was best there.
HeldOut = Mapping[tuple[str, float], float]

LARGEST, EVERY = "largest", "every"
_LOC_IOU = 0.5  # of GT-known, top-1 and top-5 localization
_TOLERANCE = 15  # pixels, of the pointing game


@dataclass(frozen=True)
class Row:
    """One number with what a reader must know of it."""

    score: str
    value: float  # a fraction, but for box_area_ratio
    boxes: str  # the box rule; empty: reads no box
    iou_threshold: float | None
    tau: str  # what chose τ: oracle, held_out, label_free, fixed; empty: no τ
    threshold: float | None  # τ, where it is one for all images


def rows_of(
    judgement: Judgement,
    protocol: Protocol,
    fixed: Mapping[float, int],
    held_out: HeldOut | None = None,
    ranks: NDArray[np.int64] | None = None,
    classes_listed: int = 0,
) -> list[Row]:
    """All scores that can be told, in the order of a table.

    Args:
        judgement: of a split.
        protocol: that it was made by; what it does not admit is left out.
        fixed: τ fixed beforehand -> its index.
        held_out: thresholds chosen on another split.
        ranks: (N,) place of each true class among those predicted; None: nothing was classified.
        classes_listed: how many classes were predicted for each image, which limits k.

    Raises:
        ValueError: if a held-out threshold is not among the judgement's.
    """
    rows: list[Row] = []
    k_of = {"top1": (TOP1, 1), "top5": (TOP5, 5)}
    ks = {name: group for name, (group, k) in k_of.items() if ranks is not None and classes_listed >= k}
    reader = _Reader(judgement, protocol, fixed, held_out)
    if judgement.boxes:
        rows += reader.box_accuracies()
        rows += reader.localization("gt_known_loc", ANY, needs_class=False, oracle=False)
        for name, group in ks.items():
            rows += reader.localization(f"{name}_loc", group, needs_class=True, oracle=True)
    if ranks is not None:
        for name, (_, k) in k_of.items():
            if name in ks:
                rows.append(Row(f"{name}_cls", float((ranks < k).mean()), "", None, "", None))
    if judgement.boxes and protocol.admits(None, needs_class=False, reads_map=True):
        if judgement.from_maps:
            rows.append(Row("pointing_game", float((judgement.peak_distance <= _TOLERANCE).mean()), "", None, "", None))
            rows.append(Row("energy_pointing", float(judgement.energy_inside.mean(dtype=float)), "", None, "", None))
        rows += reader.extents()
    if judgement.pixels is not None and protocol.admits(None, needs_class=False, reads_map=True):
        rows += reader.pixels()
    return rows


@dataclass(frozen=True)
class _Reader:
    judgement: Judgement
    protocol: Protocol
    fixed: Mapping[float, int]
    held_out: HeldOut | None

    def _share(self, rule: str, group: int, delta: float) -> NDArray[np.float64]:
        """(T,) share of images that are hit."""
        tally = self.judgement.boxes[rule]
        return tally.hits[group, self.judgement.iou_thresholds.index(delta)] / self.judgement.images

    def _policies(
        self, rule: str, group: int, delta: float, needs_class: bool, oracle: bool
    ) -> Iterator[tuple[str, int]]:
        """What may choose τ, and the index that it chooses."""

        def admits(policy: ThresholdPolicy) -> bool:
            return self.protocol.admits(policy, needs_class)

        if oracle and admits("oracle"):
            yield "oracle", best_index(self._share(rule, group, delta), self.judgement.boxes[rule].iou)
        if self.held_out is not None and admits("held_out"):
            yield "held_out", find_threshold(self.judgement.thresholds, self.held_out[rule, delta], "The held-out file")
        for tau, index in self.fixed.items():
            if admits(tau):
                yield "fixed", index

    def _row(self, score: str, value: float, rule: str, delta: float | None, policy: str, index: int | None) -> Row:
        tau = None if index is None else float(self.judgement.thresholds[index])
        return Row(score, float(value), rule, delta, policy, tau)

    def box_accuracies(self) -> Iterator[Row]:
        """MaxBoxAcc, MaxBoxAccV2, and what they are made of; the same at thresholds that were held out.

        At a held-out threshold, what MaxBoxAcc is an oracle of is called `gt_known_loc`.
        """
        deltas = self.judgement.iou_thresholds
        for policy, v2 in (("oracle", "max_box_acc_v2"), ("held_out", "box_acc_v2")):
            parts: dict[tuple[str, float], Row] = {}
            for rule in self.judgement.boxes:
                for delta in deltas:
                    for chosen, index in self._policies(rule, ANY, delta, needs_class=False, oracle=True):
                        if chosen == policy:
                            share = self._share(rule, ANY, delta)[index]
                            parts[rule, delta] = self._row("box_acc", share, rule, delta, policy, index)
            if parts:
                if policy == "oracle":
                    yield replace(parts[LARGEST, _LOC_IOU], score="max_box_acc")
                mean = float(np.mean([parts[EVERY, delta].value for delta in deltas]))
                yield Row(v2, mean, EVERY, None, policy, None)
                yield from parts.values()

    def localization(self, score: str, group: int, needs_class: bool, oracle: bool) -> Iterator[Row]:
        """Hits of the largest component at each τ; the class right where it is asked for."""
        share = self._share(LARGEST, group, _LOC_IOU)
        for policy, index in self._policies(LARGEST, group, _LOC_IOU, needs_class, oracle):
            yield self._row(score, share[index], LARGEST, _LOC_IOU, policy, index)
        if self.judgement.from_maps and self.protocol.admits("label_free", needs_class):
            hits = self.judgement.label_free_hits(LARGEST, group, _LOC_IOU)
            yield self._row(score, hits / self.judgement.images, LARGEST, _LOC_IOU, "label_free", None)

    def extents(self) -> Iterator[Row]:
        """Are the largest component's boxes too small or too large."""
        tally: BoxTally = self.judgement.boxes[LARGEST]
        images = self.judgement.images
        of: dict[str, Callable[[int], float]] = {
            "box_area_ratio": lambda t: float(np.exp(tally.log_area_ratio[t] / tally.boxes[t])),
            "coverage": lambda t: tally.coverage[t] / images,
            "leakage": lambda t: tally.leakage[t] / images,
        }
        for score, value in of.items():
            for policy, index in self._policies(LARGEST, ANY, _LOC_IOU, needs_class=False, oracle=True):
                if tally.boxes[index] > 0:
                    yield self._row(score, value(index), LARGEST, None, policy, index)

    def pixels(self) -> Iterator[Row]:
        """PxAP; the pixels' IoU at its best τ, pooled over images and as the mean of each image's own."""
        pixels = self.judgement.pixels
        assert pixels is not None
        yield Row("px_ap", px_ap(pixels.histograms), "", None, "", None)
        for score, iou in (("p_iou", pixel_iou(pixels.histograms)), ("mask_iou", pixels.iou / self.judgement.images)):
            index = int(iou.argmax())
            yield self._row(score, iou[index], "", None, "oracle", index)


def curves_of(judgement: Judgement, protocol: Protocol) -> dict[str, Any]:
    """Every curve over the thresholds, as plain data: by box rule, and of the pixels."""
    curves: dict[str, Any] = {"thresholds": judgement.thresholds.tolist()}
    if protocol.map_class == "true":
        for rule, tally in judgement.boxes.items():
            accuracy = tally.hits[ANY] / judgement.images
            curves[rule] = {
                f"{delta:g}": row.tolist() for delta, row in zip(judgement.iou_thresholds, accuracy, strict=True)
            }
    if judgement.pixels is not None:
        curves["p_iou"] = pixel_iou(judgement.pixels.histograms).tolist()
        curves["mask_iou"] = (judgement.pixels.iou / judgement.images).tolist()
    return curves
