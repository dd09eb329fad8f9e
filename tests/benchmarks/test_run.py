"""The commands, as a user runs them."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from commands import run_command


def run(*words, script="run.py", check=True):
    return run_command(script, *words, check=check)


def table_of(output):
    return [line for line in output.splitlines() if line.startswith("|")]


@pytest.mark.slow
def test_smoke_twice(tmp_path):
    overrides = [
        "sweep=smoke",
        f"machine.results={tmp_path}",
        "machine.accelerator=cpu",
        f"+data.cache_dir={tmp_path}/c",
    ]
    first = run(*overrides)
    table = table_of(first.stdout)
    assert len(table) == 2 + 2 * 2 + 2 + 2  # head and rule, poolings x maps, differences, baselines
    assert [line.split("|")[1].strip() for line in table[2:]] == ["gap"] * 2 + ["gmp"] * 2 + ["gmp − gap"] * 2 + [
        "no network"
    ] * 2
    printed = [
        line.split(": ", 1)[1] for line in first.stdout.splitlines() if line.startswith(("table: ", "picture: "))
    ]
    assert {Path(path).suffix for path in printed} == {".csv", ".md", ".tex", ".png"}
    assert all(Path(path).stat().st_size > 0 for path in printed)

    def artefacts():
        files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.name != ".lock"]
        return {path: path.stat().st_mtime_ns for path in [*files, *tmp_path.glob("pictures/*")]}

    before = artefacts()
    second = run(*overrides)
    assert artefacts() == before  # nothing trained, nothing computed
    assert table_of(second.stdout) == table
    assert "epoch" not in second.stderr

    quick = [tmp_path, "figures=no", "gallery=0"]
    report = run(*quick, script="report.py")
    assert table_of(report.stdout) == table
    # Rows of an older version, which say less of themselves, do not keep the others from being reported.
    (rows,) = (tmp_path / "runs").glob("synthetic-small_cnn-gap-*/scores-*.csv")
    key = rows.stem.removeprefix("scores-")
    old = rows.with_name("scores-0ld.csv")
    old.write_text(rows.read_text(encoding="utf-8").replace(key, "0ld"), encoding="utf-8")
    report = run(*quick, script="report.py")
    assert table_of(report.stdout) == table
    assert "left out: " in report.stderr
    assert "protocol-0ld.json is missing" in report.stderr
    old.unlink()
    (long,) = [pd.read_csv(path) for path in (tmp_path / "tables").glob("*/*.csv")]
    assert long["mean"].dropna().between(-1, 1).all()

    # The same maps, judged as anyone's.
    (folder,) = (tmp_path / "runs").glob("synthetic-small_cnn-gap-*")
    (maps,) = (folder / "maps").glob("test-cam-*.npz")
    predictions = folder / "predictions-test.parquet"
    saved = tmp_path / "judged.json"
    options = ["--boxes", predictions, "--predictions", predictions, "--protocol", "tight", "--step", "0.05"]
    run("--maps", maps, *options, "--json", saved, script="score.py")
    judged = {(row["score"], row["tau"]): row["value"] for row in json.loads(saved.read_text())["scores"]}
    (rows,) = [pd.read_csv(path).query("map == 'cam'").set_index("score")["value"] for path in folder.glob("scores-*")]
    for score, tau in (("max_box_acc", "oracle"), ("max_box_acc_v2", "oracle"), ("top1_cls", ""), ("top5_cls", "")):
        assert judged[score, tau] == pytest.approx(rows[score], abs=1e-12)
    for score in ("gt_known_loc", "top1_loc", "top5_loc"):
        assert judged[score, "fixed"] == pytest.approx(rows[f"{score}_20"], abs=1e-12)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=cub", "machine.data_root=/nowhere"], "No CUB-200-2011 at"),
        (["data.clutter=7"], "clutter must lie in [0, 1], got 7"),
        (["train.optimizer=adam"], "optimizer must be adamw or sgd"),
        (["psol=no"], "psol must be true or false, got 'no'"),
        (["pooling=gpa"], "Could not find 'pooling/gpa'"),
        (["method=hass"], "Could not find 'method/hass'"),
        (["sweep=tunne"], "Could not find 'sweep/tunne'"),
        (["+tune.trials=4"], "tune.* are settings of a search, which sweep=tune asks for"),
        # Before the search, which would take hours.
        (["sweep=tune", "pooling=gap", "seed=0", "few_shot=[9]"], "9 images with boxes of each class are wanted"),
        (
            ["sweep=tune", "pooling=gap", "seed=0", "maps=[grad_cam]", "maps.grad_cam.target_layer=backbone.x"],
            "backbone.x",
        ),
        (["sweep=tune", "pooling=gap", "seed=0", "pooling_at_test=gem"], "GeM has parameters"),
        (["train=linear_probe"], "train.freeze_backbone would keep the random weights of backbone=small_cnn"),
        (["sweep=tune", "pooling=gap", "seed=1000"], "seed=1000 chooses the settings, so it cannot be reported"),
        (["maps=[]"], "maps=[] leaves nothing to score; choose some, like maps=[cam]"),
        (
            ["scores=[gt_known_loc_20]", "thresholds.step=0.3"],
            "Score 'gt_known_loc_20' reads τ = 0.2, which is not among",
        ),
    ],
)
def test_mistakes_are_reported_in_a_line_and_without_a_stack_trace(tmp_path, overrides, message):
    few = ["data.train_images=10", "data.val_images=10", "data.test_images=10", "train.epochs=1"]
    few = [] if "data=cub" in overrides else few
    done = run(*overrides, *few, f"machine.results={tmp_path}", check=False)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("trial-*.json"))


def test_a_job_that_fails_stops_no_sweep(tmp_path):
    few = ["data.train_images=20", "data.val_images=20", "data.test_images=20", "train.epochs=1", "maps=[cam]"]
    heads = ["-m", "pooling=wildcat,gap", "seed=0,1"]
    done = run(*heads, *few, f"machine.results={tmp_path}", "machine.accelerator=cpu", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"2 of 4 jobs failed:\npooling=wildcat seed=0 .*\n  ValueError: pool_site of WILDCAT", done.stderr)
    assert "Seeds: gap [0, 1]." in done.stdout
    (line,) = [line for line in table_of(done.stdout) if line.startswith("| gap ")]
    assert "2: n too small" in line


def test_a_report_on_nothing_says_how_to_make_something(tmp_path):
    done = run(str(tmp_path), script="report.py", check=False)
    assert done.returncode == 1
    assert "python benchmarks/run.py" in done.stderr


@pytest.mark.slow
def test_the_engine_is_timed_and_its_table_written(tmp_path):
    few = ["--maps", 1, "--images", 40, "--thresholds", 10]
    run(*few, "--out", tmp_path / "speed.md", script="measure/scoring.py")
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 1 + 19 * 2 + 2
    assert "both in one pass" in text
    done = run("--reference", tmp_path, script="measure/scoring.py", check=False)
    assert done.returncode != 0
    assert "contains no evaluation.py" in done.stderr
