from dataclasses import fields, replace

import numpy as np
import pytest

from wsol.runs.folder import load_record, save_frame
from wsol.scoring.record import LocalizationRecord, choose_operating_point
from wsol.scoring.score import Score
from wsol.scoring.scores.box_area_ratio import box_area_ratio
from wsol.scoring.scores.coverage import coverage
from wsol.scoring.scores.energy_pointing import energy_pointing
from wsol.scoring.scores.frame_share import frame_share
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.leakage import leakage
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.max_box_acc_v2 import max_box_acc_v2
from wsol.scoring.scores.pointing_game import pointing_game
from wsol.scoring.scores.top_k_cls import top_k_cls
from wsol.scoring.scores.top_k_loc import top_k_loc


def make_record(rank=(0, 2, 0, 7)) -> LocalizationRecord:
    best_iou = np.array([[0.5, 0.8, 0.0], [0.4, 0.6, 0.2], [0.3, 0.1, 0.9], [0.6, 0.2, 0.1]], dtype=np.float32)
    return LocalizationRecord(
        image_ids=np.array(["a", "b", "c", "d"]),
        class_ids=np.arange(4),
        class_rank=np.array(rank),
        best_iou=best_iou,
        boxes=np.array([[0, 0, 8, 10], [0, 0, 20, 10], [0, 0, 0, 0], [5, 0, 10, 10]], dtype=np.float32),
        true_boxes=np.array([[0, 0, 10, 10]] * 4, dtype=np.float32),
        thresholds=np.array([0.0, 0.2, 0.4]),
        operating_point=1,
        label_free=np.array([[0, 1, 2, 0, 1], [0, 1, 2, 1, 1], [2, 1, 2, 0, 1], [1, 1, 2, 1, 1]]),
        peak_distance=np.array([0, 15, 15.5, 3], dtype=np.float32),
        energy_inside=np.array([1, 0.5, 0, 0.7], dtype=np.float32),
        protocol={"name": "tight"},
        fills_frame=np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0]], dtype=bool),
        map_side=np.array([224, 224, 224, 40], dtype=np.float32),
    )


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (max_box_acc, 2 / 4),  # IoU >= 0.5: 2, 2 and 1 of 4 images
        (lambda record: max_box_acc(record, 0.3), 4 / 4),  # an IoU of exactly δ is a hit: all four at τ = 0
        (max_box_acc_v2, (4 / 4 + 2 / 4 + 1 / 4) / 3),
        (gt_known_loc, 2 / 4),  # a and b at τ 0.2
        (lambda record: top_k_loc(record, 1), 1 / 4),  # b is placed, but third
        (lambda record: top_k_loc(record, 5), 2 / 4),
        (lambda record: top_k_cls(record, 1), 2 / 4),
        (lambda record: top_k_cls(record, 5), 3 / 4),
        (pointing_game, 2 / 4),  # 15 of 224 pixels off still counts; 3 of 40 are more than 15 of 224
        (lambda record: pointing_game(record, tolerance=0), 1 / 4),
        (lambda record: pointing_game(record, tolerance=None, pixels=15), 3 / 4),  # as in the paper
        (frame_share, 3 / 4),
        (energy_pointing, (1 + 0.5 + 0 + 0.7) / 4),
        (box_area_ratio, (0.8 * 2 * 0.5) ** (1 / 3)),  # the third image has no box
        (coverage, (0.8 + 1 + 0 + 0.5) / 4),
        (leakage, (0 + 0.5 + 0 + 0) / 4),
    ],
)
def test_on_paper(score, expected):
    assert score(make_record()) == pytest.approx(expected)


def test_an_oracle_may_choose_anew_for_each_iou_threshold():
    record = make_record()
    fixed = np.mean([(record.best_iou[:, 1] >= delta).mean() for delta in (0.3, 0.5, 0.7)])
    assert max_box_acc_v2(record) > fixed


def test_without_a_classifier_class_scores_are_not_a_number():
    record = make_record(rank=(-1, -1, -1, -1))
    assert np.isnan(top_k_cls(record, 1))
    assert np.isnan(top_k_loc(record, 1))
    assert gt_known_loc(record) == 0.5


def test_boxes_that_come_from_no_map_do_not_point():
    nothing = np.full(4, np.nan, np.float32)
    record = replace(make_record(), peak_distance=nothing, energy_inside=nothing)
    assert np.isnan(pointing_game(record))
    assert np.isnan(energy_pointing(record))


def test_operating_point_is_the_best_then_the_highest_mean_iou_then_the_lowest():
    hits_tie = np.array([[0.5, 0.9, 0.4], [0.1, 0.1, 0.1]], dtype=np.float32)
    assert choose_operating_point(hits_tie) == 1
    assert choose_operating_point(np.full((3, 4), 0.6, dtype=np.float32)) == 0
    assert choose_operating_point(np.array([[0.2, 0.5], [0.4, 0.5]], dtype=np.float32)) == 1


class TestScore:
    def test_a_fixed_threshold_reads_its_own_column(self):
        score = Score(gt_known_loc, "largest", 0.4)
        assert score({"largest": make_record()}) == 1 / 4
        assert score.threshold_used({"largest": make_record()}) == 0.4
        assert score.protocol == "largest, τ 0.4"

    def test_held_out_reads_the_operating_point(self):
        score = Score(gt_known_loc, "largest", "held_out")
        assert score({"largest": make_record()}) == 2 / 4
        assert score.threshold_used({"largest": make_record()}) == 0.2

    def test_label_free_reads_each_image_at_its_own_threshold(self):
        score = Score(gt_known_loc, "largest", "label_free")
        assert score({"largest": make_record()}) == 2 / 4  # 0.5, 0.4, 0.9, 0.2
        assert score.threshold_used({"largest": make_record()}) is None
        assert score.protocol == "largest, τ by Otsu"

    def test_each_label_free_method_reads_the_threshold_that_it_chose(self):
        score = Score(gt_known_loc, "largest", "label_free_triangle")
        assert score({"largest": make_record()}) == 2 / 4  # 0.5, 0.6, 0.3, 0.2
        assert Score(gt_known_loc, "largest", "label_free_li")({"largest": make_record()}) == 1 / 4  # 0, 0.2, 0.9, 0.1
        assert score.protocol == "largest, τ by triangle"

    def test_what_reads_boxes_reads_them_where_they_were_saved(self):
        assert Score(coverage, "largest", 0.2)({"largest": make_record()}) > 0
        for policy in (0.4, "label_free"):
            with pytest.raises(ValueError, match="read this score at `held_out`"):
                Score(coverage, "largest", policy)({"largest": make_record()})

    def test_a_score_of_the_map_alone_says_so(self):
        assert Score(pointing_game, "largest", None, reads_map=True).protocol == "map alone"

    def test_a_threshold_that_is_not_stored_is_refused(self):
        with pytest.raises(ValueError, match="not among the 3 thresholds"):
            Score(gt_known_loc, "largest", 0.3)({"largest": make_record()})

    def test_boxes_that_were_not_made_are_named(self):
        with pytest.raises(ValueError, match="'every'"):
            Score(max_box_acc_v2, "every", "oracle")({"largest": make_record()})

    def test_an_unknown_policy_is_refused(self):
        with pytest.raises(ValueError, match="held_out"):
            Score(gt_known_loc, "largest", "test")


def test_a_record_survives_parquet(tmp_path):
    record = make_record()
    save_frame(tmp_path / "record.parquet", record.to_frame())
    loaded = load_record(tmp_path / "record.parquet")
    for name in (field.name for field in fields(record) if field.name not in ("operating_point", "protocol")):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(record, name))
    assert loaded.operating_point == 1
    assert loaded.protocol == {"name": "tight"}
