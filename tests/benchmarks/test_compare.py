from dataclasses import replace

import pandas as pd
import pytest

from compare import before_search, compare, fits, held_equal, read_settings
from measure.report import compare_resampling, make_runs
from wsol.atomic_files import read_json, write_json
from wsol.identity import describe
from wsol.runs.folder import RunFolder
from wsol.runs.tuning import Tuned, Tuning
from wsol.training.train import TrainSettings


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three seeds of GAP and GMP, made up."""
    folder = tmp_path_factory.mktemp("results")
    make_runs(folder, runs=6, images=60, thresholds=10)
    return folder


def test_settings_are_read_from_words():
    assert read_settings("pooling=gap,train.epochs=3") == {"pooling": "gap", "train.epochs": "3"}
    with pytest.raises(ValueError, match="'gap' names no settings"):
        read_settings("gap")


def test_a_heads_name_may_hold_a_list():
    assert read_settings("pooling=gap+has:cells=[4, 5],map=cam") == {"pooling": "gap+has:cells=[4, 5]", "map": "cam"}


def test_settings_fit_by_their_text():
    assert fits({"pooling": "gap", "seed": 3}, {"seed": "3"})
    assert fits({"pooling.sharpness": 5.0}, {"pooling.sharpness": "5"})
    assert fits({"pooling.sharpness": 5.0}, {"pooling.sharpness": "5.0"})
    assert fits(
        {"optimized": True, "train.freeze_backbone": False}, {"optimized": "true", "train.freeze_backbone": "false"}
    )
    assert fits({"optimized": True, "train.head_lr": None}, {"optimized": "True", "train.head_lr": "null"})
    assert not fits({"optimized": False}, {"optimized": "true"})
    assert not fits({"pooling": "True"}, {"pooling": "true"})
    assert not fits({"pooling.sharpness": 5.5}, {"pooling.sharpness": "5"})
    assert not fits({"pooling": "gap"}, {"map": "cam"})


def test_what_is_held_equal_is_all_that_is_not_named():
    one = {"backbone": "a", "backbone.option": "x.a", "train.epochs": 3}
    other = {"backbone": "b", "backbone.option": "x.b", "train.epochs": 3}
    assert held_equal(one, ["backbone"]) == held_equal(other, ["backbone"])
    assert held_equal(one, ["backbone"]) != held_equal({**other, "train.epochs": 4}, ["backbone"])
    assert held_equal(one, ["map"]) != held_equal(other, ["map"])


def test_two_poolings_have_unpaired_seeds(results, capsys):
    assert compare(["pooling=gap,map=cam", "pooling=gmp,map=cam", f"results={results}"]) == 0
    said = capsys.readouterr().out
    seeds = "unpaired seeds [0, 1, 2] and [0, 1, 2], for the groups are different networks"
    assert f"60 images, {seeds}; intervals cover seeds and images" in said
    lines = {cells[1].strip(): cells for cells in (line.split("|") for line in said.splitlines() if "|" in line)}
    first, second, difference = (float(cell.replace("−", "-")) for cell in lines["gt_known_loc"][2:5])
    assert difference == pytest.approx(first - second, abs=0.011)
    assert lines["max_box_acc"][8].strip() == "–"  # no operating point, no McNemar


def test_one_training_of_each_says_so(tmp_path, capsys):
    make_runs(tmp_path, runs=2, images=30, thresholds=10)
    assert compare(["pooling=gap", "pooling=gmp", f"results={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "30 images, unpaired seeds [0] and [0], for the groups are different networks" in printed
    assert printed.count("n too small") > 3


def test_seeds_are_what_pairs_runs_and_name_no_group(results, capsys):
    assert compare(["pooling=gap,seed=0", "pooling=gmp,seed=0", f"results={results}"]) == 1
    assert "No two runs" in capsys.readouterr().err


def test_runs_that_differ_elsewhere_are_not_compared(results, tmp_path, capsys):
    make_runs(tmp_path, runs=2, images=30, thresholds=10)
    folder = RunFolder(next((tmp_path / "runs").glob("*gmp*")))
    settings = read_json(folder.settings_file)
    write_json(folder.settings_file, {**settings, "identity": {**settings["identity"], "train": {"epochs": 9}}})
    assert compare(["pooling=gap", "pooling=gmp", f"results={tmp_path}"]) == 1
    assert "equal in all else" in capsys.readouterr().err


def rewrite(results, pooling, change):
    """Change the `settings.json` of all runs of a head."""
    for path in (results / "runs").glob(f"*-{pooling}-*"):
        folder = RunFolder(path)
        write_json(folder.settings_file, change(read_json(folder.settings_file)))


def tuned_to(lr, base, **how):
    """A change that makes a run one of a head whose search chose this learning rate."""
    tuning = Tuning(trials=2, **how)
    columns = {"trial": [0, 1], "status": "", "score": 0.5, "top1_cls": 0.5, "cross_entropy": 1.0, "max_box_acc": None}
    rows = pd.DataFrame({**columns, "seconds": 1.0, "lr": [base.lr, lr], "head_lr": [base.head_lr, 10 * lr]})
    result = Tuned(tuning, base, 1, replace(base, lr=lr, head_lr=10 * lr), rows)
    identity = {"train": result.train.identity(), "tuning": describe(tuning)}
    return lambda settings: {**settings, "identity": {**settings["identity"], **identity}, "tuned": result.about()}


@pytest.fixture
def small(tmp_path):
    make_runs(tmp_path, runs=4, images=30, thresholds=10)
    return tmp_path


def test_settings_that_came_later_are_those_of_runs_that_do_not_tell_them(small, capsys):
    groups = ["pooling=gap", "pooling=gmp", f"results={small}"]
    rewrite(
        small,
        "gap",
        lambda run: {**run, "identity": {**run["identity"], "train": TrainSettings().identity()}},
    )
    gmp = {**TrainSettings().identity(), "select": "last", "freeze_backbone": False}
    rewrite(small, "gmp", lambda run: {**run, "identity": {**run["identity"], "train": gmp}})
    assert compare([*groups, "train.select=last", "train.freeze_backbone=false"]) == 0
    assert "unpaired seeds [0, 1] and [0, 1]" in capsys.readouterr().out
    assert compare([*groups, "train.select=best"]) == 1


@pytest.mark.parametrize("base", [TrainSettings(), TrainSettings(head_lr=0.01)], ids=["no head_lr", "head_lr"])
def test_tuned_heads_are_paired_each_with_settings_of_its_own(small, capsys, base):
    rewrite(small, "gap", tuned_to(1e-3, base))
    rewrite(small, "gmp", tuned_to(7e-3, base))
    assert compare(["pooling=gap", "pooling=gmp", f"results={small}"]) == 0
    assert "unpaired seeds [0, 1] and [0, 1]" in capsys.readouterr().out
    # What was chosen can still be asked for.
    assert compare(["pooling=gap", "pooling=gmp", "train.lr=0.001", f"results={small}"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        tuned_to(7e-3, TrainSettings(epochs=3)),
        tuned_to(7e-3, TrainSettings(lr=0.1)),
        tuned_to(7e-3, TrainSettings(), seed=1),
        lambda settings: {**settings, "identity": {**settings["identity"], "train": TrainSettings().identity()}},
    ],
    ids=["epochs", "start", "search", "not tuned"],
)
def test_heads_that_were_tuned_otherwise_are_not_compared(small, other):
    rewrite(small, "gap", tuned_to(1e-3, TrainSettings()))
    rewrite(small, "gmp", other)
    assert compare(["pooling=gap", "pooling=gmp", f"results={small}"]) == 1


def test_what_was_not_searched_has_no_start():
    assert before_search({"identity": {"train": {"lr": 0.1}}}) == {}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gap+cutmix", {"method": {"option": "cutmix", "alpha": 1.0}}),
        ("gap_on_scores", {"pool_site": "scores"}),
        ("gap_tested_as_gmp", {"pooling_at_test": {"option": "gmp"}}),
    ],
)
def test_all_that_a_heads_name_says_is_part_of_the_pooling(small, capsys, name, parts):
    rewrite(small, "gmp", lambda settings: {**settings, "pooling": name, "identity": {**settings["identity"], **parts}})
    assert compare(["pooling=gap", f"pooling={name}", f"results={small}"]) == 0
    assert "unpaired seeds [0, 1] and [0, 1]" in capsys.readouterr().out
    one = {"pooling": "gap", "map": "cam"}
    assert held_equal(one, ["map"]) != held_equal({**one, "method.option": "x"}, ["map"])


def test_both_ways_of_resampling_are_the_same():
    ours, plain = compare_resampling(images=50, thresholds=10, resamples=5)  # raises where they differ
    assert ours > 0
    assert plain > 0
