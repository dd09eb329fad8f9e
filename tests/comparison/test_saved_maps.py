import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from seed_records import iou_record
from wsol.comparison.paired_scores import measure_one, resamples_of
from wsol.comparison.saved_maps import ScoredMap, held_out
from wsol.identity import describe
from wsol.maps.methods.cam import CAM
from wsol.runs.experiment import Evaluation
from wsol.runs.folder import RunFolder, save_frame
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import TIGHT
from wsol.scoring.record import choose_operating_point
from wsol.scoring.score import Score
from wsol.scoring.scores.coverage import coverage
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.pointing_game import pointing_game
from wsol.scoring.scores.top_k_cls import top_k_cls

ORACLE, ON_VAL = Score(max_box_acc, "largest", "oracle"), Score(gt_known_loc, "largest", "held_out")
# τ 0.25 is best on test, τ 0.5 on val.
TEST, VAL = [[0.6, 0.6, 0.1], [0.1, 0.9, 0.1], [0.1, 0.6, 0.8]], [[0.1, 0.2, 0.9], [0.1, 0.1, 0.9]]
TAUS = (0.0, 0.25, 0.5)


@pytest.fixture
def scored(tmp_path):
    """A run with one map and one box rule, saved as a run saves it."""

    def make(protocol=TIGHT):
        evaluation = Evaluation({"cam": CAM("backbone")}, {"largest": largest}, {}, TAUS, protocol)
        folder = RunFolder(tmp_path / "run")
        for split, iou, point in (("test", TEST, 2), ("val", VAL, 2)):
            file = folder.record_file(split, evaluation.record_key("cam", "largest"))
            save_frame(file, iou_record(iou, TAUS, point).to_frame())
        told = json.loads(json.dumps(describe(evaluation)))  # what is kept of it
        return ScoredMap(folder, "cam", "gap", 0, told)

    return make


def values(scored, scores):
    return {outcomes.name: outcomes.outcomes.value() for outcomes in scored.outcomes(scores)}


def test_the_records_are_found_by_what_the_run_keeps_of_its_evaluation(scored):
    saved_map = scored()
    np.testing.assert_array_equal(saved_map.record("largest").best_iou, np.float32(TEST))
    np.testing.assert_array_equal(saved_map.record("largest", "val").best_iou, np.float32(VAL))
    assert saved_map.record("every") is None
    assert saved_map.maps() is None
    assert saved_map.protocol == TIGHT


def test_an_oracle_is_followed_by_the_same_score_at_the_threshold_of_val(scored):
    result = values(scored(), {"best": ORACLE, "own": ON_VAL})
    assert result == {"best": 1.0, held_out("best"): pytest.approx(1 / 3), "own": pytest.approx(1 / 3)}


def test_without_the_record_of_val_there_is_no_twin(scored):
    saved_map = scored()
    for file in (saved_map.folder.path / "records").glob("val-*"):
        file.unlink()
    assert values(saved_map, {"best": ORACLE}) == {"best": 1.0}


def test_a_score_whose_record_is_missing_is_left_out(scored):
    assert values(scored(), {"all": replace(ORACLE, boxes="every")}) == {}


def test_a_threshold_that_is_not_stored_is_left_out_and_said(scored, caplog):
    assert values(scored(), {"at": Score(gt_known_loc, "largest", 0.3)}) == {}
    assert "τ = 0.3" in caplog.text


def test_a_protocol_that_predicts_the_class_admits_no_score_of_the_whole_map(scored):
    saved_map = scored(replace(TIGHT, name="predicting", map_class="predicted"))
    cls = Score(partial(top_k_cls, k=1), "largest", None)
    scores = {"loc": ON_VAL, "cls": cls, "pointing": Score(pointing_game, "largest", None, reads_map=True)}
    assert set(values(saved_map, scores)) == {"cls", "loc"}


def test_a_run_that_kept_no_evaluation_has_nothing(tmp_path):
    saved_map = ScoredMap(RunFolder(tmp_path), "cam", "gap", 0, {})
    assert values(saved_map, {"best": ORACLE}) == {}
    assert list(saved_map.faithfulness()) == []


class TestThresholdOfVal:
    def measured(self, tmp_path, val_images):
        """Measure a share and an oracle on random records; return them with the records."""
        rng = np.random.default_rng(0)
        taus = tuple(np.arange(6) / 6)
        iou = {split: rng.random((count, 6)).round(1) for split, count in (("test", 40), ("val", val_images))}
        evaluation = Evaluation({"cam": CAM("backbone")}, {"largest": largest}, {}, taus, TIGHT)
        folder = RunFolder(tmp_path / f"run-{val_images}")
        point = choose_operating_point(np.float32(iou["val"]))
        for split in iou:
            file = folder.record_file(split, evaluation.record_key("cam", "largest"))
            save_frame(file, iou_record(iou[split], taus, point).to_frame())
        saved_map = ScoredMap(folder, "cam", "gap", 0, json.loads(json.dumps(describe(evaluation))))
        scores = {"own": ON_VAL, "best": ORACLE, "size": Score(coverage, "largest", "held_out")}
        return measure_one(saved_map, scores), iou

    def test_every_resample_is_read_at_the_threshold_that_a_resample_of_val_chooses(self, tmp_path):
        found, iou = self.measured(tmp_path, val_images=12)
        test, val = np.float32(iou["test"]), np.float32(iou["val"])
        expected = []
        for drawn, of_val in zip(resamples_of(40).counts, resamples_of(12, seed=1).counts, strict=True):
            point = choose_operating_point(val.repeat(of_val, axis=0))
            expected.append((test.repeat(drawn, axis=0)[:, point] >= 0.5).mean())
        np.testing.assert_allclose(found["own"].replicates, expected)
        np.testing.assert_allclose(found[held_out("best")].replicates, expected)

    def test_a_score_of_boxes_is_read_at_the_chosen_threshold(self, tmp_path):
        found, _ = self.measured(tmp_path, val_images=12)
        assert found["size"].replicates.std() == 0  # the boxes of this record cover nothing
