import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.runs.experiment import Experiment
from wsol.runs.search import tune
from wsol.runs.tuning import Tuning, best_of
from wsol.training.train import TrainSettings

TRAIN = TrainSettings(epochs=2, batch_size=8, lr=5e-3)
TUNING = Tuning(trials=3, space={"lr": (1e-3, 1e-2), "head_lr": (1e-2, 1e-1)})


class World:
    def __init__(self, folder):
        self.folder = folder
        self.built = 0
        self.splits = synthetic(
            image_size=16, num_classes=4, train_images=24, val_images=12, test_images=16, cache_dir=folder / "cache"
        )

    def experiment(self, pooling="gap", train=TRAIN, seed=0):
        settings = {"data": {"size": 16}, "backbone": {"channels": [4, 6]}, "pooling": {"name": pooling}}
        return Experiment("synthetic", "tiny", pooling, seed, settings, train, image_size=16)

    def tune(self, pooling="gap", tuning=TUNING, train=TRAIN, seed=0, **kwargs):
        def build():
            self.built += 1
            return Classifier(small_cnn(channels=(4, 6)), {"gap": GAP, "gmp": GMP}[pooling](), 4)

        machine = Machine(self.folder / "results", accelerator="cpu", progress=False)
        return tune(self.experiment(pooling, train, seed), self.splits, build, tuning, machine, **kwargs)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_points_are_the_same_every_time_and_the_first_is_what_was_set():
    points = TUNING.points()
    assert points == TUNING.points()
    assert points[0] == {}
    assert len(points) == 3
    for point in points[1:]:
        assert 1e-3 <= point["lr"] <= 1e-2
        assert 1e-2 <= point["head_lr"] <= 1e-1
    assert replace(TUNING, seed=1).points()[1:] != points[1:]
    assert replace(TUNING, trials=5).points()[:3] == points  # more trials go on where fewer end


def test_points_are_log_uniform():
    points = Tuning(trials=4001, space={"lr": (1e-4, 1e-2)}).points()[1:]
    assert np.mean([point["lr"] < 1e-3 for point in points]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, r"tune\.trials must be at least 1, got 0"),
        ({"select": "boxes"}, r"tune\.select must be classification or localization, got 'boxes'"),
        ({"space": {"rate": (1, 2)}}, r"tune\.space names 'rate', which cannot be searched; lr, head_lr, "),
        ({"space": {"epochs": (1, 2)}}, r"tune\.space names 'epochs', which cannot be searched"),
        ({"space": {"lr": (0, 1)}}, r"tune\.space\.lr must be \[low, high\] with 0 < low <= high, got \[0, 1\]"),
        ({"space": {"lr": (2, 1)}}, r"tune\.space\.lr must be \[low, high\]"),
        ({"space": {"lr": (1,)}}, r"tune\.space\.lr must be \[low, high\]"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Tuning(**settings)


def test_every_head_gets_the_same_trials(world):
    first, second = world.tune("gap"), world.tune("gmp")
    assert world.built == 6
    for name in ("lr", "head_lr"):
        assert first.trials[name][1:].tolist() == second.trials[name][1:].tolist()
        assert first.trials[name][1:].tolist() == [point[name] for point in TUNING.points()[1:]]
    assert first.trials["lr"][0] == TRAIN.lr


def test_what_is_chosen_is_the_best_on_val(world):
    tuned = world.tune()
    learned = tuned.trials[tuned.trials["status"] == ""]
    assert tuned.trials["score"][tuned.chosen] == learned["score"].max()
    point = {**{"lr": TRAIN.lr, "head_lr": TRAIN.head_lr}, **TUNING.points()[tuned.chosen]}
    assert tuned.train == replace(TRAIN, **point)


def test_the_same_again_trains_nothing(world):
    first = world.tune()
    built = world.built
    again = world.tune(seed=5)  # the run's own seed plays no part
    assert world.built == built
    assert again.train == first.train
    assert again.about() == first.about()


def test_other_settings_are_another_search(world):
    world.tune()
    world.tune(tuning=replace(TUNING, seed=1))
    world.tune(train=replace(TRAIN, weight_decay=1e-3))
    assert world.built == 9
    assert len(list((world.folder / "results" / "tuning").iterdir())) == 3


def test_a_search_that_was_stopped_goes_on(world, monkeypatch):
    calls = []

    def stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    from wsol.runs.fit import fit

    monkeypatch.setattr("wsol.runs.search.fit", stops)
    with pytest.raises(KeyboardInterrupt):
        world.tune()
    assert world.built == 2
    stopped = world.tune()
    assert world.built == 4  # the second trial anew, and the third
    fresh = World(world.folder / "fresh").tune()
    assert stopped.trials.drop(columns="seconds").equals(fresh.trials.drop(columns="seconds"))


def test_a_trial_that_diverges_is_told_and_not_chosen(world):
    tuned = world.tune(tuning=Tuning(trials=2, space={"lr": (1e30, 1e30)}), train=replace(TRAIN, optimizer="sgd"))
    assert tuned.chosen == 0
    assert tuned.trials["status"].tolist()[1] == "diverged"
    (file,) = (world.folder / "results" / "tuning").rglob("trial-01.json")
    assert json.loads(file.read_text())["status"] == "diverged"


def test_where_nothing_learned_the_settings_stay(world, caplog):
    tuned = world.tune(
        tuning=Tuning(trials=2, space={"lr": (1e30, 1e30)}), train=replace(TRAIN, optimizer="sgd", lr=1e30)
    )
    assert tuned.train == replace(TRAIN, optimizer="sgd", lr=1e30)
    assert "None of 2 trials of gap learned anything" in caplog.text


def test_boxes_of_val_choose_where_that_is_asked_for(world):
    tuned = world.tune(tuning=replace(TUNING, select="localization"))
    learned = tuned.trials[tuned.trials["status"] == ""]
    assert tuned.trials["score"].equals(tuned.trials["max_box_acc"])
    assert tuned.trials["max_box_acc"][tuned.chosen] == learned["max_box_acc"].max()
    assert tuned.about()["select"] == "localization"


def test_boxes_that_are_not_there_cannot_choose(world):
    bare = copy(world.splits.val)
    bare.entries = bare.entries.without_boxes()
    world.splits = replace(world.splits, val=bare)
    with pytest.raises(ValueError, match=r"tune\.select=localization reads the boxes of .*, which has none"):
        world.tune(tuning=replace(TUNING, select="localization"))
    assert world.built == 0


def test_what_the_run_cannot_do_is_told_before_the_first_trial(world):
    def refuses():
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        world.tune(check_run=refuses)
    assert world.built == 0
    world.tune()
    world.tune(check_run=refuses)  # of what was made already, nothing is asked


def test_a_head_without_cam_is_told_before_its_boxes_shall_choose(world, monkeypatch):
    def refuses(*_):
        raise ValueError("CAM needs a linear layer")

    monkeypatch.setattr("wsol.maps.methods.cam.CAM.__call__", refuses)
    monkeypatch.setattr("wsol.runs.search.fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"choose tune\.select=classification for gap\. CAM needs a linear layer"):
        world.tune(tuning=replace(TUNING, select="localization"))


def test_a_value_that_cannot_be_trained_with_is_told_before_the_first_trial(world):
    with pytest.raises(ValueError, match="label_smoothing must"):
        world.tune(tuning=Tuning(trials=3, space={"label_smoothing": (1.5, 3)}))
    assert world.built == 0


def test_a_frozen_trunk_has_no_rate_to_search(world):
    frozen = replace(TRAIN, freeze_backbone=True)
    tuned = world.tune(train=frozen)
    assert list(tuned.about()["settings"]) == ["head_lr"]
    assert tuned.train.lr == TRAIN.lr
    alone = replace(TUNING, space={"lr": (1e-3, 1e-2)})
    assert list(world.tune(tuning=alone, train=frozen).about()["settings"]) == ["lr"]  # at which the head learns, then
    with pytest.raises(ValueError, match=r"tune\.space\.lr changes nothing where train\.freeze_backbone"):
        world.tune(tuning=alone, train=replace(frozen, head_lr=0.1))


def test_of_equals_the_least_cross_entropy_then_the_first():
    def trial(number, score, cross_entropy, status=""):
        return {"trial": number, "score": score, "cross_entropy": cross_entropy, "status": status}

    assert best_of([trial(0, 0.5, 1.0), trial(1, 0.5, 0.9), trial(2, 0.4, 0.1)]) == 1
    assert best_of([trial(0, 0.5, 1.0), trial(1, 0.5, 1.0)]) == 0
    assert best_of([trial(0, 0.1, 2.3), trial(1, 0.9, 0.1, "collapsed")]) == 0
    assert best_of([{"trial": 0, "score": None, "status": "diverged"}]) is None
