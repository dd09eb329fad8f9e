"""Which runs share images: those that read the same data the same way."""

import json
import sys

import pandas as pd
import pytest

import pooling_axis
import report
from config import saved_runs
from config.saved_runs import read_run
from wsol.comparison.comparison import Comparison
from wsol.data.readers.synthetic import synthetic
from wsol.runs.folder import RunFolder

SMALL = {"num_classes": 4, "train_images": 4, "val_images": 4, "test_images": 4}


def settings_of(image_size=16, seed=0, option="synthetic", fingerprint="same", **knobs):
    """What `settings.json` says of a run; ids, labels and boxes, and so the fingerprint, are the same for all."""
    return {
        "run": f"run-{image_size}-{seed}-{len(knobs)}",
        "data": "synthetic",
        "seed": seed,
        "reader": {"option": option, "image_size": image_size, **SMALL, **knobs},
        "identity": {
            "data": {"settings": {**SMALL, **knobs}, "fingerprint": fingerprint},
            "image_size": image_size,
            "seed": seed,
        },
    }


@pytest.fixture
def read(monkeypatch, tmp_path):
    """The settings of every run whose data were read."""
    result = []

    def splits_of(settings, cfg):
        result.append(settings)
        reader = {key: value for key, value in settings["reader"].items() if key != "option"}
        return synthetic(**reader, cache_dir=tmp_path / "cache")

    for module in (pooling_axis, report):
        monkeypatch.setattr(module, "splits_of", splits_of)
    return result


@pytest.mark.parametrize(
    "other",
    [
        {"image_size": 24},
        {"option": "coco"},
        {"fingerprint": "other"},
        {"color_jitter": 0.1},  # moves pixels alone
    ],
    ids=str,
)
def test_what_decides_the_images_is_in_the_key(other):
    assert saved_runs.data_key(settings_of(**other)) != saved_runs.data_key(settings_of())


def test_another_training_reads_the_same_images():
    assert saved_runs.data_key(settings_of(seed=1)) == saved_runs.data_key(settings_of())


def test_settings_that_say_nothing_have_a_key():
    assert saved_runs.data_key({}) != saved_runs.data_key(settings_of())


def test_shares_are_measured_on_images_of_the_runs_own_size(read, tmp_path):
    shares = pooling_axis.Shares(tmp_path, None)
    runs = [settings_of(), settings_of(image_size=24), settings_of(color_jitter=0.1), settings_of(seed=1)]
    images = [shares.images_of(run)[0] for run in runs]
    assert [len(one[0, 0]) for one in images] == [16, 24, 16, 16]
    assert not images[2].equal(images[0])
    assert images[3] is images[0]
    assert len(read) == 3


def test_photographs_have_the_runs_own_size(read, tmp_path):
    result = report.DataSets(tmp_path, None)
    sides = []
    for run in (settings_of(), settings_of(image_size=24), settings_of(seed=1)):
        RunFolder(tmp_path / "runs" / run["run"]).write_settings(run)
        rows = pd.DataFrame({"backbone": ["tiny"], "run": [run["run"]], "data": ["synthetic"]})
        sides.append(result.of(Comparison("name", rows)).photo(0).size)
    assert sides == [(16, 16), (24, 24), (16, 16)]
    assert len(read) == 2


def test_a_network_as_it_is_is_not_built_from_its_folder(tmp_path, monkeypatch):
    """The folder names the module of the sender, which must not be imported."""
    network = {"option": "module", "build": "payload:call", "weights_digest": "0"}
    settings = {"run": "theirs", "backbone": "as_is", "pooling": "best", "identity": {"network": network}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "payload.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ValueError, match="scored a network as it is, and keeps no weights of it; name the network itself"
    ):
        read_run(tmp_path)
    # A sender may also leave out what names such a run.
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "backbone": "small_cnn"}))
    (tmp_path / "classifier.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"does not describe a run|names no option of backbone"):
        read_run(tmp_path)
    assert "payload" not in sys.modules
