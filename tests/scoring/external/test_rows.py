"""One pass over maps gives what records and scores give, whatever the threads and the number of images."""

import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from wsol import threads
from wsol.data.ground_truth import OBJECT, GroundTruth, same_size
from wsol.scoring.baselines import CenterGaussians, whole_frame
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.external.rows import Choice, ScoreTable
from wsol.scoring.match_maps import make_record, match_maps
from wsol.scoring.pixel_scores import px_ap, score_histograms
from wsol.scoring.protocol import REFERENCE, TIGHT, ZHOU2016
from wsol.scoring.record import PixelRecord, choose_operating_point
from wsol.scoring.score import Score
from wsol.scoring.score_map import to_score_maps
from wsol.scoring.scores.box_area_ratio import box_area_ratio
from wsol.scoring.scores.coverage import coverage
from wsol.scoring.scores.energy_pointing import energy_pointing
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.leakage import leakage
from wsol.scoring.scores.mask_iou import mask_iou
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.max_box_acc_v2 import max_box_acc_v2
from wsol.scoring.scores.p_iou import p_iou
from wsol.scoring.scores.pointing_game import pointing_game
from wsol.scoring.scores.px_ap import px_ap as px_ap_score
from wsol.scoring.scores.top_k_cls import top_k_cls
from wsol.scoring.scores.top_k_loc import top_k_loc
from wsol.scoring.stream_scores import Reading, SplitMaps
from wsol.scoring.thresholds import threshold_grid

RULES = {"largest": largest, "every": every}
SIZE = np.array([18, 14])
TAUS = threshold_grid(0.05)
SCORES = {
    "max_box_acc": Score(max_box_acc, "largest", "oracle"),
    "max_box_acc_v2": Score(max_box_acc_v2, "every", "oracle"),
    "gt_known_loc": Score(gt_known_loc, "largest", "held_out"),
    "gt_known_loc_20": Score(partial(gt_known_loc, iou_threshold=0.5), "largest", 0.2),
    "gt_known_loc_otsu": Score(gt_known_loc, "largest", "label_free"),
    "gt_known_loc_li": Score(gt_known_loc, "largest", "label_free_li"),
    "gt_known_loc_iou30": Score(partial(gt_known_loc, iou_threshold=0.3), "largest", "held_out"),
    "pointing_game": Score(pointing_game, "largest", None, reads_map=True),
    "energy_pointing": Score(energy_pointing, "largest", None, reads_map=True),
    "box_area_ratio": Score(box_area_ratio, "largest", "held_out"),
    "coverage": Score(coverage, "largest", "held_out"),
    "leakage": Score(leakage, "largest", "held_out"),
    "px_ap": Score(px_ap_score, "pixels", None, reads_map=True),
    "p_iou": Score(p_iou, "pixels", "oracle", reads_map=True),
    "mask_iou": Score(mask_iou, "pixels", "oracle", reads_map=True),
}
for k in (1, 5):
    SCORES[f"top{k}_cls"] = Score(partial(top_k_cls, k=k), "largest", None)
    for suffix, policy in (("", "held_out"), ("_otsu", "label_free")):
        SCORES[f"top{k}_loc{suffix}"] = Score(partial(top_k_loc, k=k), "largest", policy, needs_class=True)
HELD_OUT = {(rule, delta): 0.3 for rule in RULES for delta in (0.3, 0.5, 0.7)}


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


def table_of(maps, truth, protocol, ranks=None, rules=RULES, taus=TAUS, points=(), scores=SCORES, **options):
    split = SplitMaps(maps, truth, ranks, **options)
    return ScoreTable.of(split, scores, Reading(rules, taus, protocol, points), progress=False)


def values(rows, tau=None):
    return {(row.score, row.boxes, row.iou_threshold): row.value for row in rows if tau in (None, row.tau)}


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE])
def test_it_says_what_records_and_scores_say(protocol):
    maps, truth = SomeMaps(90), some_truth(90)
    ranks = np.random.default_rng(2).integers(0, 8, 90)
    table = table_of(maps, truth, protocol, ranks, points=[4])
    rows = table.rows(Choice({0.2: 4}, HELD_OUT, 9))
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
    by_li = values(rows, "label_free_li")
    assert by_li == {("gt_known_loc", "largest", 0.5): gt_known_loc(one.label_free_view("label_free_li"))}
    np.testing.assert_array_equal(table.streamed.label_free, one.label_free)
    right = one.best_iou[ranks < 5] >= 0.5
    assert oracle["top5_loc", "largest", 0.5] == right.sum(axis=0).max() / 90
    for score in (box_area_ratio, coverage, leakage):
        assert held_out[score.__name__, "largest", None] == pytest.approx(score(one))
    alone = values(rows, "")
    assert alone["pointing_game", "", None] == pointing_game(one)
    assert alone["energy_pointing", "", None] == energy_pointing(one)  # to the last digit
    assert alone["top1_cls", "", None] == (ranks == 0).mean()
    np.testing.assert_array_equal(table.streamed.point_iou["every"][:, 0], all_of.best_iou[:, 4])
    assert table.curves()["every"]["0.3"] == (all_of.best_iou >= 0.3).mean(axis=0).tolist()


def test_threads_change_nothing(monkeypatch):
    maps, truth = SomeMaps(300), some_truth(300)
    results = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "processors", lambda count=count: count)
        streamed = table_of(maps, truth, REFERENCE, points=[3]).streamed
        results.append((streamed, match_maps(maps, truth, every, TAUS, REFERENCE)))
    (streamed, matches), *others = results
    for other, other_matches in others:
        for name, total in streamed.totals.items():
            np.testing.assert_array_equal(total.sums, other.totals[name].sums)
            assert total.images == 300
        np.testing.assert_array_equal(streamed.label_free, other.label_free)
        for name, array in vars(matches).items():
            np.testing.assert_array_equal(array, vars(other_matches)[name])


def test_memory_does_not_grow_with_images_times_thresholds(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    taus = threshold_grid(0.001)

    def peak(count):
        maps, truth = SomeMaps(count), some_truth(count)
        tracemalloc.start()
        table_of(maps, truth, TIGHT, rules={"every": every}, taus=taus)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    table_of(SomeMaps(2), some_truth(2), TIGHT, rules={"every": every}, taus=taus)
    # A few batches are worked on at a time, more or less as the threads happen to run: some MB, however many images.
    few, many = peak(400), peak(6400)
    assert many - few < 6000 * 1000 * 4 / 2  # half of what the IoU of each image at each threshold would take


def test_a_new_score_is_a_row_at_once():
    scores = {
        "strict": Score(partial(gt_known_loc, iou_threshold=0.9), "largest", "held_out"),
        "own": Score(partial(max_box_acc, iou_threshold=0.6), "every", "oracle"),
    }
    maps, truth = SomeMaps(70), some_truth(70)
    rows = table_of(maps, truth, TIGHT, scores=SCORES | scores).rows(Choice({0.2: 4}, HELD_OUT))
    matches = {name: match_maps(maps, truth, rule, TAUS, TIGHT) for name, rule in RULES.items()}
    strict = (matches["largest"].best_iou >= 0.9).mean(axis=0)
    assert [(row.score, row.tau) for row in rows[-4:]] == [
        ("own", "oracle"),
        ("strict", "oracle"),
        ("strict", "held_out"),
        ("strict", "fixed"),
    ]
    own, *others = (row.value for row in rows[-4:])
    assert own == (matches["every"].best_iou >= 0.6).mean(axis=0).max()
    assert others == [strict.max(), strict[6], strict[4]]
    assert "gt_known_loc_iou30" not in {row.score for row in rows}  # the rows of box_acc contain it


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
        table = table_of(maps, truth, TIGHT)
        score_maps = to_score_maps(maps.maps, (40, 50))
        histograms = [score_histograms(*pair, TAUS) for pair in zip(score_maps, masks, strict=True)]
        found = values(table.rows(Choice({})))
        assert found["px_ap", "", None] == px_ap(np.sum(histograms, axis=0))
        above = [[(scores >= tau) for tau in TAUS] for scores in score_maps]
        both = np.array([[(mask & a).sum() for a in of] for of, mask in zip(above, masks, strict=True)])
        either = np.array([[(mask | a).sum() for a in of] for of, mask in zip(above, masks, strict=True)])
        assert found["p_iou", "", None] == pytest.approx((both.sum(0) / either.sum(0)).max())
        assert found["mask_iou", "", None] == pytest.approx((both / either).mean(0).max())
        assert table.curves()["mask_iou"] == pytest.approx((both / either).mean(0))
        record = PixelRecord(truth.image_ids, truth.class_ids, truth.class_ids, np.stack(histograms), TAUS)
        for score in (p_iou, mask_iou):  # as a run computes them
            assert found[score.__name__, "", None] == pytest.approx(score(record), abs=1e-12)

    def test_masks_alone_are_enough(self, masked):
        truth = replace(masked[0], boxes=[np.zeros((0, 4), np.float32)] * 70)
        ranks = np.zeros(70, int)
        rows = table_of(SomeMaps(70), truth, TIGHT, ranks).rows(Choice({0.2: 4}, classes_listed=1))
        assert [row.score for row in rows] == ["top1_cls", "px_ap", "p_iou", "mask_iou"]


def test_a_protocol_that_predicts_the_class_gives_only_what_it_admits():
    ranks = np.arange(60) % 7
    table = table_of(SomeMaps(60), some_truth(60), ZHOU2016, ranks)
    rows = table.rows(Choice({0.2: 4}, classes_listed=5))
    of_boxes = {"box_area_ratio", "coverage", "leakage"}
    assert {row.score for row in rows} == {"gt_known_loc", "top1_loc", "top5_loc", "top1_cls", "top5_cls"} | of_boxes
    assert {row.threshold for row in rows} == {0.2, None}
    assert set(table.curves()) == {"thresholds"}


def test_few_classes_listed_limit_k():
    rows = table_of(SomeMaps(60), some_truth(60), TIGHT, np.zeros(60, int)).rows(Choice({}, classes_listed=1))
    names = {row.score for row in rows}
    assert names & {"top1_loc", "top5_loc", "top1_cls", "top5_cls"} == {"top1_loc", "top1_cls"}


def test_without_a_box_at_a_threshold_boxes_are_not_described():
    maps = SomeMaps(3)
    maps.maps[:] = 1
    rows = table_of(maps, some_truth(3), TIGHT).rows(Choice({0.2: 4}))
    assert {row.score for row in rows} & {"box_area_ratio", "coverage", "leakage"} == set()


def test_score_maps_are_taken_as_they_are():
    maps, truth = SomeMaps(10), some_truth(10)
    ready = SomeMaps(10)
    ready.maps = to_score_maps(maps.maps, (224, 224), REFERENCE)
    made = table_of(maps, truth, REFERENCE)
    given = table_of(ready, truth, REFERENCE, are_score_maps=True)
    assert made.curves() == given.curves()
    with pytest.raises(ValueError, match=r"The score map of image '0000\d' is \(7, 7\), not \(224, 224\)"):
        table_of(maps, truth, REFERENCE, are_score_maps=True)


def test_images_of_different_sizes_each_have_their_own_grid():
    sizes = np.array([[10, 20], [30, 15], [8, 8]])
    boxes = [np.float32([[0, 0, width, height]]) for height, width in sizes]
    truth = GroundTruth(SomeMaps(3).image_ids, np.zeros(3, int), boxes, sizes)
    frame = {name: whole_frame for name in RULES}
    table = table_of(CenterGaussians(truth, TIGHT), truth, TIGHT, rules=frame)
    assert set(table.curves()["largest"]["0.7"]) == {1}


def test_what_cannot_be_scored_is_refused():
    truth = some_truth(3)
    empty = replace(truth, boxes=[*truth.boxes[:2], np.float32([[5, 5, 5, 9]])])
    with pytest.raises(ValueError, match="Image '00002' has an empty true box"):
        table_of(SomeMaps(3), empty, TIGHT)
    table_of(SomeMaps(3), empty, REFERENCE)  # whose boxes hold their last pixel
    with pytest.raises(ValueError, match="of other images"):
        table_of(SomeMaps(4), truth, TIGHT)
    without = replace(truth, boxes=[*truth.boxes[:2], np.zeros((0, 4), np.float32)])
    with pytest.raises(ValueError, match="Image '00002' has no true box"):
        table_of(SomeMaps(3), without, REFERENCE)
    broken = SomeMaps(3)
    broken.maps[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="image '00001' holds NaN"):
        table_of(broken, truth, TIGHT)
    with pytest.raises(ValueError, match=r"held-out file reads τ = 0\.123, which is not among"):
        table_of(SomeMaps(3), truth, TIGHT).rows(Choice({}, dict.fromkeys(HELD_OUT, 0.123)))
