import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from measure import maps as speed_maps
from networks import tiny_classifier
from wsol.networks.pooling.gap import GAP

ROOT = Path(__file__).parents[3]


def test_graph_memory_counts_what_is_alive_once_and_no_parameters():
    network, images = nn.Linear(4, 4), torch.ones(2, 4)  # 2 x 4 x 4 bytes a tensor

    def two_graphs_in_turn():
        for _ in range(2):
            hidden = network(images).relu()  # saved once, for ReLU, and again below
            assert (hidden * hidden).sum().requires_grad
            del hidden

    assert speed_maps.GraphMemory(network, images).of(two_graphs_in_turn) == 32
    assert speed_maps.GraphMemory(network, images).of(lambda: network(images)) == 0
    assert speed_maps.GraphMemory(network, images).of(lambda: network(images).exp().exp()) == 64


def test_our_graph_is_that_of_the_head(images):
    classifier = tiny_classifier(GAP())
    pixels = images.float() / 255
    tool = speed_maps.ours("ours", classifier, pixels)
    held = speed_maps.GraphMemory(classifier, pixels).of(
        lambda: tool.make(("Grad-CAM",), torch.zeros(4, 1, dtype=torch.int64), False)
    )
    assert held == 4 * 10 * 4  # what fc reads: images x channels x bytes


def test_difference_does_not_depend_on_scale_and_takes_constant_maps():
    maps = torch.rand(2, 3, 4, 4)
    assert speed_maps.difference(5 * maps - 2, maps) < 1e-6
    assert speed_maps.difference(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)) == 0
    changed = maps.clone()
    changed[0, 0] = torch.tensor([0.0] * 8 + [1.0] * 8).view(4, 4)
    expected = (changed[0, 0] - (maps[0, 0] - maps[0, 0].min()) / (maps[0, 0].max() - maps[0, 0].min())).abs().max()
    assert speed_maps.difference(changed, maps) == pytest.approx(float(expected), abs=1e-6)


def test_a_library_that_breaks_has_a_row_that_says_so(monkeypatch, capsys):
    def broken(network, images):
        def make(methods, class_ids, at_grid):
            raise KeyError("a | b")

        return speed_maps.Tool("broken", network, ("Grad-CAM", "LayerCAM"), make)

    monkeypatch.setattr(speed_maps, "PEERS", {"torch": broken, "no-such-package": broken})
    monkeypatch.setattr(
        sys, "argv", ["speed_maps.py", *"--networks resnet18 --size 32 --batch 1 --rounds 1 --device cpu".split()]
    )
    speed_maps.main()
    text = capsys.readouterr().out
    assert text.count("| broken ") == 4
    assert text.count("failed: KeyError: 'a / b'") == 4
    assert "Left out because not installed: no-such-package." in text
    assert "`python benchmarks/measure/maps.py --networks resnet18 --size 32 --batch 1 --rounds 1 --device cpu`" in text


@pytest.mark.slow
def test_the_table_and_what_the_libraries_agree_on(tmp_path):
    for package in ("pytorch_grad_cam", "torchcam", "captum"):
        pytest.importorskip(package)
    out = tmp_path / "speed.md"
    command = [sys.executable, "benchmarks/measure/maps.py", "--networks", "resnet18", "--size", "32", "--batch", "2"]
    options = ["--rounds", "1", "--device", "cpu", "--out", str(out)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text.strip() == done.stdout.strip()
    times, differences = (cells(part) for part in text.split("\n\n")[:2])
    assert [row[1] for row in times[1:]] == ["bare forward pass"] + [
        "ours",
        "ours, optimized",
        "grad-cam",
        "torchcam",
        "captum",
    ] * 4
    assert [row[3] for row in times[2:]] == ["1"] * 5 + ["5"] * 5 + ["1"] * 5 + ["5"] * 5
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in times[1:])
    graph = {row[1]: float(row[6]) for row in times[2:7]}
    assert graph["ours"] < 0.01
    assert min(graph[name] for name in ("grad-cam", "torchcam", "captum")) > 100 * graph["ours"]
    result = {(row[1], method): row[2 + place] for row in differences[1:] for place, method in enumerate(METHODS)}
    agree = ("Grad-CAM", "XGrad-CAM", "HiResCAM", "LayerCAM")
    for name, has in {"ours, optimized": METHODS, "grad-cam": agree, "torchcam": agree, "captum": agree}.items():
        values = [float(result[name, method]) for method in has if result[name, method] != "-"]
        assert len(values) == {"ours, optimized": 6, "grad-cam": 4, "torchcam": 3, "captum": 2}[name]
        assert max(values) < 1e-3, name


METHODS = list(speed_maps.METHODS)


def cells(table):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    return [row for row in rows if not set(row[0]) <= set("-")]
