import pytest
from compare import compare, fits, held_equal, read_settings
from speed_report import compare_resampling, make_runs

from wsol.runs import RunFolder, read_json, write_json


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two seeds of GAP and GMP, made up."""
    folder = tmp_path_factory.mktemp("results")
    make_runs(folder, runs=4, images=60, thresholds=10)
    return folder


def test_settings_are_read_from_words():
    assert read_settings("pooling=gap,train.epochs=3") == {"pooling": "gap", "train.epochs": "3"}
    with pytest.raises(ValueError, match="'gap' names no settings"):
        read_settings("gap")


def test_settings_fit_by_their_text():
    assert fits({"pooling": "gap", "seed": 3}, {"seed": "3"})
    assert fits({"pooling.sharpness": 5.0}, {"pooling.sharpness": "5"})
    assert fits({"pooling.sharpness": 5.0}, {"pooling.sharpness": "5.0"})
    assert not fits({"pooling.sharpness": 5.5}, {"pooling.sharpness": "5"})
    assert not fits({"pooling": "gap"}, {"map": "cam"})


def test_what_is_held_equal_is_all_that_is_not_named():
    one = {"backbone": "a", "backbone._target_": "x.a", "train.epochs": 3}
    other = {"backbone": "b", "backbone._target_": "x.b", "train.epochs": 3}
    assert held_equal(one, ["backbone"]) == held_equal(other, ["backbone"])
    assert held_equal(one, ["backbone"]) != held_equal({**other, "train.epochs": 4}, ["backbone"])
    assert held_equal(one, ["map"]) != held_equal(other, ["map"])


def test_two_poolings_are_paired_by_seed(results, capsys):
    assert compare(["pooling=gap,map=cam", "pooling=gmp,map=cam", f"results={results}"]) == 0
    said = capsys.readouterr().out
    assert "2 paired seeds [0, 1], 60 images; intervals cover seeds and images" in said
    lines = {cells[1].strip(): cells for cells in (line.split("|") for line in said.splitlines() if "|" in line)}
    first, second, difference = (float(cell.replace("−", "-")) for cell in lines["gt_known_loc"][2:5])
    assert difference == pytest.approx(first - second, abs=0.011)
    assert lines["max_box_acc"][8].strip() == "–"  # no operating point, no McNemar


def test_seeds_are_what_pairs_runs_and_name_no_group(results, capsys):
    assert compare(["pooling=gap,seed=0", "pooling=gmp,seed=0", f"results={results}"]) == 1
    assert "No two runs" in capsys.readouterr().err


def test_runs_that_differ_elsewhere_are_not_compared(results, tmp_path, capsys):
    make_runs(tmp_path, runs=2, images=30, thresholds=10)
    folder = RunFolder(next((tmp_path / "runs").glob("*gmp*")))
    told = read_json(folder.settings_file)
    write_json(folder.settings_file, {**told, "identity": {**told["identity"], "train": {"epochs": 9}}})
    assert compare(["pooling=gap", "pooling=gmp", f"results={tmp_path}"]) == 1
    assert "equal in all else" in capsys.readouterr().err


def test_both_ways_of_resampling_are_the_same():
    ours, plain = compare_resampling(images=50, thresholds=10, resamples=5)  # raises where they differ
    assert ours > 0
    assert plain > 0
