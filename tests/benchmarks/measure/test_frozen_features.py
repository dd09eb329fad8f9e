import subprocess
import sys
from pathlib import Path

import pytest

from measure import frozen_features as speed
from wsol.data.views import Views
from wsol.networks.frozen_trunk import pool_ahead
from wsol.networks.stored_features import store_features

ROOT = Path(__file__).parents[3]
WORK = speed.Work(images=8, epochs=2, trunk_images=4, image_size=32)


def test_the_epoch_through_the_trunk_is_scaled_to_all_image_passes():
    assert WORK.scale == 8 * 2 / 4
    assert speed.Work(1500, 30, 96, 224).train_size == 256


def test_noise_is_the_same_each_time_and_kept_by_no_one():
    images = speed.noise_images(3, 16)
    assert (images[1].image == images[1].image).all()
    assert (images[1].image != images[2].image).any()
    assert images[1].size == (16, 16)


@pytest.mark.parametrize("name", list(speed.HEADS))
def test_a_head_that_is_pooled_ahead_has_a_pooling_without_parameters(tmp_path, monkeypatch, name):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path))
    classifier = speed.classifier_of(name)
    images = speed.noise_images(WORK.images, WORK.train_size)
    features = store_features(classifier.backbone, images, Views(32), {}, speed.MACHINE)
    assert pool_ahead(classifier, features).pooled == (name in ("gap", "gmp", "lse"))
    assert speed.on_features(name, WORK, features)() > 0


def test_a_goal_is_met_by_the_median_of_the_ratios():
    seconds = {"gap through the trunk": [310.0, 500, 200], "gap on features": [1.0, 1, 1]}
    (row,) = speed.table_of(seconds, {"gap": True}).splitlines()[2:]
    assert "310 (200 to 500)" in row
    assert "300: met" in row
    assert "50: met" in speed.table_of(seconds, {"gap": False})
    assert "300: missed" in speed.table_of({**seconds, "gap on features": [2.0, 2, 2]}, {"gap": True})


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "measure" / "frozen_features.py"), "--heads", "gap", "gem"]
    small = ["--images", "8", "--epochs", "2", "--trunk-images", "4", "--image-size", "32", "--rounds", "1"]
    done = subprocess.run(
        [*command, *small, "--out", str(tmp_path / "speed.md")], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "speed.md").read_text() in done.stdout + "\n"
    assert "8 images x 2 epochs" in done.stdout
