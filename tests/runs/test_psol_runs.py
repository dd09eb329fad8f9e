"""PSOL beside the maps of a run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from box_runs import EVALUATION, BoxWorld, ledger_of
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.rise import RISE
from wsol.runs.few_shot import FewShotSettings
from wsol.runs.folder import load_record
from wsol.scoring.box_ranges import StoredBoxes
from wsol.scoring.boxes.every import every
from wsol.scoring.score import Score
from wsol.scoring.scores.pointing_game import pointing_game


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One head; to be read, not written."""
    world = BoxWorld(tmp_path_factory.mktemp("psol"))
    world.run(psol=True)
    return world


@pytest.fixture
def world(tmp_path):
    return BoxWorld(tmp_path)


def test_rows_stand_beside_those_of_the_maps(ran):
    rows = ran.rows("gap").set_index(["map", "score"])
    assert set(rows.index.get_level_values("map")) == {"cam", "psol"}
    assert set(rows.loc["psol"].index) == {"top1_cls", "gt_known_loc", "max_box_acc_v2"}  # there is no map
    assert rows.loc["psol", "value"].between(0, 1).all()
    assert rows.loc["psol", "threshold"].isna().all()
    assert rows.loc[("psol", "top1_cls"), "value"] == rows.loc[("cam", "top1_cls"), "value"]
    assert rows["status"].nunique() == 1  # what collapsed did so for both


def test_a_row_is_what_the_regressors_boxes_say(ran):
    folder = ran.folder("gap").path
    (boxes_file,), (record_file,) = folder.glob("psol/test-*"), folder.glob("records/test-psol-largest-*")
    boxes, record = StoredBoxes.load(boxes_file), load_record(record_file)
    np.testing.assert_array_equal(record.boxes, boxes.boxes)
    assert (record.best_iou == record.best_iou[:, :1]).all()
    told = ran.rows("gap").set_index(["map", "score"])["value"]
    assert told["psol", "gt_known_loc"] == (record.best_iou[:, 0] >= 0.5).mean()


def test_every_training_image_has_its_place_among_the_pseudo_boxes(ran):
    (path,) = ran.folder("gap").path.glob("psol/train-*")
    assert StoredBoxes.load(path).image_ids.tolist() == ran.splits.train.image_ids


def test_the_ledger_says_that_boxes_of_val_chose(ran):
    ledger = ledger_of(ran.written())
    assert ledger["gt_known_loc, psol"] == ["train labels", "none", "val boxes", "none", "none", "none", "none", ""]
    assert ledger["max_box_acc_v2, psol"][-1] == ""  # no threshold, so no oracle
    assert "px_ap, psol" not in ledger
    assert "top1_cls, psol" not in ledger


def test_what_it_has_no_map_for_is_not_called_missing(ran):
    written = ran.written()
    assert [(row[0].text, row[1].text) for row in written.table.rows[:2]] == [("gap", "cam"), ("gap", "psol")]
    assert not any(cell.text == "missing" for cell in written.table.rows[1])
    assert any(note.startswith("psol: a network that gives one box") for note in written.table.notes)


def test_the_same_again_makes_nothing(world):
    first = world.run(psol=True)
    files = world.files()
    pd.testing.assert_frame_equal(world.run(psol=True), first)
    assert world.files() == files


def test_a_finished_run_gets_its_rows_and_keeps_the_others(world):
    before = world.run()
    files = world.files()
    rows = world.run(psol=True)
    pd.testing.assert_frame_equal(rows[rows["map"] != "psol"], before, check_dtype=False)  # counts beside none
    assert set(rows["map"]) == {"cam", "psol"}
    changed = [path.name for path, time in files.items() if world.files()[path] != time]
    assert changed == [f"scores-{EVALUATION.key}.csv"]
    pd.testing.assert_frame_equal(world.run(), rows)  # what is there stays


@pytest.mark.parametrize(
    "pattern", ["psol/regressor-*", "psol/train-*", "psol/val-*", "psol/test-*", "records/test-psol-every-*"]
)
def test_one_deleted_artefact_is_remade_and_nothing_else(world, pattern):
    world.run(psol=True)
    files = world.files()
    (path,) = world.folder("gap").path.glob(pattern)
    path.unlink()
    world.run(psol=True)
    after = world.files()
    assert after.keys() == files.keys()
    assert [one for one in files if after[one] != files[one]] == [path]


def test_a_regressor_that_diverges_leaves_the_other_rows(world, monkeypatch, caplog):
    def diverges(*_, **__):
        raise FloatingPointError("Training on boxes diverged.")

    monkeypatch.setattr("wsol.runs.psol.train_regressor", diverges)
    assert set(world.run(psol=True)["map"]) == {"cam"}
    assert "has no rows of PSOL: Training on boxes diverged." in caplog.text
    world.run(psol=True)
    assert "diverged before" in caplog.text


def test_a_head_whose_maps_give_no_box_keeps_its_other_rows(world, monkeypatch, caplog):
    def dies(experiment, splits, classifier, *_, **__):
        torch.nn.init.zeros_(classifier.fc.weight)
        return []

    with monkeypatch.context() as patch:
        patch.setattr("wsol.runs.fit.fit", dies)
        rows = world.run(psol=True, few_shot=FewShotSettings((1,), most_steps=2))
    assert set(rows["map"]) == {"cam"}
    assert rows["value"].notna().all()
    (told,) = [one for one in caplog.records if "PSOL" in one.getMessage()]
    assert told.levelname == "WARNING"
    assert "synthetic-tiny-gap-s0" in told.getMessage()
    assert "has no rows of PSOL: No map of synthetic train has any foreground" in told.getMessage()
    assert not list(world.folder("gap").path.rglob("regressor-*"))
    assert set(world.rows("few_shot_1")["map"]) == {"saliency"}  # the job went on
    files = world.files()
    pd.testing.assert_frame_equal(world.run(psol=True), rows)
    assert world.files() == files
    world.run("gmp", psol=True)
    assert not any(cell.text == "missing" for row in world.written().table.rows for cell in row)


def test_other_maps_are_another_record():
    more = replace(EVALUATION, maps={**EVALUATION.maps, "grad_cam": GradCAM()})
    assert more.record_key("psol", "largest") != EVALUATION.record_key("psol", "largest")
    assert more.record_key("cam", "largest") == EVALUATION.record_key("cam", "largest")


def test_what_it_needs_is_told_before_training(world):
    only_every = {"boxes": {"every": every}, "scores": {"v2": EVALUATION.scores["max_box_acc_v2"]}}
    with pytest.raises(ValueError, match=r"by the rule 'largest'; choose it in `boxes` \(have \['every'\]\)"):
        world.run(psol=True, evaluation=replace(EVALUATION, **only_every))
    with pytest.raises(ValueError, match="for which rise would take hours"):
        world.run(psol=True, evaluation=replace(EVALUATION, maps={"rise": RISE(masks=2)}))
    assert not (world.results / "runs").exists()


@pytest.mark.parametrize("names", [["px_ap", "top1_cls"], ["top1_cls"], ["pointing_game"]], ids=" ".join)
def test_scores_that_read_no_predicted_box_are_told_before_training(world, names):
    scores = {**EVALUATION.scores, "pointing_game": Score(pointing_game, "largest", None, reads_map=True)}
    evaluation = replace(EVALUATION, scores={name: scores[name] for name in names})
    with pytest.raises(ValueError, match=rf"none of {', '.join(names)} reads; choose one more in `scores`, like gt_kn"):
        world.run(psol=True, evaluation=evaluation)
    assert not (world.results / "runs").exists()


def test_one_score_of_boxes_is_enough(world):
    scores = {name: EVALUATION.scores[name] for name in ("px_ap", "max_box_acc_v2")}
    rows = world.run(psol=True, evaluation=replace(EVALUATION, scores=scores))
    assert rows.loc[rows["map"] == "psol", "score"].tolist() == ["max_box_acc_v2"]
