"""The networks of the papers: what they are made of, what they load, what they read."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torchvision.models import get_model

from map_methods import make
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.networks.backbones.alexnet import alexnet_gap, alexnet_pool5
from wsol.networks.backbones.googlenet import googlenet_gap
from wsol.networks.backbones.inception_v3 import inception_v3_choe
from wsol.networks.backbones.resnet import resnet18, resnet50
from wsol.networks.backbones.vgg16 import vgg16, vgg16_choe, vgg16_gap, vgg16_pool5
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.fully_connected import FullyConnected
from wsol.networks.pooling.gmp import GMP
from wsol.networks.trunk import added_convolution, cut_after, load_trunk

CONF = Path(__file__).parents[3] / "conf"
META = torch.device("meta")  # shapes and counts; nothing is computed
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def random_images(count, size):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


class Reached(Exception):
    pass


def output_of(network, layer, images):
    """What a layer gives; the layers behind it are not run."""

    def stop(module, args, output):
        raise Reached(output)

    handle = network.get_submodule(layer).register_forward_hook(stop)
    try:
        with torch.no_grad():
            network(images)
    except Reached as reached:
        return reached.args[0]
    finally:
        handle.remove()


def gives(monkeypatch, state):
    """Let torchvision's weights be this state dict."""
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *args, **kwargs: state)


@pytest.fixture(scope="module")
def inceptions():
    """InceptionV3 of torchvision, and that of Choe et al. with its weights."""
    torch.manual_seed(0)
    theirs = get_model("inception_v3", weights=None, init_weights=False, transform_input=True).eval()
    with pytest.MonkeyPatch.context() as monkeypatch:
        gives(monkeypatch, theirs.state_dict())
        return theirs, inception_v3_choe("imagenet", 8).eval()


# What the papers' tables of layers add up to.


def conv(cells, before, after):
    """Weights and biases."""
    return cells * before * after + after


def bn_conv(cells, before, after):
    """Weights, and a batch norm's scales and shifts."""
    return cells * before * after + 2 * after


def chain(layer, *widths, cells=9):
    return sum(layer(cells, before, after) for before, after in pairwise(widths))


def of_googlenet(before, one, reduced3, three, reduced5, five, pooled):
    """An inception module, columns as in Szegedy et al., CVPR 2015, table 1; torchvision's 5x5 is a 3x3."""
    ones = sum(bn_conv(1, before, after) for after in (one, reduced3, reduced5, pooled))
    return ones + bn_conv(9, reduced3, three) + bn_conv(9, reduced5, five)


def of_inception_5(before, pooled):
    ones = sum(bn_conv(1, before, after) for after in (64, 48, 64, pooled))
    return ones + bn_conv(25, 48, 64) + chain(bn_conv, 64, 96, 96)


def of_inception_6(width):
    ones = sum(bn_conv(1, 768, after) for after in (192, width, width, 192))
    return ones + chain(bn_conv, width, width, 192, cells=7) + chain(bn_conv, width, width, width, width, 192, cells=7)


def of_resnet50():
    total, before = bn_conv(49, 3, 64), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        total += bn_conv(1, before, 4 * width)  # the shortcut of the first block
        for _ in range(blocks):
            total += bn_conv(1, before, width) + bn_conv(9, width, width) + bn_conv(1, width, 4 * width)
            before = 4 * width
    return total


def of_resnet18():
    total, before = bn_conv(49, 3, 64), 64
    for width in (64, 128, 256, 512):
        total += bn_conv(1, before, width) if before != width else 0
        total += chain(bn_conv, before, width, width, width, width)
        before = width
    return total


ALEXNET = conv(121, 3, 64) + conv(25, 64, 192) + chain(conv, 192, 384, 256, 256)
VGG16 = chain(conv, 3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
GOOGLENET = (
    bn_conv(49, 3, 64)
    + bn_conv(1, 64, 64)
    + bn_conv(9, 64, 192)
    + of_googlenet(192, 64, 96, 128, 16, 32, 32)
    + of_googlenet(256, 128, 128, 192, 32, 96, 64)
    + of_googlenet(480, 192, 96, 208, 16, 48, 64)
    + of_googlenet(512, 160, 112, 224, 24, 64, 64)
    + of_googlenet(512, 128, 128, 256, 24, 64, 64)
    + of_googlenet(512, 112, 144, 288, 32, 64, 64)
    + of_googlenet(528, 256, 160, 320, 32, 128, 128)
)
INCEPTION_V3 = (
    chain(bn_conv, 3, 32, 32, 64)
    + bn_conv(1, 64, 80)
    + bn_conv(9, 80, 192)
    + of_inception_5(192, 32)
    + of_inception_5(256, 64)
    + of_inception_5(288, 64)
    + bn_conv(9, 288, 384)
    + bn_conv(1, 288, 64)
    + chain(bn_conv, 64, 96, 96)
    + sum(of_inception_6(width) for width in (128, 160, 160, 192))
)


@pytest.mark.parametrize(
    ("build", "trunk", "added", "text", "channels", "cells"),
    [
        (alexnet_gap, ALEXNET, conv(9, 256, 1024), "4,830,016", 1024, 13),
        (alexnet_pool5, ALEXNET, 0, "2,469,696", 256, 6),
        (vgg16, VGG16, 0, "14,714,688", 512, 14),
        (vgg16_gap, VGG16, conv(9, 512, 1024), "19,434,304", 1024, 14),
        (vgg16_pool5, VGG16, 0, "14,714,688", 512, 7),
        *((vgg16_choe, VGG16, conv(9, 512, 1024), "19,434,304", 1024, {"output_stride": s}) for s in (16, 8)),
        (googlenet_gap, GOOGLENET, conv(9, 832, 1024), "10,942,656", 1024, 14),
        *(
            (inception_v3_choe, INCEPTION_V3, chain(conv, 768, 1024, 1024), "25,482,976", 1024, {"output_stride": s})
            for s in (16, 8)
        ),
        *((resnet50, of_resnet50(), 0, "23,508,032", 2048, {"output_stride": s, "dilate": False}) for s in (32, 16, 8)),
        *((resnet18, of_resnet18(), 0, "11,176,512", 512, {"output_stride": s, "dilate": False}) for s in (32, 16, 8)),
    ],
)
def test_parameters_channels_and_cells_are_those_of_the_docstring(build, trunk, added, text, channels, cells):
    settings = cells if isinstance(cells, dict) else {}
    cells = 224 // cells["output_stride"] if isinstance(cells, dict) else cells
    with META:
        backbone = build(None, **settings)
        features = backbone(torch.zeros(2, 3, 224, 224))
    assert count(backbone) == trunk + added
    assert f"{trunk + added:,}" == text
    assert text in build.__doc__
    if added:
        assert f"{added:,}" in build.__doc__
    assert features.shape == (2, channels, cells, cells)
    assert backbone.out_channels == channels


@pytest.mark.parametrize(
    "option",
    [
        "alexnet_gap",
        "alexnet_pool5",
        "vgg16_gap",
        "vgg16_pool5",
        "vgg16_choe",
        "googlenet_gap",
        "inception_v3_choe",
        "resnet50_choe",
    ],
)
def test_every_option_builds_and_carries_a_head(option):
    node = OmegaConf.load(CONF / "backbone" / f"{option}.yaml")
    assert node.weights == "imagenet"
    with META:
        classifier = Classifier(instantiate(node, weights=None), GMP(), 7)
        assert classifier(torch.zeros(2, 3, 96, 96)).shape == (2, 7)


@pytest.mark.parametrize(("network", "backbone"), [("vgg16", "vgg16_pool5"), ("alexnet", "alexnet_pool5")])
def test_the_fully_connected_option_builds_after_its_trunk(network, backbone):
    trunk = OmegaConf.load(CONF / "backbone" / f"{backbone}.yaml")
    head = OmegaConf.load(CONF / "pooling" / "fully_connected.yaml")
    with META:
        pooling = instantiate(head, network=network, weights=None)
        classifier = Classifier(instantiate(trunk, weights=None), pooling, 7)
        assert classifier(torch.zeros(2, 3, 96, 96)).shape == (2, 7)
    assert classifier.fc.in_features == 4096


class TestNames:
    """torchvision's own, so that target layers and weights are found."""

    @pytest.mark.parametrize(
        ("build", "last"), [(vgg16, 29), (vgg16_gap, 29), (vgg16_pool5, 30), (alexnet_gap, 11), (alexnet_pool5, 12)]
    )
    def test_features_keep_their_numbers(self, build, last):
        with META:
            backbone = build(None)
        assert list(dict(backbone.features.named_children())) == [str(number) for number in range(last + 1)]
        assert isinstance(backbone.features[last], nn.MaxPool2d if build in (vgg16_pool5, alexnet_pool5) else nn.ReLU)

    def test_vgg16_has_nothing_else(self):
        with META:
            backbone, whole = vgg16(None), get_model("vgg16", weights=None)
        assert list(backbone.state_dict()) == [
            "mean",
            "std",
            *(key for key in whole.state_dict() if key.startswith("features.")),
        ]

    def test_a_removed_pooling_leaves_the_numbers_behind_it(self):
        with META:
            coarse, fine = vgg16_choe(None, 16), vgg16_choe(None, 8)
        assert list(coarse.state_dict()) == list(fine.state_dict())
        assert isinstance(coarse.features[23], nn.MaxPool2d)
        assert isinstance(fine.features[23], nn.Identity)


class TestWeights:
    """Tensors that a network of torchvision holds, in place of its download."""

    @pytest.mark.parametrize(
        ("build", "name", "new"),
        [
            (alexnet_gap, "alexnet", {"conv_gap.weight", "conv_gap.bias"}),
            (alexnet_pool5, "alexnet", set()),
            (vgg16_choe, "vgg16", {"conv6.weight", "conv6.bias"}),
            (googlenet_gap, "googlenet", {"conv_gap.weight", "conv_gap.bias"}),
            (
                inception_v3_choe,
                "inception_v3",
                {f"SPG_A3_{step}.0.{part}" for step in ("1b", "2b") for part in ("weight", "bias")},
            ),
        ],
    )
    def test_all_of_the_trunk_is_loaded_and_the_rest_is_new(self, build, name, new, monkeypatch):
        with META:  # with its auxiliary classifiers, as torchvision's files
            whole = get_model(name, weights=None, **({} if name in ("alexnet", "vgg16") else {"init_weights": True}))
        state = {
            key: torch.tensor(number, dtype=tensor.dtype).expand(tensor.shape)
            for number, (key, tensor) in enumerate(whole.state_dict().items(), start=1)
        }
        gives(monkeypatch, state)
        loaded = build("imagenet").state_dict()
        assert {key for key in loaded if key not in state} == {"mean", "std", *new}
        for key in set(loaded) & set(state):
            assert torch.equal(loaded[key], state[key]), key
        for key in new:
            assert (loaded[key] == 0).all() == key.endswith("bias")
        half = torch.full((1, 3, 1, 1), 0.5)
        mean, std = (MEAN, STD) if name in ("alexnet", "vgg16") else (half, half)
        torch.testing.assert_close((loaded["mean"], loaded["std"]), (mean, std))

    def test_a_missing_tensor_is_no_silence(self):
        trunk = cut_after(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)), "0")
        with pytest.raises(RuntimeError, match=r"Missing key.*0\.bias"):
            load_trunk(trunk, {"0.weight": torch.ones(4, 3, 1, 1), "1.weight": torch.ones(5, 4, 1, 1)})

    def test_a_child_that_is_not_there_is_named(self):
        with pytest.raises(ValueError, match="Sequential has no child '2'; it has 0, 1"):
            cut_after(nn.Sequential(nn.ReLU(), nn.ReLU()), "2")

    def test_of_the_fully_connected_layers(self, monkeypatch):
        theirs = get_model("alexnet", weights=None)
        gives(monkeypatch, theirs.state_dict())
        pooling = FullyConnected("alexnet", "imagenet")
        assert pooling.prepare(256) == 4096
        assert set(pooling.state_dict()) == {f"classifier.{n}.{part}" for n in (1, 4) for part in ("weight", "bias")}
        for key, tensor in pooling.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[key])

    @pytest.mark.parametrize(
        ("weight", "deviation"), [("he", math.sqrt(2 / (9 * 100))), ("xavier", math.sqrt(2 / (9 * (40 + 100))))]
    )
    def test_an_added_convolution_starts_as_it_says(self, weight, deviation):
        torch.manual_seed(0)
        convolution = added_convolution(40, 100, weight)
        assert convolution.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert (convolution.bias == 0).all()
        is_uniform = convolution.weight.abs().max() <= math.sqrt(3) * deviation
        assert is_uniform == (weight == "xavier")


class TestNormalization:
    """With torchvision's weights, torchvision's own features of the same image."""

    def test_of_googlenet(self, monkeypatch):
        torch.manual_seed(0)
        theirs = get_model("googlenet", weights=None, init_weights=False, transform_input=True).eval()
        gives(monkeypatch, theirs.state_dict())
        images = random_images(1, 48)
        expected = output_of(theirs, "inception4e", (images / 255 - MEAN) / STD)
        assert expected.std() > 0
        found = output_of(googlenet_gap("imagenet").eval(), "inception4e", images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

    def test_of_inception_v3(self, inceptions):
        theirs, ours = inceptions
        images = random_images(2, 32)
        # The padding of Choe et al. moves the grid by a pixel: away from the border, cells from the second on.
        expected = output_of(theirs, "Conv2d_1a_3x3", ((images / 255 - MEAN) / STD)[:, :, 1:, 1:])
        found = output_of(ours, "Conv2d_1a_3x3", images)
        torch.testing.assert_close(found[:, :, 1:, 1:], expected, rtol=1e-4, atol=1e-5)


class TestChoe:
    """Against what they removed and added, written out."""

    def test_vgg16_at_stride_8_is_without_pool4(self):
        torch.manual_seed(0)
        backbone = vgg16_choe(None, 8).eval()
        images = torch.rand(2, 3, 16, 16)
        x = (images - MEAN) / STD
        with torch.no_grad():
            for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21, 24, 26, 28)):
                x = x if block[0] == 0 else F.max_pool2d(x, 2)
                for number in block:
                    x = F.conv2d(x, backbone.features[number].weight, backbone.features[number].bias, padding=1).relu()
            expected = F.conv2d(x, backbone.conv6.weight, backbone.conv6.bias, padding=1).relu()
            assert expected.shape == (2, 1024, 2, 2)
            torch.testing.assert_close(backbone(images), expected)

    @pytest.mark.parametrize("output_stride", [16, 8])
    def test_inception_v3(self, inceptions, output_stride):
        net = inceptions[1]
        images = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            x = net.Conv2d_2b_3x3(net.Conv2d_2a_3x3(net.Conv2d_1a_3x3(images * 2 - 1)))
            x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
            x = net.Conv2d_4a_3x3(net.Conv2d_3b_1x1(x))
            x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
            x = net.Mixed_5d(net.Mixed_5c(net.Mixed_5b(x)))
            if output_stride == 16:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = net.Mixed_6e(net.Mixed_6d(net.Mixed_6c(net.Mixed_6b(net.Mixed_6a(x)))))
            expected = net.SPG_A3_2b(net.SPG_A3_1b(x))
            if output_stride == 16:  # the same tensors
                with META:
                    net = inception_v3_choe(None, 16).eval()
                net.load_state_dict(inceptions[1].state_dict(), assign=True)
            torch.testing.assert_close(net(images), expected)
        assert expected.shape == (1, 1024, 32 // output_stride, 32 // output_stride)
        assert (expected > 0).any()

    def test_half_of_the_features_are_dropped_around_the_added_convolutions(self):
        with META:
            net = inception_v3_choe(None)
        names = [name for name, _ in net.named_children()]
        assert names[names.index("Mixed_6e") + 1 :] == ["dropout1", "SPG_A3_1b", "dropout2", "SPG_A3_2b", "dropout3"]
        assert {net.get_submodule(f"dropout{number}").p for number in (1, 2, 3)} == {0.5}

    def test_every_other_cell_of_the_unstrided_block_is_a_cell_of_torchvisions(self, inceptions):
        theirs, ours = (net.Mixed_6a for net in inceptions)
        features = torch.rand(1, 288, 9, 9)
        with torch.no_grad():
            fine, coarse = ours(features), theirs(features)
        assert fine.shape == (1, 768, 9, 9)
        torch.testing.assert_close(fine[:, :, 1::2, 1::2], coarse, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("output_stride", "stages"), [(16, ("layer4",)), (8, ("layer3", "layer4"))])
    def test_a_resnet_without_strides_is_not_dilated(self, output_stride, stages):
        torch.manual_seed(0)
        ours = resnet18(None, output_stride, dilate=False).eval()
        theirs = get_model("resnet18", weights=None).eval()
        theirs.load_state_dict(ours.state_dict(), strict=False)
        for stage in stages:
            for layer in theirs.get_submodule(stage).modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
        images = random_images(1, 48)
        torch.testing.assert_close(
            output_of(ours, "layer4", images), output_of(theirs, "layer4", (images / 255 - MEAN) / STD)
        )
        with META:
            large = resnet50(None, output_stride, dilate=False)
        assert {layer.dilation for layer in large.modules() if isinstance(layer, nn.Conv2d)} == {(1, 1)}


@pytest.fixture(scope="module", params=["alexnet", "vgg16"])
def twins(request):
    """A network of torchvision, and the classifier of ours that holds the same tensors."""
    name = request.param
    torch.manual_seed(0)
    theirs = get_model(name, weights=None, **({"init_weights": False} if name == "vgg16" else {}))
    with META:
        ours = Classifier(
            {"alexnet": alexnet_pool5, "vgg16": vgg16_pool5}[name](None), FullyConnected(name, None), 1000
        )
    state = {"backbone.mean": MEAN, "backbone.std": STD}
    for key, tensor in theirs.state_dict().items():
        if key.startswith("classifier.6."):
            state[key.replace("classifier.6", "fc")] = tensor
        else:
            state[f"backbone.{key}" if key.startswith("features.") else f"pooling.{key}"] = tensor
    ours.load_state_dict(state, assign=True)
    return name, ours.eval(), theirs.eval()


class TestFullyConnected:
    def test_with_fc8_it_is_torchvisions_network(self, twins):
        _, ours, theirs = twins
        for size in (224, 64):  # at 224 px the cells stay as they are, at 64 px they are spread
            images = random_images(1, size)
            with torch.no_grad():
                assert torch.equal(ours(images), theirs((images / 255 - MEAN) / STD))

    def test_dropout_stands_where_torchvision_has_it(self, twins):
        _, ours, theirs = twins
        images, logits = random_images(2, 64), []
        for network, given in ((ours, images), (theirs, (images / 255 - MEAN) / STD)):
            network.train()
            torch.manual_seed(1)
            with torch.no_grad():
                logits.append(network(given))
            network.eval()
        assert torch.equal(*logits)
        assert not torch.equal(logits[0], ours(images))

    @pytest.mark.parametrize("layer", ["backbone", "the last ReLU"])
    def test_grad_cam(self, twins, layer):
        name, ours, theirs = twins
        relu = {"alexnet": 11, "vgg16": 29}[name]
        last = relu if layer == "the last ReLU" else relu + 1
        target = f"backbone.features.{relu}" if layer == "the last ReLU" else layer
        images, class_ids = random_images(2, {"alexnet": 96, "vgg16": 64}[name]), torch.tensor([3, 700])
        with torch.no_grad():
            activation = theirs.features[: last + 1]((images / 255 - MEAN) / STD)
        activation.requires_grad_()
        rest = theirs.features[last + 1 :](activation)
        logits = theirs.classifier(theirs.avgpool(rest).flatten(1))
        (gradient,) = torch.autograd.grad(logits[[0, 1], class_ids].sum(), activation)
        expected = torch.einsum("nchw,nc->nhw", activation.detach(), gradient.mean(dim=(2, 3))).relu()
        found = make(GradCAM(target_layer=target), ours, images, class_ids)
        assert expected.any()
        assert found.shape[1:] == ({"alexnet": (5, 5), "vgg16": (4, 4)}[name] if last == relu else (2, 2))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)

    def test_cam_is_refused(self, twins):
        name, ours, _ = twins
        channels = {"alexnet": 256, "vgg16": 512}[name]
        with pytest.raises(ValueError, match=f"CAM needs one fc weight per channel, got 4096 for the {channels}"):
            make(CAM(), ours, random_images(1, 64), torch.tensor([0]))

    @pytest.mark.parametrize(
        ("network", "channels", "cells", "text"),
        [("vgg16", 512, 49, "119,545,856"), ("alexnet", 256, 36, "54,534,144")],
    )
    def test_parameters_are_those_of_the_docstring(self, network, channels, cells, text):
        with META:
            pooling = FullyConnected(network, None)
            assert pooling.prepare(channels) == 4096
        assert count(pooling) == conv(cells, channels, 4096) + conv(1, 4096, 4096)
        assert f"{count(pooling):,}" == text
        assert text in FullyConnected.__doc__

    def test_preparing_twice_makes_nothing_new(self):
        with META:
            pooling = FullyConnected("alexnet", None)
            pooling.prepare(256)
            before = list(pooling.parameters())
            assert pooling.prepare(256) == 4096
        assert all(one is other for one, other in zip(before, pooling.parameters(), strict=True))

    def test_wrong_settings_are_named(self):
        with pytest.raises(ValueError, match="must be vgg16 or alexnet, got 'vgg19'"):
            FullyConnected("vgg19")
        with pytest.raises(ValueError, match=r"vgg16 read 512 channels, got 2048; use backbone=vgg16_pool5"):
            FullyConnected("vgg16", None).prepare(2048)
        with pytest.raises(ValueError, match="weights of alexnet must be imagenet or null, got 'imagnet'"):
            FullyConnected("alexnet", "imagnet").prepare(256)
        with pytest.raises(ValueError, match="has no layers yet"):
            FullyConnected("alexnet", None)(torch.rand(1, 256, 6, 6))

    def test_it_stands_on_features_alone(self):
        with META:
            backbone = alexnet_pool5(None)
        with pytest.raises(ValueError, match="pool_site of FullyConnected must be features, got 'scores'"):
            Classifier(backbone, FullyConnected("alexnet", None), 5, "scores")


@pytest.mark.parametrize(
    "build",
    [alexnet_gap, alexnet_pool5, vgg16_gap, vgg16_pool5, vgg16_choe, googlenet_gap, inception_v3_choe],
)
def test_unknown_weights_are_refused(build):
    with pytest.raises(ValueError, match="must be imagenet or null, got 'imagnet'"):
        build("imagnet")


@pytest.mark.parametrize("build", [vgg16_choe, inception_v3_choe])
def test_another_output_stride_is_refused(build):
    with pytest.raises(ValueError, match=f"output_stride of {build.__name__} must be 16 or 8, got 32"):
        build(None, 32)
