"""A judgement in one pass is what records and scores say, whatever the threads and however many the images."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from wsol import threads
from wsol.data.ground_truth import OBJECT, GroundTruth, same_size
from wsol.scoring.baselines import CenterGaussians, whole_frame
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.external.rows import curves_of, rows_of
from wsol.scoring.external.totals import judge
from wsol.scoring.match_maps import make_record, match_maps
from wsol.scoring.pixel_scores import px_ap, score_histograms
from wsol.scoring.protocol import REFERENCE, TIGHT, ZHOU2016
from wsol.scoring.record import choose_operating_point
from wsol.scoring.score_map import to_score_maps
from wsol.scoring.scores.box_area_ratio import box_area_ratio
from wsol.scoring.scores.coverage import coverage
from wsol.scoring.scores.energy_pointing import energy_pointing
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.leakage import leakage
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.max_box_acc_v2 import max_box_acc_v2
from wsol.scoring.scores.pointing_game import pointing_game
from wsol.scoring.scores.top_k_loc import top_k_loc
from wsol.scoring.thresholds import threshold_grid

RULES = {"largest": largest, "every": every}
SIZE = np.array([18, 14])
TAUS = threshold_grid(0.05)


class SomeMaps:
    """Smooth maps in memory."""

    def __init__(self, count, cells=7, seed=0):
        self.maps = np.random.default_rng(seed).random((count, cells, cells))
        self.image_ids = np.array([f"{n:05d}" for n in range(count)])

    def read(self, index):
        return self.maps[index]


def some_truth(count, size=(40, 50), seed=1):
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 20, (count, 2, 2))
    boxes = [np.float32([[*one, *(one + SIZE)] for one in pair[: 1 + n % 2]]) for n, pair in enumerate(corners)]
    classes = generator.integers(0, 5, count)
    return GroundTruth(SomeMaps(count).image_ids, classes, boxes, same_size(count, size))


def values(rows, tau=None):
    return {(row.score, row.boxes, row.iou_threshold): row.value for row in rows if tau in (None, row.tau)}


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE])
def test_it_says_what_records_and_scores_say(protocol):
    maps, truth = SomeMaps(90), some_truth(90)
    ranks = np.random.default_rng(2).integers(0, 8, 90)
    judgement = judge(maps, truth, RULES, TAUS, protocol, ranks=ranks, points=[4], progress=False)
    rows = rows_of(judgement, protocol, {0.2: 4}, {(r, d): 0.3 for r in RULES for d in (0.3, 0.5, 0.7)}, ranks, 9)
    frame = pd.DataFrame({"image_id": truth.image_ids, "class_id": truth.class_ids, "class_rank": ranks})
    records = {
        name: make_record(match_maps(maps, truth, rule, TAUS, protocol), 6, TAUS, frame, {})
        for name, rule in RULES.items()
    }
    one, all_of = records["largest"], records["every"]
    oracle, held_out = values(rows, "oracle"), values(rows, "held_out")
    fixed, label_free = values(rows, "fixed"), values(rows, "label_free")
    assert oracle["max_box_acc", "largest", 0.5] == max_box_acc(one)
    assert oracle["max_box_acc_v2", "every", None] == pytest.approx(max_box_acc_v2(all_of))
    tau = next(row.threshold for row in rows if row.score == "max_box_acc")
    assert tau == TAUS[choose_operating_point(one.best_iou)]  # as a run would choose on val
    assert oracle["box_acc", "every", 0.7] == max_box_acc(all_of, 0.7)
    assert held_out["box_acc", "largest", 0.5] == held_out["gt_known_loc", "largest", 0.5] == gt_known_loc(one)
    assert held_out["box_acc_v2", "every", None] == pytest.approx(
        np.mean([gt_known_loc(all_of, delta) for delta in (0.3, 0.5, 0.7)])
    )
    assert held_out["top1_loc", "largest", 0.5] == top_k_loc(one, 1)
    assert held_out["top5_loc", "largest", 0.5] == top_k_loc(one, 5)
    assert fixed["gt_known_loc", "largest", 0.5] == gt_known_loc(one.at(0.2))
    assert label_free["gt_known_loc", "largest", 0.5] == gt_known_loc(one.label_free_view())
    assert label_free["top5_loc", "largest", 0.5] == top_k_loc(one.label_free_view(), 5)
    right = one.best_iou[ranks < 5] >= 0.5
    assert oracle["top5_loc", "largest", 0.5] == right.sum(axis=0).max() / 90
    for score in (box_area_ratio, coverage, leakage):
        assert held_out[score.__name__, "largest", None] == pytest.approx(score(one))
    alone = values(rows, "")
    assert alone["pointing_game", "", None] == pointing_game(one)
    assert alone["energy_pointing", "", None] == pytest.approx(energy_pointing(one))
    assert alone["top1_cls", "", None] == (ranks == 0).mean()
    np.testing.assert_array_equal(judgement.point_iou["every"][:, 0], all_of.best_iou[:, 4])
    assert curves_of(judgement, protocol)["every"]["0.3"] == (all_of.best_iou >= 0.3).mean(axis=0).tolist()


def test_threads_change_nothing(monkeypatch):
    maps, truth = SomeMaps(300), some_truth(300)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "processors", lambda count=count: count)
        judgement = judge(maps, truth, RULES, TAUS, REFERENCE, points=[3], progress=False)
        matches = match_maps(maps, truth, every, TAUS, REFERENCE)
        found.append((judgement, matches))
    for judgement, matches in found[1:]:
        for rule in RULES:
            for name, array in vars(judgement.boxes[rule]).items():
                np.testing.assert_array_equal(array, vars(found[0][0].boxes[rule])[name])
        np.testing.assert_array_equal(judgement.label_free, found[0][0].label_free)
        for name, array in vars(matches).items():
            np.testing.assert_array_equal(array, vars(found[0][1])[name])


def test_memory_does_not_grow_with_images_times_thresholds(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)

    def peak(count):
        maps, truth = SomeMaps(count), some_truth(count)
        tracemalloc.start()
        judge(maps, truth, {"every": every}, threshold_grid(0.001), TIGHT, progress=False)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    judge(SomeMaps(2), some_truth(2), {"every": every}, threshold_grid(0.001), TIGHT, progress=False)
    # A few batches are worked on at a time, more or less as the threads happen to run: some MB, however many images.
    few, many = peak(400), peak(6400)
    assert many - few < 6000 * 1000 * 4 / 2  # half of what the IoU of each image at each threshold would take


class TestMasks:
    @pytest.fixture
    def masked(self):
        generator = np.random.default_rng(5)
        masks = [(generator.random((40, 50)) < 0.4).astype(np.uint8) * OBJECT for _ in range(70)]
        assert masks[0].max() == OBJECT
        return replace(some_truth(70), read_mask=lambda n, size: masks[n]), masks

    def test_pixels_are_pooled_and_averaged(self, masked):
        truth, masks = masked
        maps = SomeMaps(70)
        judgement = judge(maps, truth, {}, TAUS, TIGHT, progress=False)
        score_maps = to_score_maps(maps.maps, (40, 50))
        histograms = [score_histograms(*pair, TAUS) for pair in zip(score_maps, masks, strict=True)]
        np.testing.assert_array_equal(judgement.pixels.histograms, np.sum(histograms, axis=0))
        found = values(rows_of(judgement, TIGHT, {}))
        assert found["px_ap", "", None] == px_ap(np.sum(histograms, axis=0))
        above = [[(scores >= tau) for tau in TAUS] for scores in score_maps]
        both = np.array([[(mask & a).sum() for a in of] for of, mask in zip(above, masks, strict=True)])
        either = np.array([[(mask | a).sum() for a in of] for of, mask in zip(above, masks, strict=True)])
        assert found["p_iou", "", None] == pytest.approx((both.sum(0) / either.sum(0)).max())
        assert found["mask_iou", "", None] == pytest.approx((both / either).mean(0).max())

    def test_masks_alone_are_enough(self, masked):
        truth = replace(masked[0], boxes=[np.zeros((0, 4), np.float32)] * 70)
        judgement = judge(SomeMaps(70), truth, RULES, TAUS, TIGHT, progress=False)
        assert judgement.boxes == {}
        assert {row.score for row in rows_of(judgement, TIGHT, {0.2: 4})} == {"px_ap", "p_iou", "mask_iou"}


def test_a_protocol_that_predicts_the_class_tells_only_what_it_admits():
    ranks = np.arange(60) % 7
    judgement = judge(SomeMaps(60), some_truth(60), RULES, TAUS, ZHOU2016, ranks=ranks, progress=False)
    rows = rows_of(judgement, ZHOU2016, {0.2: 4}, None, ranks, 5)
    assert {row.score for row in rows} == {"top1_loc", "top5_loc", "top1_cls", "top5_cls"}
    assert {row.threshold for row in rows} == {0.2, None}
    assert set(curves_of(judgement, ZHOU2016)) == {"thresholds"}


def test_few_classes_listed_limit_k():
    ranks = np.zeros(60, int)
    judgement = judge(SomeMaps(60), some_truth(60), RULES, TAUS, TIGHT, ranks=ranks, progress=False)
    told = {row.score for row in rows_of(judgement, TIGHT, {}, None, ranks, 1)}
    assert told & {"top1_loc", "top5_loc", "top1_cls", "top5_cls"} == {"top1_loc", "top1_cls"}


def test_score_maps_are_taken_as_they_are():
    maps, truth = SomeMaps(10), some_truth(10)
    ready = SomeMaps(10)
    ready.maps = to_score_maps(maps.maps, (224, 224), REFERENCE)
    one, other = (
        judge(source, truth, RULES, TAUS, REFERENCE, are_score_maps=flag, progress=False)
        for source, flag in ((maps, False), (ready, True))
    )
    np.testing.assert_array_equal(one.boxes["every"].hits, other.boxes["every"].hits)
    with pytest.raises(ValueError, match=r"The score map of image '0000\d' is \(7, 7\), not \(224, 224\)"):
        judge(maps, truth, RULES, TAUS, REFERENCE, are_score_maps=True, progress=False)


def test_images_of_different_sizes_each_have_their_own_grid():
    sizes = np.array([[10, 20], [30, 15], [8, 8]])
    boxes = [np.float32([[0, 0, width, height]]) for height, width in sizes]
    truth = GroundTruth(SomeMaps(3).image_ids, np.zeros(3, int), boxes, sizes)
    frame = {name: whole_frame for name in RULES}
    judgement = judge(CenterGaussians(truth, TIGHT), truth, frame, TAUS, TIGHT, progress=False)
    assert (judgement.boxes["largest"].hits[0] == 3).all()


def test_what_cannot_be_scored_is_refused():
    truth = some_truth(3)
    empty = replace(truth, boxes=[*truth.boxes[:2], np.float32([[5, 5, 5, 9]])])
    with pytest.raises(ValueError, match="Image '00002' has an empty true box"):
        judge(SomeMaps(3), empty, RULES, TAUS, TIGHT, progress=False)
    judge(SomeMaps(3), empty, RULES, TAUS, REFERENCE, progress=False)  # whose boxes hold their last pixel
    with pytest.raises(ValueError, match="of other images"):
        judge(SomeMaps(4), truth, RULES, TAUS, TIGHT, progress=False)
    without = replace(truth, boxes=[*truth.boxes[:2], np.zeros((0, 4), np.float32)])
    with pytest.raises(ValueError, match="Image '00002' has no true box"):
        judge(SomeMaps(3), without, RULES, TAUS, REFERENCE, progress=False)
    broken = SomeMaps(3)
    broken.maps[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="image '00001' holds NaN"):
        judge(broken, truth, RULES, TAUS, TIGHT, progress=False)
    judgement = judge(SomeMaps(3), truth, RULES, TAUS, TIGHT, progress=False)
    with pytest.raises(ValueError, match=r"held-out file reads τ = 0\.123, which is not among"):
        rows_of(judgement, TIGHT, {}, {(r, d): 0.123 for r in RULES for d in (0.3, 0.5, 0.7)})
