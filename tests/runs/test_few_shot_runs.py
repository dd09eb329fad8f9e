"""Few-shot networks beside the heads of a comparison."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from box_runs import EVALUATION, BoxWorld, ledger_of
from config.saved_runs import read_run
from wsol.report.missing_runs import command_for, missing_runs
from wsol.runs.few_shot import FewShotSettings, choose_boxed
from wsol.runs.folder import load_maps, load_record
from wsol.runs.tuning import Tuned, Tuning
from wsol.training.train import TrainSettings

ONE = FewShotSettings((1,), most_steps=2)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One head with two few-shot networks; to be read, not written."""
    world = BoxWorld(tmp_path_factory.mktemp("few_shot"))
    world.run(few_shot=FewShotSettings((1, 3), most_steps=2))
    return world


@pytest.fixture
def world(tmp_path):
    return BoxWorld(tmp_path)


def test_rows_of_boxes_and_pixels_and_none_of_classes(ran):
    rows = ran.rows("few_shot_1").set_index("score")
    assert set(rows["pooling"]) == {"few_shot_1"}
    assert set(rows["map"]) == {"saliency"}
    assert set(rows.index) == set(EVALUATION.scores)
    assert np.isnan(rows.loc["top1_cls", "value"])
    assert rows["value"].drop("top1_cls").between(0, 1).all()
    assert set(rows["images"]) == {16}
    assert set(rows["comparison"]) == set(ran.rows("gap")["comparison"])


def test_the_images_of_val_that_choose_the_threshold_are_those_not_trained_on(ran):
    val, folder = ran.splits.val, ran.folder("few_shot_1")
    trained_on = {val.image_ids[place] for place in choose_boxed(val, 1, seed=0)}
    (path,) = folder.path.glob("records/val-saliency-largest-*")
    record = load_record(path)
    assert set(record.image_ids) == set(val.image_ids) - trained_on
    assert len(record.image_ids) == 8
    assert load_maps(folder.maps_file("val", "saliency")).image_ids.tolist() == record.image_ids.tolist()
    hits = (record.best_iou >= 0.5).mean(axis=0)
    assert hits[record.operating_point] == hits.max()
    (test,) = folder.path.glob("records/test-saliency-largest-*")
    assert load_record(test).operating_point == record.operating_point
    assert folder.settings()["supervision"].endswith("τ by the 8 other val images")


def test_where_none_is_left_those_trained_on_choose(ran):
    (path,) = ran.folder("few_shot_3").path.glob("records/val-saliency-largest-*")
    assert len(load_record(path).image_ids) == 12
    assert "which choose τ too" in ran.folder("few_shot_3").settings()["supervision"]


def test_the_ledger_says_that_boxes_trained(ran):
    ledger = ledger_of(ran.written())
    assert ledger["gt_known_loc"][0] == "train labels"
    assert ledger["gt_known_loc, few-shot"] == ["val boxes", "none", "none", "none", "none", "val boxes", "none", ""]
    assert ledger["max_box_acc_v2, few-shot"][-3:] == ["test boxes", "test boxes", "oracle"]
    assert ledger["max_box_acc_v2 held out, few-shot"][-3:] == ["val boxes", "test boxes", "oracle"]
    assert "top1_cls, few-shot" not in ledger


def test_the_table_tells_them_from_heads(ran):
    written = ran.written()
    assert [(row[0].text, row[1].text) for row in written.table.rows] == [
        ("gap", "cam"),
        ("few_shot_1", "saliency"),
        ("few_shot_3", "saliency"),
        ("no network", "center_gaussian"),
        ("no network", "whole_frame"),
    ]
    assert not any(cell.text == "missing" for row in written.table.rows[:3] for cell in row)
    notes = written.table.notes
    assert "Seeds: gap [0]." in notes
    (note,) = (one for one in notes if one.startswith("few_shot_1: "))
    assert "boxes of 4 val images; τ by the 8 other val images; seeds [0]" in note
    assert not any(one.startswith("Missing") for one in notes)


def test_the_first_head_is_the_base_of_differences_without_gap(world):
    for pooling in ("gap", "gmp"):
        world.run(pooling, few_shot=ONE)
    assert set(world.written().summary["pooling"]) == {"gap", "gmp", "few_shot_1", "gmp - gap", "none"}


def test_the_same_again_makes_nothing_and_a_second_head_shares_the_network(world):
    first = world.run(few_shot=ONE)
    files = world.files()
    pd.testing.assert_frame_equal(world.run(few_shot=ONE), first)
    assert world.files() == files
    world.run("gmp", few_shot=ONE)
    after = world.files()
    assert {path: after[path] for path in files} == files
    world.folder("few_shot_1")  # one
    world.run(seed=1, few_shot=ONE)
    assert len(list((world.results / "runs").glob("synthetic-tiny-few_shot_1-*"))) == 2


def test_heads_of_a_search_share_the_network_of_its_base(world):
    base = TrainSettings(epochs=1, batch_size=8)
    for pooling, lr in (("gap", 1e-3), ("gmp", 5e-3)):
        chosen = replace(base, lr=lr)
        trials = pd.DataFrame({"trial": [0], "status": "", "score": 0.5, "top1_cls": 0.5, "lr": lr, "head_lr": lr})
        trials = trials.assign(cross_entropy=1.0, max_box_acc=np.nan, seconds=1.0)
        tuned = Tuned(Tuning(trials=1), base, 0, chosen, trials)
        world.run(pooling, tuned=tuned, train=chosen, few_shot=ONE)
    settings, head = world.folder("few_shot_1").settings(), world.folder("gap").settings()
    assert settings["identity"]["train"] == base.identity()
    assert settings["identity"]["tuning"] == head["identity"]["tuning"]
    assert settings["identity"]["tuned_from"] == head["identity"]["tuned_from"] == base.identity()
    assert "tuned" not in settings


@pytest.mark.parametrize(
    "pattern",
    ["classifier.pt", "history.csv", "settings.json", "maps/test-*", "records/val-*-every-*", "records/*-pixels-*"],
)
def test_one_deleted_artefact_is_remade_and_nothing_else(world, pattern):
    world.run(few_shot=ONE)
    files = world.files()
    (path,) = world.folder("few_shot_1").path.glob(pattern)
    path.unlink()
    world.run(few_shot=ONE)
    after = world.files()
    assert after.keys() == files.keys()
    assert [one for one in files if after[one] != files[one]] == [path]


def test_a_network_that_diverges_is_told_and_left_out(world, monkeypatch, caplog):
    def diverges(*_, **__):
        raise FloatingPointError("Training on boxes diverged.")

    monkeypatch.setattr("wsol.runs.few_shot.train_saliency", diverges)
    world.run(few_shot=ONE)
    assert "It is left out of all means" in caplog.text
    rows = world.rows("few_shot_1")
    assert set(rows["status"]) == {"diverged"}
    assert rows["value"].isna().all()
    world.run(few_shot=ONE)
    assert "diverged before" in caplog.text


def test_too_few_boxes_are_told_before_training(world):
    with pytest.raises(ValueError, match=r"class 0 has 3; ask for at most 3"):
        world.run(few_shot=FewShotSettings((1, 4)))
    assert not (world.results / "runs").exists()


def test_it_is_no_classifier_to_explain(ran):
    with pytest.raises(ValueError, match="is a few-shot network, which predicts no classes"):
        read_run(ran.folder("few_shot_1").path)


def test_what_is_missing_of_it_is_trained_beside_a_head():
    runs = [{"pooling": "gap", "seed": seed, "command": "run.py pooling=gap few_shot=[1,5] seed=0"} for seed in (0, 1)]
    runs.append({"pooling": "few_shot_5", "seed": 0, "command": ""})
    ((command, pooling, seeds),) = missing_runs(runs)
    assert command_for(command, pooling, seeds) == "run.py pooling=gap 'few_shot=[5]' seed=1"


def test_a_head_lacks_no_seed_that_only_few_shot_networks_have():
    runs = [{"pooling": "gap", "seed": 0}, *({"pooling": "few_shot_5", "seed": seed} for seed in (0, 1))]
    assert list(missing_runs(runs)) == []
