"""Runs whose head alone learns: the trunk runs once for all heads, seeds, trials and maps."""

from dataclasses import replace

import numpy as np
import pytest

from small_evaluation import EVALUATION
from small_splits import counting_trunk
from wsol.data.readers.synthetic import synthetic
from wsol.explain.faithfulness.average_drop import AverageDrop
from wsol.machine import Machine
from wsol.maps.methods.rise import RISE
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.runs.experiment import Experiment
from wsol.runs.pipeline import run_experiment
from wsol.runs.tuning import Tuning
from wsol.training.methods.cutmix import CutMix
from wsol.training.train import PLAIN, TrainSettings

POOLINGS = {"gap": GAP, "gem": GeM}
TRAIN = TrainSettings(epochs=3, batch_size=8, lr=3e-2, freeze_backbone=True, views=1)
IMAGES = 24 + 12 + 16


class World:
    """One results folder, and the images that trunks read."""

    def __init__(self, folder):
        self.folder = folder
        self.splits = synthetic(
            image_size=16, num_classes=4, train_images=24, val_images=12, test_images=16, cache_dir=folder / "birds"
        )
        self.read = []

    def run(self, pooling="gap", seed=0, evaluation=EVALUATION, train=TRAIN, tuning=None, method=PLAIN, results=""):
        def build():
            import torch

            torch.manual_seed(0)  # weights of a trunk that is pretrained
            trunk, read = counting_trunk()
            self.read.append(read)
            torch.manual_seed(seed)
            return Classifier(trunk, POOLINGS[pooling](), 4)

        experiment = Experiment(
            data="synthetic",
            backbone="tiny",
            pooling=pooling,
            seed=seed,
            settings={"data": {"size": 16}, "backbone": {"channels": [4, 6]}, "pooling": {"name": pooling}},
            train=train,
            image_size=16,
            pooling_layer=POOLINGS[pooling](),
            tuning=tuning,
            method=method,
        )
        machine = Machine(self.folder / f"results{results}", accelerator="cpu", progress=False)
        return run_experiment(experiment, self.splits, build, evaluation, machine)

    def images_read(self):
        """Return how many images trunks have read since the last call."""
        count = sum(map(sum, self.read))
        for read in self.read:
            read.clear()
        return count


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    return World(tmp_path)


def test_the_trunk_runs_once_for_heads_seeds_and_folders_of_results(world):
    world.run()
    checked = 1  # the image that maps are checked on before training
    assert world.images_read() == IMAGES + checked
    world.run("gem")
    world.run(seed=1)
    world.run(results="-others")
    assert world.images_read() == 3 * checked


@pytest.mark.parametrize("pooling", ["gap", "gem"])
def test_scores_are_those_of_the_same_views_without_stored_features(world, monkeypatch, pooling):
    rows = world.run(pooling)
    for module in ("fit", "run_maps", "search"):
        monkeypatch.setattr(f"wsol.runs.{module}.trains_on_features", lambda experiment, classifier: False)
    expected = world.run(pooling, results="-without")
    assert world.images_read() > IMAGES * 3
    keys = ["map", "score"]
    both = rows.merge(expected, on=keys, suffixes=("", "_expected"))
    assert len(both) == len(rows) == len(expected)
    # One image of 16 may change sides by rounding.
    np.testing.assert_allclose(both["value"], both["value_expected"], atol=1 / 16 + 1e-9)
    assert (both["value"] == both["value_expected"]).mean() > 0.7


@pytest.mark.parametrize("select", ["classification", "localization"])
def test_trials_share_the_trunk_and_the_best_one_is_the_run(world, select):
    tuning = Tuning(trials=3, space={"lr": (1e-3, 1e-1)}, select=select)
    world.run(tuning=tuning)
    assert len(world.read) <= 5
    assert world.images_read() <= IMAGES + 2
    world.run(tuning=tuning, seed=1)
    assert world.images_read() <= 1


def test_maps_and_measures_that_need_pixels_run_the_trunk(world):
    evaluation = replace(
        EVALUATION,
        maps={**EVALUATION.maps, "rise": RISE(masks=4)},
        faithfulness={"average_drop": AverageDrop()},
    )
    rows = world.run(evaluation=evaluation)
    assert set(rows["map"]) == {"cam", "grad_cam", "rise"}
    assert {"average_drop", "increase_in_confidence"} <= set(rows["score"])
    assert world.images_read() > 2 * IMAGES


def test_a_method_that_changes_images_trains_on_the_views_themselves(world):
    world.run(method=CutMix())
    assert world.images_read() > 3 * 24


def test_time_of_the_forward_pass_includes_the_trunk(world):
    rows = world.run()
    again = world.run(seed=1)
    assert 0 < rows["forward_ms"].iloc[0]
    assert again["forward_ms"].iloc[0] > 0.2 * rows["forward_ms"].iloc[0]
