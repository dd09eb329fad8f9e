"""Runs of heads, methods and searches, from data to table."""

import json
import os
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch

from small_evaluation import EVALUATION
from wsol.comparison.claim import Claim, answer
from wsol.comparison.comparison import measure, read_comparisons
from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.networks.pooling.gmp import GMP
from wsol.report.page import answers_of
from wsol.report.table_files import write_tables
from wsol.runs.experiment import Experiment
from wsol.runs.head_name import HeadName
from wsol.runs.pipeline import run_experiment
from wsol.runs.search import tune
from wsol.runs.tuning import Tuning
from wsol.training.methods.has import HaS
from wsol.training.train import PLAIN, TrainSettings

POOLINGS = {"gap": GAP, "gmp": GMP}
SMALL = replace(EVALUATION, maps={"cam": EVALUATION.maps["cam"]})
TRAIN = TrainSettings(epochs=2, batch_size=8)
CLAIM = Claim(
    "GMP localizes better.",
    EVALUATION.protocol.name,
    {"gt_known_loc": EVALUATION.scores["gt_known_loc"]},
    "greater",
    0.01,
    "a test",
    {"pooling": "gmp", "map": "cam"},
    {"pooling": "gap", "map": "cam"},
)


class World:
    def __init__(self, folder):
        self.results = folder / "results"
        self.built = 0
        self.splits = synthetic(
            image_size=16, num_classes=4, train_images=24, val_images=12, test_images=16, cache_dir=folder / "cache"
        )
        self.machine = Machine(self.results, accelerator="cpu", progress=False)

    def experiment(self, head, seed=0, train=TRAIN, method=PLAIN):
        name = HeadName.read(head)
        pooling = POOLINGS[name.pooling]()
        settings = {"data": {"size": 16}, "backbone": {"channels": [4, 6]}, "pooling": {"name": name.pooling}}
        settings |= {"pool_site": "scores"} if name.on_scores else {}
        settings |= {"method": {"name": name.method}} if name.method else {}
        trained = Experiment(
            data="synthetic",
            backbone="tiny",
            pooling=str(replace(name, tested_as="")),
            seed=seed,
            settings=settings,
            train=train,
            image_size=16,
            pooling_layer=pooling,
            pool_site="scores" if name.on_scores else "features",
            method=method,
        )
        if not name.tested_as:
            return trained
        return replace(
            trained,
            pooling=head,
            settings={**settings, "pooling_at_test": {"name": name.tested_as}},
            pooling_layer=POOLINGS[name.tested_as](),
            trained_as=trained,
        )

    def build(self, experiment):
        def made():
            self.built += 1
            trained = experiment.trained_as or experiment
            classifier = Classifier(small_cnn(channels=(4, 6)), trained.pooling_layer, 4, trained.pool_site)
            return experiment.method.attach(classifier)

        return made

    def run(self, head, **kwargs):
        experiment = self.experiment(head, **kwargs)
        return run_experiment(experiment, self.splits, self.build(experiment), SMALL, self.machine, command="test")

    def tuned_run(self, head, tuning, seed=0):
        experiment = self.experiment(head, seed)
        tuned = tune(experiment, self.splits, self.build(experiment), tuning, self.machine)
        trained = experiment.tuned_by(tuned)
        return run_experiment(trained, self.splits, self.build(trained), SMALL, self.machine, command="test")

    def folders(self):
        return sorted(path.name for path in (self.results / "runs").iterdir() if "baselines" not in path.name)

    def table(self):
        (comparison,) = read_comparisons(self.results)
        return write_tables(self.results, comparison, self.results)["md"].read_text(encoding="utf-8")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_of_two_runs_of_one_head_and_seed_the_newer_stands(world, caplog):
    kept = world.run("gap").set_index("score")["value"]
    (folder,) = world.folders()
    older = world.results / "runs" / f"{folder}-old"
    shutil.copytree(older.with_name(folder), older)
    (scores,) = older.glob("scores-*.csv")
    pd.read_csv(scores, keep_default_na=False).assign(run=older.name, value=0.0).to_csv(scores, index=False)
    os.utime(older / "settings.json", (1, 1))
    (comparison,) = read_comparisons(world.results)
    rows = comparison.rows.set_index("score")
    assert set(rows.loc[rows["pooling"] == "gap", "run"]) == {folder}
    assert rows.loc[rows["pooling"] == "gap", "value"].to_dict() == pytest.approx(kept.to_dict())
    assert f"{older.name}, which is gap with seed 0 as the newer {folder} is; delete the folder of one" in caplog.text


def test_max_pooling_of_features_and_of_scores_are_two_lines_of_one_table(world):
    rows = pd.concat([world.run("gmp"), world.run("gmp_on_scores")])
    assert rows["comparison"].nunique() == 1
    assert rows["run"].nunique() == 2
    table = world.table()
    assert "| gmp " in table
    assert "| gmp_on_scores " in table
    exact = rows.set_index("pooling")["exact"]
    assert set(exact["gmp_on_scores"]) == {"pooled"}
    assert set(exact["gmp"]) == {""}


def test_another_pooling_at_test_trains_nothing_and_is_a_line_of_its_own(world):
    trained = world.run("gap").set_index("score")["value"]
    swapped = world.run("gap_tested_as_gmp").set_index("score")["value"]
    assert len(list((world.results / "runs").rglob("classifier.pt"))) == 1
    assert len(world.folders()) == 2
    files = sorted((world.results / "runs").glob("synthetic-tiny-*/predictions-test.parquet"))
    before, after = (pd.read_parquet(file)["true_class_probability"] for file in files)
    assert not before.equals(after)
    assert swapped["gt_known_loc_20"] == trained["gt_known_loc_20"]  # CAM reads the weights, not the pooling
    assert "gap_tested_as_gmp" in world.table()


def test_another_pooling_at_test_may_come_first(world):
    world.run("gap_tested_as_gmp")
    built = world.built
    world.run("gap")
    assert len(list((world.results / "runs").rglob("history.csv"))) == 1
    assert world.built == built + 1  # only to be filled with the weights that are there


def test_a_pooling_that_does_not_fit_is_told_before_training(world):
    experiment = replace(world.experiment("gap_tested_as_gmp"), pooling_layer=GeM())
    with pytest.raises(ValueError, match="GeM has parameters, which nothing trained"):
        run_experiment(experiment, world.splits, world.build(experiment), SMALL, world.machine)
    assert not list((world.results / "runs").rglob("classifier.pt"))


def test_a_method_has_a_name_of_its_own(world):
    plain = world.run("gap")
    has = world.run("gap+has", method=HaS())
    assert plain["comparison"].iloc[0] == has["comparison"].iloc[0]
    weights = [torch.load(path, weights_only=True) for path in sorted((world.results / "runs").rglob("classifier.pt"))]
    first, second = (one["classifier"]["fc.weight"] for one in weights)
    assert not torch.equal(first, second)
    assert "| gap+has " in world.table()


def test_a_diverged_run_is_shown_counted_and_not_trained_again(world):
    world.run("gap")
    wild = TrainSettings(epochs=2, batch_size=8, optimizer="sgd", lr=1e30)
    experiment = world.experiment("gmp", train=wild)
    # The table is of runs with the same training; here the head alone has gone wild.
    told = replace(experiment, settings={**experiment.settings})
    rows = run_experiment(told, world.splits, world.build(told), SMALL, world.machine)
    assert set(rows["status"]) == {"diverged"}
    assert rows["value"].isna().all()
    (file,) = (world.results / "runs").rglob("diverged.json")
    assert "lower train.lr" in json.loads(file.read_text())["message"]
    built = world.built
    again = run_experiment(told, world.splits, world.build(told), SMALL, world.machine)
    assert world.built == built
    pd.testing.assert_frame_equal(again, rows)
    found = {one.name: one for one in read_comparisons(world.results)}
    (failed,) = [one for one in found.values() if len(one.failed)]
    text = write_tables(world.results, failed, world.results)["md"].read_text(encoding="utf-8")
    assert "Left out of all means: gmp 1 diverged (seed 0)." in text


def test_a_collapsed_seed_is_left_out_of_the_mean(world, monkeypatch):
    kept = world.run("gap").set_index("score")["value"]
    monkeypatch.setattr("wsol.runs.facts.is_collapsed", lambda *_: True)
    rows = world.run("gap", seed=1)
    assert set(rows["status"]) == {"collapsed"}
    (comparison,) = read_comparisons(world.results)
    csv = write_tables(world.results, comparison, world.results)["csv"]
    table = pd.read_csv(csv)
    line = table[(table["pooling"] == "gap") & (table["score"] == "top1_cls")].iloc[0]
    assert line["mean"] == kept["top1_cls"]
    assert line["seeds"] == 1
    assert "gap 1 collapsed (seed 1)" in csv.with_suffix(".md").read_text(encoding="utf-8")


def test_a_seed_that_failed_is_not_called_missing(world, monkeypatch):
    for head, seed in [("gap", 0), ("gap", 1), ("gmp", 0)]:
        world.run(head, seed=seed)
    assert "Missing: `test pooling=gmp seed=1`." in world.table()
    monkeypatch.setattr("wsol.runs.facts.is_collapsed", lambda *_: True)
    world.run("gmp", seed=1)
    table = world.table()
    assert "Left out of all means: gmp 1 collapsed (seed 1)." in table
    assert "Missing" not in table
    (comparison,) = read_comparisons(world.results)
    (one,) = answer([CLAIM], {}, EVALUATION.protocol.name)
    (told,) = answers_of([one], comparison, world.results)
    assert told.needed == "test"  # scores again what was lost, and trains no head anew


def test_heads_that_a_claim_lacks_are_scored_by_its_own_maps(world):
    command = "run.py method=acol pooling=gap seed=0 'maps=[acol_cam]'"
    for seed in (0, 1):
        experiment = world.experiment("gap+has", seed=seed, method=HaS())
        scored = replace(SMALL, maps={"acol_cam": SMALL.maps["cam"]})
        run_experiment(experiment, world.splits, world.build(experiment), scored, world.machine, command=command)
    (comparison,) = read_comparisons(world.results)
    answered = answer([CLAIM], measure(comparison.lines(world.results)), comparison.protocol)
    (told,) = answers_of(answered, comparison, world.results)
    first, second = told.needed.split("; ")
    assert first == "run.py pooling=gmp seed=0,1 -m 'maps=[cam]'"
    assert second == "run.py pooling=gap seed=0,1 -m 'maps=[cam]'"


def test_a_claim_on_a_head_that_learned_with_no_seed_says_so_and_names_no_command(world, monkeypatch):
    def diverges(*args, **kwargs):
        raise FloatingPointError("Training diverged.")

    for seed in (0, 1):
        world.run("gap", seed=seed)
    with monkeypatch.context() as patch:
        patch.setattr("wsol.runs.fit.fit", diverges)
        for seed in (0, 1):
            world.run("gmp", seed=seed)
    (comparison,) = read_comparisons(world.results)
    answered = answer([CLAIM], measure(comparison.lines(world.results)), comparison.protocol)
    (told,) = answers_of(answered, comparison, world.results)
    assert told.reading.endswith(": every run of pooling=gmp diverged (seed 0, 1).")
    assert told.needed == ""


def test_a_head_lacks_the_seed_that_another_failed_with(world, monkeypatch):
    world.run("gap")
    world.run("gmp")
    monkeypatch.setattr("wsol.runs.facts.is_collapsed", lambda *_: True)
    world.run("gmp", seed=1)
    assert "Missing: `test pooling=gap seed=1`." in world.table()


def test_a_head_of_which_no_seed_learned_has_a_line_without_values(world, monkeypatch):
    monkeypatch.setattr("wsol.runs.facts.is_collapsed", lambda *_: True)
    world.run("gap")
    (line,) = [line for line in world.table().splitlines() if line.startswith("| gap ")]
    assert "–" in line
    assert "%" not in line


def test_tuned_heads_stand_in_one_table_with_every_trial(world):
    tuning = Tuning(trials=2, space={"lr": (1e-3, 1e-2)})
    rows = pd.concat([world.tuned_run(head, tuning, seed) for head in ("gap", "gmp") for seed in (0, 1)])
    assert rows["comparison"].nunique() == 1
    assert len(world.folders()) == 4
    table = world.table()
    assert "Tuned: 2 trials for each head, at the same points" in table
    for head in ("gap", "gmp"):
        assert f"Trials of {head}: lr 0.002" in table
    assert table.count("(chosen)") == 2
    settings = json.loads((world.results / "runs" / world.folders()[0] / "settings.json").read_text())
    assert settings["tuned"]["trials"][0]["lr"] == 0.002
    built = world.built
    world.tuned_run("gap", tuning)
    assert world.built == built


def test_a_search_and_its_run_check_the_data_and_the_maps_once(world, monkeypatch):
    checked = []
    monkeypatch.setattr("wsol.runs.pipeline.check_experiment", lambda *_: checked.append("data"))
    monkeypatch.setattr("wsol.runs.fit.check_maps", lambda *_: checked.append("maps"))
    experiment = replace(world.experiment("gap"), tuning=Tuning(trials=2, space={"lr": (1e-3, 1e-2)}, seed=1))
    run_experiment(experiment, world.splits, world.build(experiment), SMALL, world.machine)
    assert checked == ["data", "maps"]
    (folder,) = world.folders()
    settings = json.loads((world.results / "runs" / folder / "settings.json").read_text())
    assert len(settings["tuned"]["trials"]) == 2


def test_searches_from_other_settings_that_choose_the_same_are_two_runs(world):
    tuning = Tuning(trials=1, space={"lr": (4e-3, 4e-3)})
    for started in (TRAIN, replace(TRAIN, lr=4e-3)):
        experiment = world.experiment("gap", train=started)
        tuned = tune(experiment, world.splits, world.build(experiment), tuning, world.machine)
        chosen = replace(tuned, train=replace(TRAIN, lr=4e-3))
        trained = experiment.tuned_by(chosen)
        run_experiment(trained, world.splits, world.build(trained), SMALL, world.machine)
    assert len(world.folders()) == 2


def test_what_the_maps_of_a_swapped_pooling_need_is_told_before_training(world):
    class Picky(type(SMALL.maps["cam"])):
        def __call__(self, forward, class_ids):
            raise ValueError("not with GMP" if isinstance(forward.network.pooling, GMP) else "not with GAP")

    experiment = world.experiment("gap_tested_as_gmp")
    evaluation = replace(SMALL, maps={"cam": Picky()})
    with pytest.raises(ValueError, match="not with GMP"):
        run_experiment(experiment, world.splits, world.build(experiment), evaluation, world.machine)
    assert not list((world.results / "runs").rglob("classifier.pt"))


def test_the_seed_of_the_search_is_no_seed_of_a_run(world):
    tuning = Tuning(trials=2, space={"lr": (1e-3, 1e-2)}, seed=3)
    experiment = replace(world.experiment("gap", seed=3), tuning=tuning)
    with pytest.raises(ValueError, match=r"seed=3 chooses the settings, so it cannot be reported"):
        run_experiment(experiment, world.splits, world.build(experiment), SMALL, world.machine)
    assert not list(world.results.rglob("trial-*.json"))


def test_a_search_of_one_trial_says_so(world):
    world.tuned_run("gap", Tuning(trials=1, space={"lr": (1e-3, 1e-2)}))
    assert "Tuned: one trial for each head, with unchanged settings." in world.table()


def test_tuned_and_plain_runs_never_share_a_table(world):
    plain = world.run("gap")
    tuned = world.tuned_run("gap", Tuning(trials=1))
    assert plain["comparison"].iloc[0] != tuned["comparison"].iloc[0]
    assert len(world.folders()) == 2


def test_a_diverged_run_that_is_trained_again_gets_rows_of_its_own(world, monkeypatch):
    def diverges(*args, **kwargs):
        raise FloatingPointError("Training diverged.")

    with monkeypatch.context() as patch:
        patch.setattr("wsol.runs.fit.fit", diverges)
        assert set(world.run("gap")["status"]) == {"diverged"}
    (file,) = (world.results / "runs").rglob("diverged.json")
    file.unlink()
    rows = world.run("gap")
    assert "diverged" not in set(rows["status"])
    assert rows["value"].notna().all()


def test_a_setting_that_was_left_out_is_told_in_the_trials(world):
    world.tuned_run("gap", Tuning(trials=2, space={"head_lr": (1e-2, 1e-1)}))
    assert "Trials of gap: head_lr null" in world.table()
