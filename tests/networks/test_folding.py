import copy
import logging

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import relu_

from map_methods import METHODS
from networks import tiny_classifier
from wsol.maps.class_gradient import DenseGradient
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.ablation_cam import AblationCAM
from wsol.maps.methods.acol_cam import ACoLCAM
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.networks.backbones.efficientnet_lite0 import efficientnet_lite0
from wsol.networks.backbones.resnet import resnet18, resnet50
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.backbones.vgg16 import vgg16
from wsol.networks.classifier import Classifier
from wsol.networks.folding import optimize, run_in_bfloat16
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.training.methods.acol import ACoL

CPU, SIZE = torch.device("cpu"), (64, 64)
LAYER_METHODS = [CAM, GradCAM, GradCAMPlusPlus, XGradCAM, HiResCAM]

# Network, its batch norms that stand behind a convolution, and a convolution, a batch norm and a block early in it.
NETWORKS = {
    "small_cnn": (lambda: tiny_classifier(GMP()), 2, ["block1.0", "block1.1", "block1"]),
    "resnet18": (lambda: Classifier(resnet18(None), GAP(), 5), 20, ["layer3.0.conv1", "layer3.0.bn1", "layer3"]),
    "resnet50": (lambda: Classifier(resnet50(None), GMP(), 5), 53, ["layer4.0.conv3", "layer4.0.bn3", "layer4.1"]),
    "vgg16": (lambda: Classifier(vgg16(None), GAP(), 5), 0, ["features.24", "features.25"]),
    "efficientnet_lite0": (
        lambda: Classifier(efficientnet_lite0(None), GAP(), 5),
        49,
        ["blocks.6.0.conv_pw", "blocks.6.0.bn1", "blocks.6"],
    ),
}
TIMM = {
    "resnet18": ("layer4", 20, 20),
    "densenet121": ("features.norm5", 59, 121),  # batch norms before the convolution stay
    "mobilenetv3_small_050": ("blocks", 34, 34),
    "resnetv2_50": ("norm", 32, 49),
    "vit_tiny_patch16_224": (None, 0, 0),
}


def with_statistics(network):
    """Batch norms as if trained; else they do almost nothing."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return network.eval()


def network_of(name, seed=0):
    torch.manual_seed(seed)
    return with_statistics(NETWORKS[name][0]())


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def assert_same(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    assert expected.abs().max() > 0
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def pixels():
    return torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


LARGE = ("resnet50", "vgg16", "efficientnet_lite0")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in NETWORKS])
class TestOurs:
    def test_logits_names_and_type(self, name):
        network = network_of(name)
        fast = optimize(network, CPU, size=SIZE)
        assert norms(network) == NETWORKS[name][1]
        assert norms(fast) == 0
        assert type(fast) is Classifier
        assert [one for one, _ in fast.named_modules()] == [one for one, _ in network.named_modules()]
        assert not fast.training
        assert not any(parameter.requires_grad for parameter in fast.parameters())
        assert all(not module._forward_hooks for module in fast.modules())
        with torch.inference_mode():
            assert_same(fast(pixels()), network(pixels()))

    def test_the_original_is_left_as_found(self, name):
        network = network_of(name).train()
        network.backbone.eval()
        before = {key: value.clone() for key, value in network.state_dict().items()}
        state = torch.get_rng_state()
        optimize(network, CPU, size=SIZE)
        assert torch.equal(torch.get_rng_state(), state)
        assert network.training
        assert not network.backbone.training
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())
        assert network.state_dict().keys() == before.keys()
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    def test_maps_before_and_behind_a_batch_norm_and_at_the_end(self, name):
        network = network_of(name).double()  # in float32 a ReLU may flip on a rounding error
        early = [f"backbone.{layer}" for layer in NETWORKS[name][2]]
        layers = [*early, LAST]
        fast = optimize(network, CPU, keep=layers, size=SIZE)
        slow_pass, fast_pass = (forward_pass(one, pixels(), layers) for one in (network, fast))
        assert not isinstance(fast_pass.gradient(LAST, torch.tensor([[0], [3]])), DenseGradient)  # the closed forms
        class_ids = torch.tensor([[0, 1], [3, 4]])
        for layer in layers:
            assert_same(fast_pass.activation(layer), slow_pass.activation(layer))
            methods = [kind(target_layer=layer) for kind in LAYER_METHODS if kind is not CAM or layer == LAST]
            for method in [*methods, LayerCAM([layer])]:
                assert_same(method(fast_pass, class_ids), method(slow_pass, class_ids))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method[0])
def test_every_method_makes_the_same_maps(method, images, class_ids):
    network = network_of("small_cnn").double()
    expected = method[1](forward_pass(network, images, method[1].target_layers), class_ids)
    fast = optimize(network, CPU, keep=method[1].target_layers, size=SIZE)
    assert norms(fast) == 0
    assert_same(method[1](forward_pass(fast, images, method[1].target_layers), class_ids), expected)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name[:3] != "vit")) for name in TIMM])
def test_timm(name, caplog):
    torch.manual_seed(0)
    network = with_statistics(timm.create_model(name, num_classes=5))
    layer, folded, total = TIMM[name]
    size = (224, 224) if name.startswith("vit") else (64, 64)
    with caplog.at_level(logging.INFO, "wsol"):
        fast = optimize(network, CPU, size=size)
    assert (norms(network) - norms(fast), norms(network)) == (folded, total)
    assert f"{folded} batch norms folded into the convolution before them, {total - folded} left" in caplog.text
    assert [one for one, _ in fast.named_modules()] == [one for one, _ in network.named_modules()]
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert_same(fast(images), network(images))
    if layer:
        class_ids = torch.tensor([2])
        maps = [HiResCAM(target_layer=layer)(forward_pass(one, images, [layer]), class_ids) for one in (network, fast)]
        assert_same(maps[1], maps[0])


class Branching(nn.Module):
    """The convolution's output goes to the batch norm and elsewhere."""

    def __init__(self, elsewhere):
        super().__init__()
        self.conv, self.bn, self.elsewhere = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), elsewhere

    def forward(self, images):
        return self.elsewhere(self.bn, self.conv(images)).mean(dim=(2, 3))


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda bn, x: bn(x) + x,
        lambda bn, x: torch.cat([bn(x), x], dim=1),
        lambda bn, x: bn(x) + x[:, :, :1, :1],
        lambda bn, x: bn(relu_(x)),
        lambda bn, x: bn(bn(x)),
        lambda bn, x: bn(x + 0),
    ],
    ids=["added", "joined", "a view", "changed in place", "normalized twice", "something between"],
)
def test_a_convolution_that_something_else_reads_stays(elsewhere):
    network = with_statistics(Branching(elsewhere))
    fast = optimize(network, CPU, size=(16, 16))
    assert norms(fast) == 1
    images = torch.rand(2, 3, 16, 16)
    assert_same(fast(images), network(images))


def test_a_convolution_that_is_run_twice_stays():
    class Twice(Branching):
        def forward(self, images):
            return self.bn(self.conv(images)).mean() + self.conv(images).mean(dim=(2, 3))

    assert norms(optimize(with_statistics(Twice(None)), CPU, size=(16, 16))) == 1


def test_a_convolution_that_changes_its_weights_stays():
    class Standardized(nn.Conv2d):
        def forward(self, images):
            return nn.functional.conv2d(images, (self.weight - self.weight.mean()) / self.weight.std(), self.bias)

    for first in (
        Standardized(3, 4, 3),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        timm.layers.StdConv2d(3, 4, 3),
    ):
        network = with_statistics(nn.Sequential(first, nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        fast = optimize(network, CPU, size=(16, 16))
        assert norms(fast) == 1
        images = torch.rand(2, 3, 16, 16)
        assert_same(fast(images), network(images))


def test_batch_statistics_stay():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    assert norms(optimize(network, CPU, size=(16, 16))) == 1


def test_without_a_factor_and_in_groups():
    norm = nn.BatchNorm2d(6, affine=False)
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, bias=False), norm, nn.Flatten()).eval()
    fast = optimize(network, CPU, size=(16, 16))
    assert norms(fast) == 0
    images = torch.rand(2, 3, 16, 16)
    assert_same(fast(images), network(images))


def test_only_what_is_kept_stays():
    network = network_of("small_cnn")
    fast = optimize(network, CPU, keep=["backbone.block1.0", "backbone.block2"], size=SIZE)
    kinds = [type(fast.backbone.block1[1]), type(fast.backbone.block2[2])]
    assert kinds == [nn.BatchNorm2d, nn.Identity]


def test_a_batch_norm_that_is_run_under_another_name_is_refused():
    class Renamed(Branching):
        def __init__(self):
            super().__init__(None)
            self.again = self.bn

        def forward(self, images):
            return self.again(self.conv(images)).mean(dim=(2, 3))

    with pytest.raises(ValueError, match="Folding batch norms changes the logits of Renamed"):
        optimize(with_statistics(Renamed()), CPU, size=(16, 16))


def test_bfloat16_keeps_type_names_and_float32_at_the_ends(images, class_ids):
    network = network_of("small_cnn")
    half = copy.deepcopy(network)
    run_in_bfloat16(half, "cpu")
    half = copy.deepcopy(half)
    assert type(half) is Classifier
    assert [one for one, _ in half.named_modules()] == [one for one, _ in network.named_modules()]
    forward = forward_pass(half, images, ["backbone.block1.0", LAST])
    assert forward.outputs["backbone.block1.0"].dtype == torch.bfloat16
    assert forward.activation("backbone.block1.0").dtype == forward.logits.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in half.parameters())
    expected = forward_pass(network, images, ["backbone.block1.0", LAST])
    assert_same(forward.logits.detach(), expected.logits.detach(), 2e-2)
    for method in (CAM(), GradCAM(), HiResCAM(target_layer="backbone.block1.0")):
        maps = method(forward, class_ids)
        assert maps.dtype == torch.float32
        # Not cell by cell: where a ReLU flips on a rounding error, the gradient of that cell is another.
        assert torch.cosine_similarity(maps.flatten(), method(expected, class_ids).flatten(), dim=0) > 0.98


# With 64 channels, of which each moves the score by less than bfloat16 rounds off it.
HEADS = {
    "gmp on scores": lambda: Classifier(small_cnn(channels=(6, 64)), GMP(), 5, "scores"),
    "attention": lambda: Classifier(small_cnn(channels=(6, 64)), Attention(), 5),
    "acol": lambda: ACoL(width=8).attach(Classifier(small_cnn(channels=(6, 64)), GAP(), 5)),
}


def in_float32_and_bfloat16(head, method, images, class_ids):
    torch.manual_seed(0)
    network = with_statistics(HEADS[head]())
    half = copy.deepcopy(network)
    run_in_bfloat16(half, "cpu")
    maps = [method(forward_pass(one, images, [LAST]), class_ids) for one in (network, half)]
    assert maps[1].dtype == torch.float32
    return maps


@pytest.mark.parametrize("head", HEADS)
def test_ablation_cam_of_a_bfloat16_network(head, images, class_ids):
    expected, found = in_float32_and_bfloat16(head, AblationCAM(), images, class_ids)
    assert_same(found, expected, 2e-2)


def test_acol_cam_of_a_bfloat16_network(images, class_ids):
    expected, found = in_float32_and_bfloat16("acol", ACoLCAM(), images, class_ids)
    # Not cell by cell: what is erased hangs on a threshold.
    assert torch.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.98


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    network = network_of("resnet18")
    fast = optimize(network, torch.device("cuda"))
    assert next(fast.parameters()).is_cuda
    assert next(network.parameters()).device == CPU
    with torch.inference_mode():
        assert_same(fast(pixels().cuda()).cpu(), network(pixels()), 3e-2)
