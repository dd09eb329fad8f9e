import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from small_evaluation import EVALUATION
from wsol.comparison.comparison import read_comparisons
from wsol.data.readers.synthetic import synthetic
from wsol.explain.faithfulness.average_drop import AverageDrop
from wsol.explain.faithfulness.insertion_deletion import InsertionDeletion
from wsol.explain.faithfulness.parameter_randomization import ParameterRandomization
from wsol.machine import Machine
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.rise import RISE
from wsol.maps.methods.smooth_grad import SmoothGrad
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.report.pictures.comparison import write_gallery
from wsol.report.table_files import write_tables
from wsol.runs.experiment import Experiment
from wsol.runs.folder import load_maps, load_record
from wsol.runs.pipeline import run_experiment
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import REFERENCE
from wsol.training.train import TrainSettings

POOLINGS = {"gap": GAP, "gmp": GMP}


class World:
    """One results folder, and counts of what was built and trained."""

    def __init__(self, folder):
        self.folder = folder
        self.splits = synthetic(
            image_size=16, num_classes=4, train_images=24, val_images=12, test_images=16, cache_dir=folder / "cache"
        )
        self.built = 0

    def run(self, pooling="gap", seed=0, evaluation=EVALUATION, splits=None, command="test", **machine):
        splits = splits or self.splits

        def build():
            self.built += 1
            return Classifier(small_cnn(channels=(4, 6)), POOLINGS[pooling](), splits.num_classes)

        experiment = Experiment(
            data="synthetic",
            backbone="tiny",
            pooling=pooling,
            seed=seed,
            settings={"data": {"size": 16}, "backbone": {"channels": [4, 6]}, "pooling": {"name": pooling}},
            train=TrainSettings(epochs=2, batch_size=8),
            image_size=16,
            pooling_layer=POOLINGS[pooling](),
        )
        settings = Machine(self.folder / "results", accelerator="cpu", progress=False, **machine)
        return run_experiment(experiment, splits, build, evaluation, settings, command=command)

    def files(self):
        """Path -> time of its last change, of every artefact."""
        paths = (self.folder / "results" / "runs").rglob("*")
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file() and path.name != ".lock"}

    @property
    def run_folder(self):
        (found,) = (self.folder / "results" / "runs").glob("synthetic-tiny-*")
        return found


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_one_run_leaves_everything_that_was_asked_for(world):
    rows = world.run()
    names = {path.relative_to(world.run_folder).as_posix() for path in world.run_folder.rglob("*") if path.is_file()}
    assert {"settings.json", "classifier.pt", "history.csv"} <= names
    assert {"predictions-val.parquet", "predictions-test.parquet"} <= names
    assert {f"scores-{EVALUATION.key}.csv", f"protocol-{EVALUATION.key}.json"} <= names
    assert len([name for name in names if name.startswith("maps/")]) == 2 * 2  # splits x maps
    assert len([name for name in names if name.startswith("records/")]) == 2 * 2 * 2  # and box rules
    assert "training.ckpt" not in names
    assert not [name for name in names if ".part" in name]
    assert len(rows) == 2 * 5  # maps x scores
    assert rows["value"].between(0, 1).all()
    assert set(rows["images"]) == {16}
    assert json.loads((world.run_folder / "settings.json").read_text())["command"] == "test"


def test_per_image_outcomes_are_in_parquet(world):
    world.run()
    (path,) = world.run_folder.glob("records/test-cam-largest-*.parquet")
    frame = pd.read_parquet(path)
    told = ["image_id", "class_id", "class_rank", "best_iou", "box", "true_box", "label_free"]
    assert list(frame.columns) == [*told, "peak_distance", "energy_inside", "fills_frame", "map_side"]
    assert frame.attrs["protocol"] == EVALUATION.describe_record("largest")
    assert frame["image_id"].tolist() == world.splits.test.image_ids
    assert len(frame["best_iou"][0]) == 10
    assert len(frame["box"][0]) == len(frame["true_box"][0]) == 4


def test_rows_are_what_the_records_say(world):
    rows = world.run().set_index(["map", "score"])
    (path,) = world.run_folder.glob("records/test-cam-largest-*.parquet")
    record = load_record(path)
    assert rows.loc[("cam", "gt_known_loc_20"), "value"] == (record.best_iou[:, 2] >= 0.5).mean()
    (val_path,) = world.run_folder.glob("records/val-cam-largest-*.parquet")
    hits = (load_record(val_path).best_iou >= 0.5).mean(axis=0)
    assert hits[record.operating_point] == hits.max()  # val chose
    assert rows.loc[("cam", "gt_known_loc"), "threshold"] == pytest.approx(record.thresholds[record.operating_point])


def test_the_same_again_makes_nothing_and_says_the_same(world):
    first, files, built = world.run(), world.files(), world.built
    again = world.run()
    pd.testing.assert_frame_equal(first, again)
    assert world.files() == files
    assert world.built == built == 1


def test_maps_and_predictions_are_read_once(world, monkeypatch):
    world.run()
    for path in [*world.run_folder.glob("records/*"), *world.run_folder.glob("scores-*")]:
        path.unlink()
    read = []

    def counted(load):
        return lambda path: read.append(path) or load(path)

    monkeypatch.setattr("wsol.runs.artifacts.load_maps", counted(load_maps))
    monkeypatch.setattr(pd, "read_parquet", counted(pd.read_parquet))
    world.run()
    assert sorted(read) == sorted([*world.run_folder.glob("maps/*"), *world.run_folder.glob("predictions-*")])


def test_a_second_seed_and_pooling_share_the_baselines(world):
    world.run()
    files = world.files()
    world.run(pooling="gmp")
    world.run(seed=1)
    after = world.files()
    assert {path: after[path] for path in files} == files
    assert len(list((world.folder / "results" / "runs").glob("synthetic-baselines-*"))) == 1


ARTEFACTS = [
    "classifier.pt",
    "history.csv",
    "settings.json",
    "predictions-val.parquet",
    "predictions-test.parquet",
    "maps/val-cam-*",
    "maps/test-grad_cam-*",
    "records/val-cam-largest-*",
    "records/test-cam-every-*",
    "scores-*.csv",
    "protocol-*.json",
]


@pytest.mark.parametrize("pattern", ARTEFACTS)
def test_one_deleted_artefact_is_remade_and_nothing_else(world, pattern):
    first, files = world.run(), world.files()
    (path,) = world.run_folder.glob(pattern)
    before = content(path)
    path.unlink()
    again = world.run()
    after = world.files()
    assert after.keys() == files.keys()
    assert [one for one in files if after[one] != files[one]] == [path]
    pd.testing.assert_frame_equal(first.drop(columns="commit"), again.drop(columns="commit"))
    if path.suffix in (".parquet", ".csv", ".npz") and path.name != "history.csv":
        assert content(path) == before


def content(path):
    """What a file says, less the seconds that making it took."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: (array.dtype, array.tobytes()) for name, array in arrays.items() if name != "seconds"}
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        return frame.to_json(), {name: value for name, value in frame.attrs.items() if name != "seconds"}
    return path.read_bytes()


@pytest.mark.parametrize("pattern", [one for one in ARTEFACTS if one not in ("history.csv", "settings.json")])
def test_a_damaged_artefact_is_remade_and_named(world, pattern, caplog):
    first = world.run()
    (path,) = world.run_folder.glob(pattern)
    path.write_bytes(path.read_bytes()[:20])
    if pattern == "classifier.pt":  # nobody reads it while all that was made with it is there
        next(world.run_folder.glob("maps/test-cam-*")).unlink()
    if pattern.startswith("predictions-") or pattern.startswith("maps/"):
        for record in world.run_folder.glob("records/*"):
            record.unlink()
    again = world.run()
    assert path.name in caplog.text
    assert "the run that needs it makes it again" in caplog.text
    pd.testing.assert_frame_equal(first.drop(columns="commit"), again.drop(columns="commit"))


@pytest.mark.parametrize("stop_at", range(1, 22, 2))
def test_a_job_killed_at_any_moment_continues(world, monkeypatch, stop_at):
    """Kill before the n-th file is put in place, then run again."""
    import os

    expected = World(world.folder / "uninterrupted")
    expected_rows = expected.run()

    class Killed(BaseException):
        pass

    count, real = 0, os.replace

    def dies(source, target):
        nonlocal count
        count += 1
        if count == stop_at:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(Killed):
        world.run()
    monkeypatch.undo()
    rows = world.run()
    timed = ["commit", "forward_ms", "ms_per_image"]
    pd.testing.assert_frame_equal(rows.drop(columns=timed), expected_rows.drop(columns=timed))
    mine, theirs = torch.load(world.run_folder / "classifier.pt"), torch.load(expected.run_folder / "classifier.pt")
    assert all(torch.equal(mine["classifier"][key], theirs["classifier"][key]) for key in theirs["classifier"])


def test_a_new_protocol_replays_from_disk_without_the_network(world):
    world.run()
    built = world.built
    finer = replace(EVALUATION, thresholds=tuple((np.arange(20) / 20).tolist()), protocol=REFERENCE)
    rows = world.run(evaluation=finer)
    assert world.built == built
    assert rows["protocol_key"].iloc[0] == finer.key != EVALUATION.key


def test_a_new_map_method_asks_the_network_for_that_map_alone(world):
    world.run(evaluation=replace(EVALUATION, maps={"cam": CAM()}))
    (cam_file,) = world.run_folder.glob("maps/test-cam-*")
    before = cam_file.stat().st_mtime_ns
    world.run()
    assert cam_file.stat().st_mtime_ns == before
    assert len(list(world.run_folder.glob("maps/test-grad_cam-*"))) == 1
    assert len(list((world.folder / "results" / "runs").glob("synthetic-tiny-*"))) == 1  # the same classifier


def test_other_images_are_another_run(world):
    world.run()
    other = synthetic(
        image_size=16, num_classes=4, train_images=28, val_images=12, test_images=16, cache_dir=world.folder / "cache"
    )
    world.run(splits=other)
    assert len(list((world.folder / "results" / "runs").glob("synthetic-tiny-*"))) == 2


def test_stored_maps_are_float16_on_the_networks_grid(world):
    world.run()
    (path,) = world.run_folder.glob("maps/test-cam-*")
    maps = load_maps(path)
    assert maps.values.shape == (16, 8, 8)
    assert maps.values.dtype == np.float16


def test_baselines_are_rows_of_the_same_table(world):
    world.run()
    (comparison,) = read_comparisons(world.folder / "results")
    rows = comparison.rows.set_index(["map", "score"])["value"]
    truth = [world.splits.test[index].boxes for index in range(16)]
    from wsol.geometry import box_iou

    frame_iou = np.array([box_iou([[0, 0, 16, 16]], boxes).max() for boxes in truth])
    assert rows["whole_frame", "gt_known_loc"] == (frame_iou >= 0.5).mean()
    assert rows["center_gaussian", "max_box_acc"] >= rows["center_gaussian", "gt_known_loc"]
    assert np.isnan(rows["whole_frame", "top1_cls"])


def test_the_picture_is_drawn_once_and_again_when_the_runs_change(world):
    world.run()
    results = world.folder / "results"

    def draw():
        (comparison,) = read_comparisons(results)
        path = write_gallery(results, comparison, EVALUATION, world.splits)
        return path, path.stat().st_mtime_ns

    path, first = draw()
    assert path.read_bytes().startswith(b"\x89PNG")
    assert draw() == (path, first)
    world.run(pooling="gmp")
    assert draw()[1] > first
    path.write_bytes(b"damaged")
    assert draw()[0].read_bytes().startswith(b"\x89PNG")


def test_tables_come_out_in_three_formats(world, tmp_path):
    world.run()
    world.run(pooling="gmp")
    (comparison,) = read_comparisons(world.folder / "results")
    paths = write_tables(world.folder / "results", comparison, tmp_path)
    assert set(paths) == {"csv", "md", "tex"}
    markdown = paths["md"].read_text(encoding="utf-8")
    for text in (
        "gmp − gap",
        "whole_frame",
        "max_box_acc (τ on test)",
        "gt_known_loc (τ on val)",
        "Command: `test`",
        "Protocol `tight`: maps of the true class, bicubic to the image's size",
        "largest by max_box_acc",
    ):
        assert text in markdown
    long = pd.read_csv(paths["csv"], keep_default_na=False)
    assert set(long["protocol"]) == {
        "no box",
        "tight: largest, τ on test",
        "tight: every, τ on test",
        "tight: largest, τ on val",
        "tight: largest, τ 0.2",
    }
    assert r"\toprule" in paths["tex"].read_text(encoding="utf-8")


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.2), (0.0, 1.0), (-0.1,), (0.2, 0.2)])
def test_bad_thresholds_are_refused(thresholds):
    with pytest.raises(ValueError, match="thresholds must ascend"):
        replace(EVALUATION, thresholds=thresholds)


def test_a_score_whose_boxes_are_not_made_is_named():
    with pytest.raises(ValueError, match="Score 'max_box_acc_v2' reads boxes 'every'"):
        replace(EVALUATION, boxes={"largest": largest})


def test_a_fixed_threshold_off_the_grid_is_named_before_anything_is_trained():
    with pytest.raises(ValueError, match=r"'gt_known_loc_20' reads τ = 0\.2"):
        replace(EVALUATION, thresholds=(0.0, 0.3))


def test_maps_of_other_images_are_refused(world):
    world.run()
    (test_maps,) = world.run_folder.glob("maps/test-cam-*")
    (val_maps,) = world.run_folder.glob("maps/val-cam-*")
    shutil.copy(val_maps, test_maps)
    for record in world.run_folder.glob("records/test-*"):
        record.unlink()
    with pytest.raises(ValueError, match="maps are of other images"):
        world.run()


def test_a_table_names_the_command_that_scored_it_beside_the_one_that_trained(world, tmp_path):
    world.run()
    other = replace(EVALUATION, protocol=REFERENCE)
    world.run(evaluation=other, command="scored again")
    names = {}
    for comparison in read_comparisons(world.folder / "results"):
        paths = write_tables(world.folder / "results", comparison, tmp_path)
        names[comparison.name] = paths["md"].read_text(encoding="utf-8")
    (again,) = [text for name, text in names.items() if name.endswith(other.key)]
    assert "Command: training `test`, scores `scored again`." in again
    assert "Protocol `reference`: maps of the true class, bicubic to 224 x 224 pixels" in again
    (first,) = [text for name, text in names.items() if name.endswith(EVALUATION.key)]
    assert "Command: `test`." in first
    world.run_folder.joinpath(f"protocol-{other.key}.json").unlink()
    (bare,) = [one for one in read_comparisons(world.folder / "results") if one.name.endswith(other.key)]
    with pytest.raises(ValueError, match="run the same command again"):
        write_tables(world.folder / "results", bare, tmp_path)
    world.run(evaluation=other, command="and again")
    assert world.run_folder.joinpath(f"protocol-{other.key}.json").exists()
    (rows,) = world.run_folder.glob(f"scores-{other.key}.csv")
    rows.unlink()
    world.run(evaluation=other, command="the last")  # made these rows, and so is named
    told = world.run_folder.joinpath(f"protocol-{other.key}.json").read_text(encoding="utf-8")
    assert json.loads(told)["command"] == "the last"


def test_facts_of_the_maps_stand_in_every_row(world):
    rows = world.run()
    assert (rows["ms_per_image"] > 0).all()
    assert (rows["forward_ms"] > 0).all()
    claims = rows.groupby("map")["same_as"].agg(set).to_dict()
    assert claims == {"cam": {""}, "grad_cam": {"same as cam up to ReLU"}}
    assert rows[["constant_maps", "zero_maps", "one_pixel_maps"]].notna().all(axis=None)


FAITHFUL = replace(
    EVALUATION,
    maps={"cam": CAM(), "eigen_cam": EigenCAM()},
    faithfulness={
        "average_drop": AverageDrop(),
        "insertion_deletion": InsertionDeletion(steps=4, blur_kernel=3),
        "parameter_randomization": ParameterRandomization(mode="head"),
    },
)


def test_faithfulness_is_measured_once_and_stands_beside_localization(world):
    rows = world.run(evaluation=FAITHFUL)
    told = rows[rows["protocol"].str.startswith("faithfulness")].pivot(index="map", columns="score", values="value")
    columns = ["average_drop", "deletion_auc", "increase_in_confidence", "insertion_auc", "randomization_similarity"]
    assert told.columns.tolist() == columns
    assert told.loc["eigen_cam", "randomization_similarity"] == pytest.approx(1, abs=1e-3)  # it asks for no class
    assert told.loc["cam", "randomization_similarity"] < 0.9
    assert told[columns[:4]].stack().between(0, 1).all()
    files = world.files()
    assert len([path for path in files if path.parent.name == "faithfulness"]) == 2 * 3
    for path in files:
        if path.name == "scores-" + FAITHFUL.key + ".csv" or "test-cam-average_drop" in path.name:
            path.unlink()
    again = world.run(evaluation=FAITHFUL)
    pd.testing.assert_frame_equal(again.drop(columns="commit"), rows.drop(columns="commit"))
    changed = {path.name for path, time in world.files().items() if files[path] != time}
    assert len(changed) == 2
    (comparison,) = read_comparisons(world.folder / "results")
    text = write_tables(world.folder / "results", comparison, world.folder)["md"].read_text(encoding="utf-8")
    assert "| average_drop (lower is better)" in text
    assert "| insertion_auc (higher is better)" in text
    assert "Faithfulness: means over the test images" in text
    assert "missing" not in text  # a baseline has nothing to be faithful to


def test_an_optimized_network_has_files_of_its_own(world):
    plain = world.run()
    files = world.files()
    optimized = replace(EVALUATION, optimized=True)
    rows = world.run(evaluation=optimized)
    assert all(world.files()[path] == time for path, time in files.items())
    assert (world.run_folder / "predictions-test-optimized.parquet").exists()
    assert len(list(world.run_folder.glob("maps/test-cam-*"))) == 2
    pd.testing.assert_series_equal(rows["value"], plain["value"], atol=0.1)  # float32 rounds otherwise, no more
    assert set(rows["protocol_key"]).isdisjoint(plain["protocol_key"])
    world.run(evaluation=optimized)
    assert all(world.files()[path] == time for path, time in files.items())


def test_a_wrong_target_layer_is_told_before_training(world, monkeypatch):
    monkeypatch.setattr("wsol.runs.fit.train", None)  # it is never reached
    with pytest.raises(ValueError, match=r"no layer 'backbone\.blok1'; close names: backbone\.block1"):
        world.run(evaluation=replace(EVALUATION, maps={"grad_cam": GradCAM(target_layer="backbone.blok1")}))
    assert not list(world.run_folder.glob("*.pt"))
    with pytest.raises(ValueError, match="CAM needs one fc weight per channel"):
        world.run(evaluation=replace(EVALUATION, maps={"cam": CAM(target_layer="backbone.block1")}))


def test_what_a_slow_method_breaks_off_is_not_lost(world, monkeypatch):
    slow = replace(EVALUATION, maps={"rise": RISE(masks=3), "cam": CAM(), "smooth_grad": SmoothGrad(samples=2)})

    def fails(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(SmoothGrad, "maps", fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            world.run(evaluation=slow)
    kept = {path: time for path, time in world.files().items() if "maps/val" in path.as_posix()}
    assert sorted(path.name.rsplit("-", 1)[0] for path in kept) == ["val-cam", "val-rise"]
    world.run(evaluation=slow)
    assert all(world.files()[path] == time for path, time in kept.items())
