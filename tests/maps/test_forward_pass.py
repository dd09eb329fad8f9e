import pytest
import torch
from torch import nn

from networks import tiny_classifier
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP


def test_an_error_in_the_pass_leaves_nothing_behind(images):
    classifier = tiny_classifier(GAP()).train()
    with pytest.raises(RuntimeError):
        forward_pass(classifier, images[:, :2], [LAST])
    assert classifier.training
    assert all(not module._forward_hooks for module in classifier.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("layer", "message"), [("backbone.blok1", "backbone.block1"), ("", "has no layer"), ("fc", r"must give \(N, C, h")]
)
def test_a_wrong_target_layer_is_named(layer, message, images):
    with pytest.raises(ValueError, match=message):
        forward_pass(tiny_classifier(GAP()), images, [layer]).activation(layer)


def test_a_layer_that_is_not_run_or_run_twice_is_named(images):
    classifier = tiny_classifier(GAP())
    classifier.unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="'unused' was not run"):
        forward_pass(classifier, images, ["unused"])
    twice = nn.Sequential(nn.Conv2d(3, 3, 1), relu := nn.ReLU(), nn.Conv2d(3, 3, 1), relu)
    with pytest.raises(ValueError, match="'1' is run more than once"):
        forward_pass(twice, images.float(), ["1"])
    with pytest.raises(ValueError, match=r"did not keep 'backbone'; it kept \['backbone.block1'\]"):
        forward_pass(classifier, images, ["backbone.block1"]).activation(LAST)


def test_the_trunk_runs_once_and_without_a_graph(images, class_ids):
    classifier = tiny_classifier(GMP())
    calls = []
    classifier.backbone.block1.register_forward_hook(lambda *args: calls.append(args[2].requires_grad))
    forward = forward_pass(classifier, images, [LAST, LAST])
    CAM()(forward, class_ids)
    GradCAM()(forward, class_ids)
    assert calls == [False]


def test_no_graph_where_no_gradient_is_asked_for(images):
    classifier = tiny_classifier(GAP())
    assert forward_pass(classifier, images, [LAST]).logits.requires_grad
    assert not forward_pass(classifier, images, [LAST], gradient_layers=[]).logits.requires_grad
    forward = forward_pass(classifier, images, ["backbone.block1", LAST], gradient_layers=[LAST])
    assert not forward.outputs["backbone.block1"].requires_grad
    assert forward.outputs[LAST].requires_grad


def test_an_in_place_relu_behind_the_layer_does_not_change_what_is_kept(images, class_ids):
    def network(inplace):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

    pixels, classes = images.float() / 255 - 0.5, class_ids % 4
    maps = [GradCAM(target_layer="0")(forward_pass(network(one), pixels, ["0"]), classes) for one in (True, False)]
    activation = forward_pass(network(True), pixels, ["0"]).activation("0")
    assert (activation < 0).any()
    torch.testing.assert_close(maps[0], maps[1])


def test_methods_share_one_gradient(images, class_ids, monkeypatch):
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: (calls.append(1), grad(*args, **kwargs))[1])
    from wsol.maps.methods.hires_cam import HiResCAM
    from wsol.maps.methods.layer_cam import LayerCAM

    classifier, layer = tiny_classifier(GMP()), "backbone.block1"
    forward = forward_pass(classifier, images, [layer, LAST])
    for method in (GradCAM(target_layer=layer), HiResCAM(target_layer=layer), LayerCAM([layer])):
        method(forward, class_ids)
    assert len(calls) == 1
    several = torch.arange(5).expand(4, 5)
    for method in (GradCAM(), HiResCAM(), LayerCAM()):
        method(forward, several)
    assert len(calls) == 2  # the pooling's, for all five classes
    forward = forward_pass(tiny_classifier(GAP()), images, [LAST])
    GradCAM()(forward, several)
    assert len(calls) == 2  # a mean needs none
