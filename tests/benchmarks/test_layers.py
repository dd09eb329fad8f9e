"""`benchmarks/layers.py`."""

import sys
import urllib.error
from pathlib import Path

import pytest
import torch
from torch import nn

import layers
from map_methods import make
from networks import tiny_classifier
from wsol.maps.methods.grad_cam import GradCAM
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.timm import timm_network
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP

# timm resamples the tables of windows with indexing that torch warns of.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")
REGISTERS = "vit_small_patch14_reg4_dinov2"


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmarks/layers.py", *words])
        status = layers.main()
        return status, capsys.readouterr()

    return call


def test_layers_on_paper():
    classifier = tiny_classifier(GAP())
    modes = {name: module.training for name, module in classifier.named_modules()}
    result = {layer.name: layer for layer in layers.layers_of(classifier, 16)}
    assert next(iter(result)) == "backbone"
    assert result["backbone"].shape == (10, 8, 8)
    assert result["backbone.block1"].shape == (6, 16, 16)
    first = classifier.backbone.get_submodule("block1")
    assert result["backbone.block1"].parameters == sum(one.numel() for one in first.parameters())
    assert {layer.layout for layer in result.values()} == {"channels_first"}
    assert {name: module.training for name, module in classifier.named_modules()} == modes
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize(
    ("name", "size", "layer", "expected"),
    [
        ("test_vit", 64, "backbone.network.blocks.0", ("tokens", 1, (64, 4, 4))),
        ("test_vit", 64, "backbone.network.patch_embed", ("channels_last", 0, (64, 4, 4))),
        ("test_vit", 64, "backbone.network.patch_embed.proj", ("channels_first", 0, (64, 4, 4))),
        ("test_vit", 64, "backbone", ("channels_first", 0, (64, 4, 4))),
        (REGISTERS, 28, "backbone.network.blocks.5", ("tokens", 5, (384, 2, 2))),  # 9 tokens, and no grid of 3 x 3
        ("deit_tiny_patch16_224", 32, "backbone.network.patch_embed", ("tokens", 0, (192, 2, 2))),
        ("swin_tiny_patch4_window7_224", 64, "backbone.network.layers.0", ("channels_last", 0, (96, 16, 16))),
    ],
)
def test_what_stands_there_is_what_a_method_takes(name, size, layer, expected):
    classifier = Classifier(timm_network(name, None, size), GAP(), 3)
    result = {one.name: one for one in layers.layers_of(classifier, size)}
    assert (result[layer].layout, result[layer].prefix_tokens, result[layer].shape) == expected
    method = GradCAM(layer, layout=expected[0], prefix_tokens=expected[1])
    images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    assert make(method, classifier, images, torch.tensor([0])).shape == (1, *expected[2][1:])


def test_left_out_is_what_runs_twice_or_never_has_no_grid_or_passes_on():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never, self.flat = nn.ReLU(), nn.ReLU(), nn.Flatten()
            self.same, self.wide, self.good = nn.Identity(), nn.AvgPool2d((2, 1)), nn.Conv2d(3, 5, 1)

        def forward(self, x):
            self.flat(x), self.wide(x)
            return self.good(self.twice(self.same(self.twice(x))))

    classifier = Classifier(Backbone(nn.Sequential(Odd()), 5), GAP(), 2)
    assert [layer.name for layer in layers.layers_of(classifier, 8)] == ["backbone", "backbone.0", "backbone.0.good"]


def test_the_command(command):
    status, printed = command("backbone=timm", "backbone.name=test_vit", "data.image_size=64", "depth=3")
    assert status == 0
    lines = printed.out.splitlines()
    assert lines[0].split() == ["layer", "layout", "prefix_tokens", "C", "x", "h", "x", "w", "parameters"]
    assert lines[1].split()[:6] == ["backbone", "channels_first", "64", "x", "4", "x"]
    assert all(line.count(".") <= 2 for line in lines[1:-2])
    backbone = timm_network("test_vit", None, 64)
    trunk = sum(one.numel() for one in backbone.parameters())
    head = 64 * 200 + 200
    assert lines[-2] == f"parameters: {trunk + head:,}; backbone {trunk:,}, head of 200 classes {head:,}"
    assert lines[-1].endswith("deeper layers; depth=4 shows more.")
    assert len({len(line) for line in lines[:-2]}) == 1


def test_images_have_224_px_where_nothing_is_said(command):
    status, printed = command("backbone=small_cnn", "depth=2")
    assert status == 0
    assert "backbone.block1  channels_first  16 x 224 x 224" in printed.out
    assert "prefix_tokens" not in printed.out
    assert "16 x 64 x 64" in command("backbone=small_cnn", "data=synthetic", "depth=2")[1].out


def test_nothing_is_downloaded(command, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    status, printed = command("backbone=alexnet_pool5", "pooling=fully_connected", "pooling.network=alexnet", "depth=2")
    assert status == 0, printed.err
    assert "head of 200 classes 55,353,544" in printed.out


def test_without_depth_there_is_a_page(command):
    printed = command("backbone=timm", "backbone.name=test_resnet", "data.image_size=64")[1].out
    assert 5 < len(printed.splitlines()) <= layers._LINES + 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["backbone=timm", "backbone.name=resnet5"], "timm has no network 'resnet5'"),
        (["backbone=nothing"], "there is no option backbone/nothing"),
        (["depth=0"], "depth must be a whole number above 0, got '0'"),
        (["depth=x"], "depth must be a whole number above 0, got 'x'"),
    ],
)
def test_errors_are_one_line(command, words, message):
    status, printed = command(*words)
    assert status == 2
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_table_is_printed_anew(command, tmp_path):
    path = tmp_path / "table.md"
    path.write_text("# T\n| `backbone=` | name |\n|---|---|\n| `timm` | `test_resnet` | 1 | 2 |\n", encoding="utf-8")
    status, printed = command(f"table={path}")
    assert status == 0
    assert printed.out == "| `timm` | `test_resnet` | 96 | 7 x 7 | 0.4 | 32, 16, 8 |\n"


def test_help(command):
    assert Path(layers.__file__).name in command("--help")[1].out
