"""Runs as the command leaves them, and the report of them: whole, filtered, damaged."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import report
from commands import run_command
from config.saved_runs import end
from wsol.report.section import Pictures

ROOT = Path(__file__).parents[2]
CLAIMS = len(list((ROOT / "conf" / "claim").glob("*.yaml")))
FIGURES = {"error_types", "area_ratios", "accuracy_by_iou", "accuracy_by_threshold", "by_size", "differences"}
QUICK = ("gallery=0", "figures=no")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The results folder of one smoke sweep of two poolings; to be read, not written."""
    folder = tmp_path_factory.mktemp("trained")
    sizes = ["data.train_images=20", "data.val_images=20", "data.test_images=30", "data.image_size=32"]
    words = ["sweep=smoke", *sizes, "data.num_classes=4"]
    words += [f"machine.results={folder / 'results'}", "machine.accelerator=cpu", f"+data.cache_dir={folder / 'c'}"]
    done = run_command("run.py", *words, "thresholds.step=0.1")
    assert len(list((folder / "results" / "tables").glob("*/*.md"))) == 1
    assert "table: " in done.stdout
    return folder / "results"


@pytest.fixture
def results(trained, tmp_path):
    """A copy to damage."""
    shutil.copytree(trained / "runs", tmp_path / "results" / "runs")
    return tmp_path / "results"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The command, in this process: words -> exit status, output, errors."""

    def command(*words):
        line = [*map(str, words), f"out={tmp_path / 'out'}"]
        monkeypatch.setattr(sys, "argv", ["benchmarks/report.py", *line])
        capsys.readouterr()
        status = end(lambda: report.report(report.read_arguments(line)))
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def page(tmp_path):
    return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def table(output):
    """Lines of the printed table, as cells, with its head."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|--")]


def run_of(results, pooling):
    (folder,) = (results / "runs").glob(f"synthetic-small_cnn-{pooling}-*")
    return folder


def verdicts(output):
    pattern = r"^(inconclusive, one training|not testable(?:, one training)?): (.*)$"  # the sweep has one seed
    return [match.groups() for match in re.finditer(pattern, output, flags=re.MULTILINE)]


def test_all_at_once(trained, call, tmp_path):
    status, output, _ = call(trained)
    assert status == 0
    tables = [path.relative_to(tmp_path / "out" / "tables") for path in (tmp_path / "out" / "tables").glob("*/*")]
    name = "synthetic-small_cnn/tight"
    assert sorted(map(str, tables)) == sorted(f"{name}.{suffix}" for suffix in ("md", "tex", "csv"))
    markdown = (tmp_path / "out" / "tables" / f"{name}.md").read_text(encoding="utf-8")
    assert table(output) == table(markdown)
    assert [line[:2] for line in table(markdown)[1:]] == [
        ["gap", "cam"],
        ["gap", "grad_cam"],
        ["gmp", "cam"],
        ["gmp", "grad_cam"],
        ["gmp − gap", "cam"],
        ["gmp − gap", "grad_cam"],
        ["no network", "center_gaussian"],
        ["no network", "whole_frame"],
    ]
    assert (tmp_path / "out" / "tables" / f"{name}.tex").read_text(encoding="utf-8").count(r"\begin{tabular}") == 1
    figures = list((tmp_path / "out" / "figures" / "synthetic-small_cnn").iterdir())
    assert {path.stem.removeprefix("tight-") for path in figures} >= FIGURES
    assert {path.suffix for path in figures} == {".pdf", ".png"}
    assert all(path.stat().st_size > 0 for path in figures)

    assert len(verdicts(output)) == CLAIMS
    html = page(tmp_path)
    for verdict, _ in verdicts(output):
        assert verdict in html.lower()
    for pooling in ("gap", "gmp"):
        assert run_of(trained, pooling).name in html
    assert "most disagreement" in html
    assert html.count("data:image/jpeg") == 30  # the data set is at hand
    # The name of a namespace, which nobody loads, is the only address.
    assert set(re.findall(r"(?:https?|wss?|ftp)://[^\s\"'<>]*", html)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"""(?:src|href)\s*=\s*["']?//""", html)


def test_a_report_leaves_the_runs_as_they_are(trained, call):
    def state():
        return {path: path.stat().st_mtime_ns for path in sorted(trained.rglob("*"))}

    before = state()
    assert call(trained, *QUICK)[0] == 0
    assert state() == before


def test_the_folder_of_runs_may_be_named_itself(trained, call):
    first, second = (call(folder, *QUICK, "claims=none") for folder in (trained, trained / "runs"))
    assert first[0] == second[0] == 0
    assert table(first[1]) == table(second[1])


@pytest.mark.parametrize(
    ("words", "lines", "columns"),
    [
        (["data=synthetic", "protocol=tight", "backbone=small_cnn", "seed=0"], 8, None),
        (["synthetic-small_cnn"], 8, None),
        (["map=cam"], 5, None),
        (["map=cam,grad_cam"], 8, None),
        (["pooling=gap"], 4, None),
        (["pooling=gap", "map=grad_cam"], 3, None),
        (["score=top1_cls,gt_known_loc"], 8, ["top1_cls", "gt_known_loc (τ on val)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_filters(trained, call, words, lines, columns):
    status, output, _ = call(trained, *words, *QUICK, "claims=none")
    assert status == 0
    found = table(output)
    assert len(found) == 1 + lines
    if columns:
        assert [head for head in found[0] if "_" in head] == columns


def test_a_score_that_reads_no_box_names_no_box_rule(trained, call):
    _, output, _ = call(trained, "score=top1_cls", *QUICK)
    assert "Boxes read: ." not in output


def test_claims_can_be_chosen(trained, call, tmp_path):
    status, output, _ = call(trained, *QUICK, "claims=gap_localizes_better,equal_classification")
    assert status == 0
    assert len(verdicts(output)) == 2
    status, output, _ = call(trained, *QUICK, "claims=none")
    assert status == 0
    assert verdicts(output) == []
    assert not (tmp_path / "out" / "figures").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("filter=x", "there is no filter 'filter'; filters: data, backbone, pooling, map"),
        ("gallery=many", "gallery=many: give a number of images"),
        ("gallery=-1", "gallery=-1: give a number of images"),
        ("gallery=", "gallery=: give a number of images"),
        ("figures=maybe", "figures=maybe: say yes or no."),
        ("claims=nobody", "there is no claim nobody; claims: "),
    ],
)
def test_mistakes_are_reported_in_a_line(trained, call, tmp_path, word, message):
    status, output, errors = call(trained, word)
    assert status == 2
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "word", ["data=cub", "protocol=reference", "pooling=lse", "map=no_such_map", "nothing_like_it"]
)
def test_nothing_that_matches(trained, call, tmp_path, word):
    status, _, errors = call(trained, word)
    assert status == 1
    (line,) = errors.splitlines()
    assert word in line
    assert "python benchmarks/run.py" in line
    assert not (tmp_path / "out").exists()


def test_a_lost_record_leaves_a_number_without_an_interval(results, call):
    _, whole, _ = call(results, *QUICK, "claims=none")
    (lost,) = (run_of(results, "gmp") / "records").glob("test-grad_cam-largest-*")
    lost.unlink()
    status, output, _ = call(results, *QUICK, "claims=none")
    assert status == 0
    place = table(whole)[0].index("gt_known_loc (τ on val)")
    before, after = ({tuple(line[:2]): line[place] for line in table(said)[1:]} for said in (whole, output))
    assert before == after  # one seed has no interval, and the rows still have the number
    assert re.fullmatch(r"\d+\.\d", after["gmp", "grad_cam"])


def test_a_damaged_record_is_as_good_as_none(results, call, caplog):
    (damaged,) = (run_of(results, "gmp") / "records").glob("test-cam-largest-*")
    damaged.write_bytes(b"PAR1 is not enough")
    status, output, _ = call(results, *QUICK)
    assert status == 0
    place = table(output)[0].index("gt_known_loc (τ on val)")
    scores = {tuple(line[:2]): line[place] for line in table(output)[1:]}
    assert re.fullmatch(r"\d+\.\d", scores["gmp", "cam"])  # the rows have the number
    assert any(damaged.name in message for message in caplog.messages)


def test_lost_maps_leave_a_gallery_without_them(results, call, tmp_path):
    for pooling in ("gap", "gmp"):
        shutil.rmtree(run_of(results, pooling) / "maps")
    assert call(results, "figures=no", "claims=none", "gallery=5")[0] == 0
    assert "most disagreement" in page(tmp_path)
    assert "data:image/png" not in page(tmp_path)


def test_lost_predictions_leave_no_gallery(results, call, tmp_path):
    for pooling in ("gap", "gmp"):
        (run_of(results, pooling) / "predictions-test.parquet").unlink()
    assert call(results, "figures=no", "claims=none", "gallery=5")[0] == 0
    assert "most disagreement" not in page(tmp_path)


def test_lost_baselines_leave_the_runs(results, call):
    (baselines,) = (results / "runs").glob("synthetic-baselines-*")
    shutil.rmtree(baselines)
    status, output, _ = call(results, *QUICK, "claims=none")
    assert status == 0
    assert {line[0] for line in table(output)[1:]} == {"gap", "gmp", "gmp − gap"}


def test_lost_settings_leave_the_comparison_out(results, call, tmp_path):
    (run_of(results, "gmp") / "settings.json").unlink()
    status, output, errors = call(results, *QUICK)
    assert status == 1
    assert table(output) == []
    left_out = [line for line in errors.splitlines() if line.startswith("left out: synthetic-small_cnn-")]
    assert len(left_out) == 1
    assert "settings.json" in left_out[0]
    assert not (tmp_path / "out").exists()
    # What does not need them is reported.
    assert call(results, *QUICK, "claims=none", "pooling=gap")[0] == 0


def test_one_comparison_that_is_left_out_leaves_the_others(results, call, tmp_path):
    for pooling in ("gap", "gmp"):
        other = results / "runs" / f"other-{pooling}"
        shutil.copytree(run_of(results, pooling), other)
        (rows,) = other.glob("scores-*.csv")
        frame = pd.read_csv(rows, keep_default_na=False, dtype=str)
        frame.assign(run=other.name, comparison="other").to_csv(rows, index=False)
    status, output, _ = call(results, *QUICK, "claims=gap_localizes_better")
    assert status == 0
    assert len(verdicts(output)) == 2
    (results / "runs" / "other-gmp" / "settings.json").unlink()
    status, output, errors = call(results, *QUICK, "claims=gap_localizes_better")
    assert status == 0
    assert len(verdicts(output)) == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("left out: other-tight-")]
    assert "settings.json" in line
    assert "other-gap" not in page(tmp_path)


def test_one_run_alone_asks_for_the_other(results, call, tmp_path):
    shutil.rmtree(run_of(results, "gmp"))
    status, output, _ = call(results, *QUICK)
    assert status == 0
    assert [line[0] for line in table(output)[1:]] == ["gap", "gap", "no network", "no network"]
    by_claim = dict(reversed(answer) for answer in verdicts(output))
    of_both = [verdict for claim, verdict in by_claim.items() if claim.startswith("GAP localizes better")]
    assert of_both == ["not testable"] * 4
    commands = re.findall(r"python [^<]*benchmarks/run\.py[^<]*pooling=gmp seed=0[^<]*", page(tmp_path))
    assert commands
    assert not any("pooling=gap" in command for command in commands)


def test_scores_of_two_versions_of_the_code(results, call, tmp_path):
    (rows,) = run_of(results, "gmp").glob("scores-*.csv")
    pd.read_csv(rows, keep_default_na=False, dtype=str).assign(commit="0123456789").to_csv(rows, index=False)
    status, output, _ = call(results, *QUICK)
    assert status == 0
    (warning,) = [line for line in output.splitlines() if "2 versions of the code" in line]
    assert warning.startswith("warning: synthetic-small_cnn-")
    assert "0123456789" in warning
    assert "2 versions of the code (0123456789, " in page(tmp_path)


def test_class_names_are_text_in_the_page(trained, call, tmp_path, monkeypatch):
    names = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "a & b", '"quoted"']
    pictures = Pictures(names, lambda index: Image.fromarray(np.full((32, 32, 3), index, np.uint8)))
    monkeypatch.setattr(report.DataSets, "of", lambda self, comparison: pictures)
    assert call(trained, "figures=no")[0] == 0
    html = page(tmp_path)
    assert "alert(1)" in html
    for name in names[:2]:
        assert name not in html
    assert "<img src=x" not in html


def test_without_the_data_set_there_are_no_photographs(results, call, tmp_path, monkeypatch, caplog):
    def gone(*_):
        raise FileNotFoundError("no data\nhere")

    monkeypatch.setattr(report, "splits_of", gone)
    assert call(results, "figures=no", "gallery=5")[0] == 0
    assert caplog.messages == ["no photographs of synthetic: no data here"]
    html = page(tmp_path)
    assert "data:image/jpeg" not in html
    assert "5 of 30 test images are shown" in html
    assert "class 0" in html
