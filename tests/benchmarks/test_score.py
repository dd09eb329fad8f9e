"""`benchmarks/score.py`, as a user runs it."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

import score
from trees import REAL, edit, make_metadata
from wsol.scoring.thresholds import LABEL_FREE


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmarks/score.py", *map(str, arguments)])
        code = score.main()
        return code, capsys.readouterr()

    return call


@pytest.fixture
def metadata(tmp_path):
    return make_metadata(tmp_path / "metadata")


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    generator = np.random.default_rng(0)
    for name in ("a/one", "a/two", "b/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", generator.random((7, 7)).astype(np.float32))
    return folder


def test_a_table_and_everything_in_json(run, maps, metadata, tmp_path):
    code, printed = run(
        "--maps", maps, "--boxes", metadata, "--json", tmp_path / "s.json", "--per-image", tmp_path / "i.csv"
    )
    assert code == 0, printed.err
    for name in (
        "max_box_acc",
        "max_box_acc_v2",
        "gt_known_loc",
        "pointing_game",
        "coverage",
        "3 images, 4 true boxes",
        "Protocol reference: maps of the true class, bicubic to 224 x 224 pixels",
    ):
        assert name in printed.out
    saved = json.loads((tmp_path / "s.json").read_text())
    assert saved["protocol"]["name"] == "reference"
    assert saved["protocol"]["grid"] == [224, 224]
    assert (saved["images"], saved["true_boxes"], saved["thresholds"]) == (3, 4, 1000)
    assert saved["degenerate_maps"] == {"constant": 0, "zero": 0, "one_pixel": 0}
    assert saved["command"].startswith("python benchmarks/score.py --maps ")
    best = {row["score"]: row for row in saved["scores"] if row["tau"] == "oracle"}["max_box_acc"]
    curve = saved["curves"]["largest"]["0.5"]
    assert max(curve) == best["value"] == saved["max_box_acc"] == saved["box_acc"]["largest 0.5 oracle"]
    assert set(saved["gt_known_loc"]) == {"fixed 0.2", *LABEL_FREE}
    assert saved["curves"]["thresholds"][int(np.argmax(curve))] == best["threshold"]
    images = pd.read_csv(tmp_path / "i.csv")
    assert images["image_id"].tolist() == ["a/one.jpg", "a/two.jpg", "b/three.jpg"]
    fixed = next(row for row in saved["scores"] if row["score"] == "gt_known_loc" and row["tau"] == "fixed")
    assert (images["iou_largest_at_0.2"] >= 0.5).mean() == pytest.approx(fixed["value"])
    for policy in LABEL_FREE:
        assert images[f"{policy}_threshold"].between(0, 1).all()
        assert (images[f"iou_largest_{policy}"] >= 0.5).mean() == pytest.approx(saved["gt_known_loc"][policy])
    assert set(images["protocol"]) == {"reference"}


def test_a_score_of_the_user_is_a_row_at_once(run, maps, metadata, tmp_path):
    (tmp_path / "conf" / "scores").mkdir(parents=True)
    (tmp_path / "conf" / "scores" / "strict.yaml").write_text(
        "strict:\n"
        "  _target_: wsol.scoring.score.Score\n"
        "  function:\n"
        "    _target_: wsol.scoring.scores.gt_known_loc.gt_known_loc\n"
        "    _partial_: true\n"
        "    iou_threshold: 0.9\n"
        "  boxes: largest\n"
        "  threshold: held_out\n"
    )
    arguments = ["--maps", maps, "--boxes", metadata, "--json", tmp_path / "s.json"]
    code, printed = run(*arguments, "--config-dir", tmp_path / "conf")
    assert code == 0, printed.err
    assert set(json.loads((tmp_path / "s.json").read_text())["strict"]) == {"oracle", "fixed 0.2"}
    code, printed = run(*arguments, "--config-dir", tmp_path / "nowhere")
    assert code == 2
    assert "there is no configuration folder" in printed.err


def test_thresholds_of_another_split(run, maps, metadata, tmp_path):
    (metadata / "test").rename(metadata / "val")
    assert run("--maps", maps, "--boxes", metadata, "--split", "val", "--json", tmp_path / "val.json")[0] == 0
    make_metadata(tmp_path / "other")
    (tmp_path / "other" / "test").rename(metadata / "test")
    for path in (metadata / "test").glob("*.txt"):
        path.write_text(path.read_text().replace("three", "four"))
    (maps / "b/three.npy").rename(maps / "b/four.npy")
    arguments = ["--maps", maps, "--boxes", metadata, "--held-out", tmp_path / "val.json"]
    code, printed = run(*arguments, "--json", tmp_path / "test.json")
    assert code == 0, printed.err
    assert "other images" in printed.out
    chosen, best = (
        {row["score"]: row for row in json.loads((tmp_path / name).read_text())["scores"] if row["tau"] == tau}
        for name, tau in (("test.json", "held_out"), ("val.json", "oracle"))
    )
    assert chosen["gt_known_loc"]["threshold"] == best["max_box_acc"]["threshold"]
    assert "box_acc_v2" in chosen
    code, printed = run(*arguments, "--protocol", "tight")
    assert code == 2
    assert "made by protocol 'reference'" in printed.err
    code, printed = run(*arguments[:-1], tmp_path / "test.json")
    assert code == 2
    assert "of the very images that are scored" in printed.err
    code, printed = run(*arguments[:-1], metadata / "test" / "image_ids.txt")
    assert code == 2
    assert "is not what --json wrote" in printed.err


def test_predictions_add_localization_with_the_class(run, maps, metadata, tmp_path):
    (tmp_path / "p.csv").write_text("a/one.jpg,0,1,2,3,4\na/two.jpg,3,0,1,2,4\nb/three.jpg,9,8,7,6,5\n")
    arguments = ["--maps", maps, "--boxes", metadata, "--predictions", tmp_path / "p.csv"]
    code, printed = run(*arguments)
    assert code == 0, printed.err
    values = dict(re.findall(r"^\| (\w+) +\| ([\d.]+)", printed.out, re.MULTILINE))
    assert (values["top1_cls"], values["top5_cls"]) == ("33.33", "66.67")
    assert "top5_loc" in printed.out
    code, printed = run(*arguments, "--protocol", "zhou2016")
    assert code == 0, printed.err
    assert "top1_loc" in printed.out
    assert "max_box_acc" not in printed.out
    code, printed = run(*arguments[:4], "--protocol", "zhou2016")
    assert code == 2
    assert "give --predictions" in printed.err


@pytest.mark.parametrize("baseline", ["center", "frame"])
def test_baselines_need_no_maps(run, metadata, baseline, tmp_path):
    code, printed = run("--baseline", baseline, "--boxes", metadata, "--json", tmp_path / "s.json")
    assert code == 0, printed.err
    saved = json.loads((tmp_path / "s.json").read_text())
    assert saved["degenerate_maps"] is None
    best = saved["scores"][0]["value"]
    # The frame is right for the second image alone; so is the centre, at best also for another one.
    assert best == pytest.approx(1 / 3) if baseline == "frame" else best >= 1 / 3
    assert ("pointing_game" in printed.out) == (baseline == "center")
    assert ("Otsu" in printed.out) == (baseline == "center")


def test_all_bad_maps_are_named_before_anything_is_scored(run, maps, metadata):
    (maps / "a/one.npy").unlink()
    code, printed = run("--maps", maps, "--boxes", metadata)
    assert code == 2
    assert printed.out == ""
    assert "missing: " in printed.err
    assert "Traceback" not in printed.err
    np.save(maps / "a/one.npy", np.full((2, 2), np.nan))
    np.save(maps / "a/two.npy", np.zeros((2, 2, 2)))
    code, printed = run("--maps", maps, "--boxes", metadata)
    assert code == 2
    assert "2 problems" in printed.err
    assert "NaN: " in printed.err
    assert "wrong shape: " in printed.err


def test_score_maps_are_held_to_the_protocols_size_and_range(run, maps, metadata):
    code, printed = run("--maps", maps, "--boxes", metadata, "--score-maps")
    assert code == 2
    assert "not (224, 224)" in printed.err


def test_degenerate_maps_are_printed(run, maps, metadata):
    np.save(maps / "a/one.npy", np.zeros((7, 7)))
    code, printed = run("--maps", maps, "--boxes", metadata)
    assert code == 0
    assert "1 constant (1 of them zero), 0 of one pixel" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "0"], "The step between thresholds"),
        (["--tau", "0.12345"], "--tau reads τ = 0.12345, which is not among"),
        (["--split", "val"], "No annotations at"),
        (["--predictions", "none.csv"], "No predictions at none.csv"),
        (["--held-out", "none.json"], "none.json"),
    ],
)
def test_mistakes_are_reported_in_a_line(run, maps, metadata, arguments, message):
    code, printed = run("--maps", maps, "--boxes", metadata, *arguments)
    assert code == 2
    assert message in printed.err
    assert printed.out == ""


def test_a_malformed_annotation_is_named(run, maps, metadata):
    edit(metadata / "test" / "localization.txt", 1, "a/one.jpg,4,3,x,15")
    code, printed = run("--maps", maps, "--boxes", metadata)
    assert code == 2
    assert "localization.txt, line 1" in printed.err


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "images", "gaussian"), [("CUB_200_2011", 515, (0.5, 0.7)), ("tiny-imagenet-200", 500, (0.6, 0.8))]
)
def test_real_boxes(run, folder, images, gaussian, tmp_path):
    if not (REAL / folder).is_dir():
        pytest.skip(f"no {folder} under WSOL_DATA_ROOT")
    code, printed = run("--baseline", "center", "--boxes", REAL / folder, "--json", tmp_path / "s.json")
    assert code == 0, printed.err
    saved = json.loads((tmp_path / "s.json").read_text())
    assert saved["images"] == images
    low, high = gaussian
    assert low < saved["scores"][0]["value"] < high
