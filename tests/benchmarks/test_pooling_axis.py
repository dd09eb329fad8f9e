"""The figures and the table of the pooling axis, of runs as the pipeline leaves them."""

import json
import re
import shutil
import sys
from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

import pooling_axis
from config.saved_runs import end
from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.maps.methods.cam import CAM
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.networks.pooling.lse import LSE
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.head_name import HeadName
from wsol.runs.pipeline import run_experiment
from wsol.runs.tuning import Tuned, Tuning
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.score import Score
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.max_box_acc_v2 import max_box_acc_v2
from wsol.scoring.scores.top_k_cls import top_k_cls
from wsol.training.train import TrainSettings

DATA = {"image_size": 16, "num_classes": 4, "train_images": 24, "val_images": 12, "test_images": 16, "seed": 0}
LSE_10 = "lse:sharpness=10"
NO_FIGURES = "figures=no"

pytestmark = pytest.mark.slow

POOLINGS = {
    "gap": (GAP(), {"option": "gap"}),
    "gmp": (GMP(), {"option": "gmp"}),
    LSE_10: (LSE(10.0), {"option": "lse", "sharpness": 10, "learned": False}),
}
EVALUATION = Evaluation(
    maps={"cam": CAM()},
    boxes={"largest": largest, "every": every},
    scores={
        "top1_cls": Score(partial(top_k_cls, k=1), "largest", None),
        "max_box_acc": Score(partial(max_box_acc), "largest", "oracle"),
        "max_box_acc_v2": Score(partial(max_box_acc_v2), "every", "oracle"),
        "gt_known_loc": Score(partial(gt_known_loc), "largest", "held_out"),
    },
    thresholds=tuple(np.arange(0, 1, 0.1).round(9).tolist()),
)


def run(folder, head, seed, swapped=""):
    """Train one head on made-up birds, as a search chose to; `swapped` is tested in its place."""
    pooling, node = POOLINGS[head]
    reader = {"option": "synthetic", **DATA}
    experiment = Experiment(
        data="synthetic",
        backbone="tiny",
        pooling=head,
        seed=seed,
        reader=reader,
        settings={
            "data": DATA,
            "backbone": {"option": "small_cnn", "channels": [4, 6]},
            "pooling": node,
        },
        train=TrainSettings(epochs=1, batch_size=8, lr=0.002, head_lr=0.02),
        image_size=16,
        pooling_layer=pooling,
    )
    base = replace(experiment.train, lr=0.001)
    if swapped:
        layer, swapped_node = POOLINGS[swapped]
        experiment = replace(
            experiment,
            pooling=str(HeadName(head, tested_as=swapped)),
            settings={**experiment.settings, "pooling_at_test": swapped_node},
            pooling_layer=layer,
            trained_as=experiment,
        )
    trial = {"trial": 0, "status": "", "score": 0.5, "top1_cls": 0.5, "cross_entropy": 1.0, "max_box_acc": None}
    trials = pd.DataFrame([{**trial, "seconds": 1.0, "lr": 0.002, "head_lr": 0.02}])
    tuned = Tuned(Tuning(trials=1), base, 0, experiment.train, trials)
    run_experiment(
        experiment.tuned_by(tuned),
        synthetic(**DATA, cache_dir=folder / "cache"),
        lambda: Classifier(small_cnn(channels=(4, 6)), pooling, DATA["num_classes"]),
        EVALUATION,
        Machine(folder / "results", accelerator="cpu", progress=False),
        command=f"python benchmarks/run.py pooling={head} seed={seed}",
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three heads and a swapped one; to be read, not written."""
    folder = tmp_path_factory.mktemp("trained")
    for head, seed in [("gap", 0), ("gap", 1), ("gmp", 0), (LSE_10, 0)]:
        run(folder, head, seed)
    run(folder, "gap", 0, swapped="gmp")
    return folder / "results"


@pytest.fixture
def results(trained, tmp_path):
    """A copy to write in, and to damage."""
    shutil.copytree(trained / "runs", tmp_path / "results" / "runs")
    return tmp_path / "results"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The command, in this process: words -> exit status, output, errors."""

    def command(*words):
        line = [*map(str, words), f"out={tmp_path / 'out'}"]
        monkeypatch.setattr(sys, "argv", ["benchmarks/pooling_axis.py", *line])
        capsys.readouterr()
        status = end(lambda: pooling_axis.draw_axis(pooling_axis.read_arguments(line)))
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def rows_of(output):
    """Lines of the printed table by head, cells by heading."""
    lines = [line for line in output.splitlines() if line.startswith("|") and not line.startswith("|--")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def folder_of(results, head, seed=0):
    """The folder of a run."""
    stored = [json.loads(path.read_text()) for path in (results / "runs").glob("*/settings.json")]
    (result,) = [one["run"] for one in stored if (one["pooling"], one["seed"]) == (head, seed)]
    return results / "runs" / result


def test_all_at_once(results, call, tmp_path):
    status, output, errors = call(results / "runs")
    assert (status, errors) == (0, "")
    out = tmp_path / "out"
    name = "synthetic-tiny/tight"
    figures = [f"localization_by_{x}.{suffix}" for x in ("sharpness", "classification") for suffix in ("pdf", "png")]
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and path.name[0] != "."}
    assert written == {"names.json", f"tables/{name}-pooling_axis.md", *(f"figures/{name}-{one}" for one in figures)}
    table = rows_of(output)
    assert table == rows_of((out / "tables" / f"{name}-pooling_axis.md").read_text(encoding="utf-8"))
    assert list(table) == ["gap", LSE_10, "gmp", "gap_tested_as_gmp"]
    shares = {head: row["effective share of cells (%)"] for head, row in table.items()}
    assert shares["gap"] == "100"
    assert 1.5 < float(shares["gmp"]) <= float(shares[LSE_10]) < 100
    assert 1.5 < float(shares["gap_tested_as_gmp"]) < 10  # of 64 cells
    for head, row in table.items():
        assert [row[column] for column in ("lr", "head_lr", "failed")] == ["0.002", "0.02", "0"]
        assert row["seeds"] == f"{2 if head == 'gap' else 1}: n too small"
        for column in ("top1_cls", "gt_known_loc (τ on val)", "oracle: max_box_acc_v2 (τ on test)"):
            assert re.fullmatch(r"\d+\.\d", row[column])
    assert "What chose the score-map threshold τ: on val" in output
    assert "Protocol `tight`" in output
    assert "Tuned: one trial for each head" in output
    assert "`python benchmarks/run.py pooling=gmp seed=0`" in output
    assert "n = 3 heads" in output  # the swapped one is no head of its own
    assert f"This table: command: python benchmarks/pooling_axis.py {results / 'runs'} out=" in output
    assert "Degenerate maps" not in output
    for path in (out / "figures").glob("*/*.png"):
        with Image.open(path) as image:
            assert "python benchmarks/pooling_axis.py" in image.text["Description"]
            assert "; code " in image.text["Description"]


def test_shares_are_kept_in_the_runs_and_not_measured_again(results, call, monkeypatch):
    _, before, _ = call(results, NO_FIGURES)
    stored = json.loads((folder_of(results, "gmp") / pooling_axis.SHARE_FILE).read_text())
    assert stored["head"] == "gmp"
    assert stored["images"] == 12
    assert stored["cells"] == 64

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(pooling_axis, "effective_share", never)
    monkeypatch.setattr(pooling_axis, "read_run", never)
    monkeypatch.setattr(pooling_axis, "splits_of", never)
    status, after, _ = call(results, NO_FIGURES)
    assert status == 0
    assert rows_of(after) == rows_of(before)


def test_a_share_of_something_else_is_not_taken(results, call):
    file = folder_of(results, "gmp") / pooling_axis.SHARE_FILE
    file.write_text(json.dumps({"key": "other", "head": "gmp", "effective_share": 0.5, "cells": 64}))
    _, output, _ = call(results, NO_FIGURES)
    assert float(rows_of(output)["gmp"]["effective share of cells (%)"]) < 20


def test_the_swapped_share_is_that_of_the_pooling_at_test(results, call):
    call(results, NO_FIGURES)
    swapped, plain = (
        json.loads((folder_of(results, head) / pooling_axis.SHARE_FILE).read_text())["effective_share"]
        for head in ("gap_tested_as_gmp", "gap")
    )
    assert plain == pytest.approx(1)
    assert swapped < 0.1


def test_without_images_there_is_no_share_and_the_notes_say_why(results, call, monkeypatch, tmp_path):
    def gone(*_):
        raise FileNotFoundError("no data\nhere")

    monkeypatch.setattr(pooling_axis, "splits_of", gone)
    status, output, _ = call(results)
    assert status == 0
    assert {row["effective share of cells (%)"] for row in rows_of(output).values()} == {"n/a"}
    assert (
        f"No effective share of gap, gmp, {LSE_10}, gap_tested_as_gmp: no images of synthetic: no data here.\n"
        in output
    )
    assert "n/a for n = 0 heads" in output
    names = {path.stem.rpartition("-")[2] for path in (tmp_path / "out" / "figures" / "synthetic-tiny").iterdir()}
    assert names == {"localization_by_classification"}


def test_a_head_without_shares_is_named_and_the_others_are_drawn(results, call, monkeypatch):
    measured = pooling_axis.effective_share

    def of_a_mean_alone(classifier, images):
        if isinstance(classifier.pooling, LSE):
            raise ValueError("LSE has no gradient share for each cell of a channel.")
        return measured(classifier, images)

    monkeypatch.setattr(pooling_axis, "effective_share", of_a_mean_alone)
    status, output, _ = call(results, NO_FIGURES)
    assert status == 0
    assert rows_of(output)[LSE_10]["effective share of cells (%)"] == "n/a"
    assert list(rows_of(output)) == ["gap", "gmp", LSE_10, "gap_tested_as_gmp"]
    assert f"No effective share of {LSE_10}: LSE has no gradient share" in output


def test_a_lost_network_leaves_its_head_without_a_share(results, call):
    (folder_of(results, "gap", 1) / "classifier.pt").unlink()
    _, output, _ = call(results, NO_FIGURES)
    assert rows_of(output)["gap"]["effective share of cells (%)"] == "n/a"  # not the mean of the seed that is left
    assert "classifier.pt is missing" in output


def test_failed_runs_are_counted_and_left_out(results, call):
    for head, seed in [("gap", 1), ("gmp", 0)]:
        (rows,) = folder_of(results, head, seed).glob("scores-*.csv")
        pd.read_csv(rows, keep_default_na=False, dtype=str).assign(status="collapsed").to_csv(rows, index=False)
    status, output, _ = call(results, NO_FIGURES)
    assert status == 0
    table = rows_of(output)
    assert (table["gap"]["seeds"], table["gap"]["failed"]) == ("1: n too small", "1")
    assert (table["gmp"]["seeds"], table["gmp"]["failed"]) == ("0", "1")
    assert table["gmp"]["top1_cls"] == "n/a"
    assert "No effective share of gmp: no run learned anything." in output


def test_a_failed_seed_is_not_called_missing(results, call):
    (rows,) = folder_of(results, "gap").glob("scores-*.csv")
    pd.read_csv(rows, keep_default_na=False, dtype=str).assign(status="collapsed").to_csv(rows, index=False)
    status, output, _ = call(results, NO_FIGURES)
    assert status == 0
    (missing,) = re.findall(r"Missing: (.*?)\.(?: |$)", output, flags=re.MULTILINE)
    assert "seed=0" not in missing
    assert "pooling=gmp seed=1" in missing  # which none tried


def test_another_score_and_filters(results, call):
    status, output, _ = call(
        results, NO_FIGURES, "score=max_box_acc", "data=synthetic", "seed=0", "pooling=gap,gmp", "tiny"
    )
    assert status == 0
    table = rows_of(output)
    assert list(table) == ["gap", "gmp"]
    assert table["gap"]["seeds"] == "1: n too small"
    assert "oracle: max_box_acc (τ on test)" in table["gap"]
    assert "gt_known_loc (τ on val)" not in table["gap"]


def test_runs_that_nobody_may_write_to(results, call, monkeypatch, caplog):
    def read_only(*_):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(pooling_axis, "write_json", read_only)
    status, output, _ = call(results, NO_FIGURES, "pooling=gap,gmp")
    assert status == 0
    assert rows_of(output)["gap"]["effective share of cells (%)"] == "100"
    assert "cannot be written: read-only file system" in caplog.text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("filter=x", "there is no filter 'filter'; filters: data, backbone, pooling, map"),
        ("score=", "score=: name one score"),
        ("score=top1_cls,gt_known_loc", "score=top1_cls,gt_known_loc: name one score"),
        ("map=cam,grad_cam", "map=cam,grad_cam: name one map"),
        ("figures=maybe", "figures=maybe: say yes or no."),
        ("no/such/folder", "there is no folder no/such/folder"),
    ],
)
def test_mistakes_are_reported_in_a_line(trained, call, tmp_path, word, message):
    status, output, errors = call(trained, word)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("word", ["data=cub", "map=no_such_map", "nothing_like_it"])
def test_nothing_that_matches(trained, call, tmp_path, word):
    status, output, errors = call(trained, word)
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert word in line
    assert "make some: python benchmarks/run.py" in line
    assert not (tmp_path / "out").exists()


def test_no_runs_at_all(call, tmp_path):
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    status, output, errors = call(tmp_path / "empty")
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"No scored runs under {tmp_path / 'empty' / 'runs'}")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("score=top1_cls", "no localization score 'top1_cls'; scores: max_box_acc, max_box_acc_v2, gt_known_loc."),
        ("score=unheard_of", "no localization score 'unheard_of'"),
        ("pooling=gap", "gap is its only head, and an axis needs two."),
    ],
)
def test_what_cannot_be_drawn_is_left_out_by_name(trained, call, tmp_path, word, message):
    status, output, errors = call(trained, word)
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("left out: synthetic-tiny-")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "sharpness", "label"),
    [
        ("gap", None, "gap"),
        ("lse", 3.0, "lse 3"),
        ("lse:sharpness=10", 10, "lse 10"),
        ("lse_on_scores", 3.0, "lse 3 on scores"),
        ("lse:learned=True", None, "lse learned=True"),
        ("wildcat:alpha=0:highest=1_on_scores", None, "wildcat alpha=0 highest=1 on scores"),
        ("gap_tested_as_gmp", None, "gap tested as gmp"),
        ("gap_tested_as_lse:sharpness=2", None, "gap tested as lse 2"),
        ("top_k:k=0.5+cutmix:alpha=0.5", None, "top_k 0.5 + cutmix:alpha=0.5"),
    ],
)
def test_labels(name, sharpness, label):
    assert pooling_axis.label_of(HeadName.read(name), sharpness) == label


class TestRankCorrelation:
    def test_the_p_value_is_that_of_all_permutations(self):
        first, second = np.array([1.0, 2, 3, 4, 5]), np.array([0.2, 0.1, 0.5, 0.4, 0.9])
        rho, p = pooling_axis.rank_correlation(first, second)
        stored = [abs(stats.spearmanr(first, order).statistic) for order in permutations(second)]
        assert rho == pytest.approx(0.8)  # 1 - 6 * 4 / (5 * 24)
        assert p == pytest.approx(np.mean(np.array(stored) >= 0.8 - 1e-9), abs=0.01)

    def test_three_in_order_are_no_proof(self):
        rho, p = pooling_axis.rank_correlation(np.array([1.0, 2, 3]), np.array([0.1, 0.2, 0.3]))
        assert rho == pytest.approx(1)
        assert p == pytest.approx(1 / 3)  # of six orders, two are as extreme

    def test_many_pairs_are_seeded(self):
        values = np.random.default_rng(0).random((2, 15))
        assert pooling_axis.rank_correlation(*values) == pooling_axis.rank_correlation(*values)
