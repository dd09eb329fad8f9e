"""Self-produced guidance: masks, losses, and a classifier that is left as it is in eval mode."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from config.build import build
from map_methods import make
from networks import tiny_classifier
from wsol.data.sample import Sample
from wsol.identity import describe, restore
from wsol.machine import Machine
from wsol.maps.forward_pass import has_closed_form
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.base_pooling import Pooling
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.networks.two_branches import class_attention
from wsol.training.base_method import TrainingBatch
from wsol.training.methods.spg import SPG
from wsol.training.self_produced_guidance import guidance_mask, guided_loss
from wsol.training.train import TrainSettings, train

CPU = Machine(accelerator="cpu", progress=False)
METHOD = SPG(stages=("backbone.block1", "backbone.block2"), width=8)
HEADS = [(GAP, "features"), (GMP, "features"), (GAP, "scores"), (GMP, "scores")]


def plain(pooling=GAP, site="features", seed=0):
    torch.manual_seed(seed)
    return Classifier(small_cnn(channels=(6, 10)), pooling(), 5, site).eval()


def batch_of(images, class_ids):
    return TrainingBatch(images, class_ids, torch.Generator().manual_seed(0))


class MixesChannels(Pooling):
    def forward(self, features):
        return features.softmax(dim=1).mean(dim=(2, 3))


class TestMask:
    def test_three_kinds_on_paper(self):
        attention = torch.tensor([[[0.0, 0.04, 0.05], [0.5, 0.7, 0.71]], [[1.0, 0.2, 0.1], [0.049, 0.9, 0.699]]])
        expected = [[[0, 0, -1], [-1, -1, 1]], [[1, -1, -1], [0, 1, -1]]]
        assert guidance_mask(attention, high=0.7, low=0.05).tolist() == expected

    def test_where_nothing_is_above_the_upper_threshold_the_maximum_tells(self):
        # 0.7 of 0.5 is 0.35. The second image has one above 0.7 of 6 pixels, which is more than 30 of 224 x 224.
        attention = torch.tensor([[[0.5, 0.36, 0.34], [0.0, 0.1, 0.2]], [[0.8, 0.6, 0.3], [0.0, 0.1, 0.2]]])
        expected = [[[1, 1, -1], [0, -1, -1]], [[1, -1, -1], [0, -1, -1]]]
        assert guidance_mask(attention, high=0.7, low=0.05).tolist() == expected

    @pytest.mark.parametrize(("count", "foreground"), [(29, 29 + 10), (30, 30)])
    def test_thirty_pixels_of_an_image_of_224(self, count, foreground):
        attention = torch.full((1, 224, 224), 0.3)
        attention.view(-1)[:count] = 0.9
        attention.view(-1)[count : count + 10] = 0.65  # 0.7 of the maximum is 0.63
        assert (guidance_mask(attention, 0.7, 0.05) == 1).sum() == foreground

    def test_what_is_below_the_lower_threshold_is_background_even_at_the_maximum(self):
        assert guidance_mask(torch.full((1, 2, 2), 0.01), 0.7, 0.05).tolist() == [[[0, 0], [0, 0]]]
        assert guidance_mask(torch.zeros(1, 1, 1), 0.7, 0.0).tolist() == [[[-1]]]


class TestGuidedLoss:
    def test_on_paper(self):
        logits = torch.tensor([[[0.0, 0.0], [5.0, np.log(3)]]])
        mask = torch.tensor([[[1, 0], [-1, 1]]], dtype=torch.int8)
        # −log 1/2, −log 1/2, nothing, −log 3/4.
        expected = (2 * np.log(2) + np.log(4 / 3)) / 3
        assert guided_loss(logits, mask).item() == pytest.approx(expected, rel=1e-6)

    def test_ignored_pixels_have_no_gradient(self):
        logits = torch.zeros(1, 2, 2, requires_grad=True)
        guided_loss(logits, torch.tensor([[[1, 0], [-1, -1]]])).backward()
        assert logits.grad.tolist() == [[[-0.25, 0.25], [0, 0]]]

    def test_nothing_known_is_no_loss_and_no_gradient(self):
        logits = torch.ones(1, 1, 1, requires_grad=True)
        loss = guided_loss(logits, torch.full((1, 1, 1), -1))
        loss.backward()
        assert (loss.item(), logits.grad.item()) == (0, 0)

    def test_gradient(self):
        logits = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
        mask = torch.randint(-1, 2, (2, 3, 3), generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(lambda one: guided_loss(one, mask), logits)


@pytest.mark.parametrize(("pooling", "site"), HEADS)
class TestClassifier:
    def test_in_eval_mode_it_is_the_one_without(self, pooling, site, images, class_ids):
        without = plain(pooling, site)
        classifier = METHOD.attach(copy.deepcopy(without))
        assert has_closed_form(classifier)
        assert torch.equal(classifier(images), without(images))
        for method in (CAM(), GradCAM()):
            assert torch.equal(make(method, classifier, images, class_ids), make(method, without, images, class_ids))

    def test_the_loss_falls_and_every_parameter_learns(self, pooling, site, images, class_ids):
        classifier = METHOD.attach(plain(pooling, site)).train()
        optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
        batch, losses = batch_of(images, class_ids), []
        for _ in range(15):
            loss, logits = METHOD.loss(classifier, batch)
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad is not None for parameter in classifier.parameters())
            optimizer.step()
            losses.append(loss.item())
        assert np.mean(losses[-3:]) < 0.8 * losses[0]
        assert logits.shape == (4, 5)

    def test_the_loss_is_that_of_the_slow_definition(self, pooling, site, images, class_ids):
        classifier = METHOD.attach(plain(pooling, site))
        found, logits = METHOD.loss(classifier, batch_of(images, class_ids))
        stage1 = classifier.backbone.block1((images / 255 - 0.5) / 0.5)
        stage2 = classifier.backbone.block2(stage1)
        up = [
            nn.functional.interpolate(one, (16, 16), mode="bilinear", align_corners=False)[:, 0]
            for one in (
                classifier.spg.shared(classifier.spg.b1(stage1)),
                classifier.spg.shared(classifier.spg.b2(stage2)),
                classifier.spg.c(stage2),
            )
        ]
        b1, b2, c = up
        attention = class_attention(stage2, classifier.class_weights()[class_ids], (16, 16))
        expected = nn.functional.cross_entropy(classifier(images), class_ids)
        for output, target, high, low in (
            (b2, attention, 0.7, 0.05),
            (b1, b2.sigmoid(), 0.5, 0.05),
            (c, (b1.sigmoid() + b2.sigmoid()) / 2, 0.7, 0.1),
        ):
            mask = guidance_mask(target.detach(), high, low)
            known = mask >= 0
            expected = expected + nn.functional.binary_cross_entropy_with_logits(output[known], mask[known].float())
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(logits, classifier(images))


def test_hooks_are_gone_after_a_step_and_after_an_error(images, class_ids):
    classifier = METHOD.attach(plain())
    METHOD.loss(classifier, batch_of(images, class_ids))
    with pytest.raises(RuntimeError):
        METHOD.loss(classifier, batch_of(images[:, :2], class_ids))
    assert not any(module._forward_hooks for module in classifier.modules())
    pickle.dumps(classifier)


def test_attach_leaves_statistics_modes_and_weights():
    classifier = plain().train()
    classifier.backbone.block1.eval()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    assert METHOD.attach(classifier) is classifier
    assert classifier.training
    assert not classifier.backbone.block1.training
    assert all(torch.equal(classifier.state_dict()[name], tensor) for name, tensor in before.items())
    convolutions = [one for one in classifier.spg.modules() if isinstance(one, nn.Conv2d)]
    assert sorted(one.in_channels for one in convolutions) == [6, 8, 8, 8, 10, 10]


class SwapsAxes(nn.Module):
    def forward(self, features):
        return features.permute(0, 2, 3, 1)


class RowsAlone(nn.Module):
    def forward(self, features):
        return features.mean(dim=3)


class SquareAlone(nn.Module):
    def forward(self, images):
        if images.shape[-2] != images.shape[-1]:
            raise ValueError("takes images of 64 x 64 px")
        return images


def odd_network(first):
    trunk = nn.Sequential()
    trunk.add_module("first", first)
    trunk.add_module("last", nn.Sequential(nn.LazyConv2d(10, 1), nn.ReLU()))
    return Classifier(Backbone(trunk, 10), GAP(), 5)


@pytest.mark.parametrize(
    ("make_classifier", "message"),
    [
        (lambda: tiny_classifier(MixesChannels()), r"spg needs a pooling of each channel by itself, .* MixesChannels"),
        (lambda: odd_network(SwapsAxes()), r"Stage 'backbone.first' of method=spg must give maps \(N, C, h, w\), got"),
        (lambda: odd_network(RowsAlone()), r"Stage 'backbone.first' .* got \(1, 3, 96\)"),
        (lambda: odd_network(SquareAlone()), r"from an image of 96 x 128 px, .* takes images of 64 x 64 px"),
    ],
)
def test_networks_without_such_stages_are_refused(make_classifier, message):
    with pytest.raises(ValueError, match=message):
        SPG(stages=("backbone.first", "backbone.last"), width=8).attach(make_classifier())


@pytest.mark.parametrize("name", ["backbone.blok2", "fc"])
def test_a_stage_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=rf"no stage '{name}' for method=spg; close names: .*Set method\.stages"):
        SPG(stages=("backbone.block1", name)).attach(plain())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ("one",)}, r"stages of method=spg must be the names of two layers, got \('one',\)"),
        ({"stages": "ab"}, r"stages of method=spg must be the names of two layers, got 'ab'"),
        ({"thresholds": ((0.7, 0.1),)}, r"thresholds of method=spg must be three pairs"),
        ({"stages": None}, r"stages of method=spg must be the names of two layers, got None"),
        ({"thresholds": [0.5, 0.1]}, r"thresholds of method=spg must be three pairs .* got \[0\.5, 0\.1\]"),
        ({"thresholds": None}, r"thresholds of method=spg must be three pairs"),
        ({"thresholds": ((0.7, 0.1, 0.0),) * 3}, r"thresholds of method=spg must be three pairs"),
        ({"thresholds": (("a", "b"),) * 3}, r"thresholds of method=spg must be three pairs"),
        ({"thresholds": ((math.nan, 0.1),) * 3}, r"0 <= low <= high < 1"),
        ({"thresholds": ((0.7, 0.1), (0.1, 0.7), (0.7, 0.1))}, r"0 <= low <= high < 1"),
        ({"width": 0}, r"width of method=spg must be an int from 1, got 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SPG(**settings)


def test_a_classifier_that_was_not_attached_is_refused(images, class_ids):
    with pytest.raises(ValueError, match=r"branches that this classifier does not have; call attach first"):
        METHOD.loss(plain(), batch_of(images, class_ids))


def test_weights_come_back_through_attach(images, class_ids):
    trained, rebuilt = METHOD.attach(plain(seed=1)), METHOD.attach(plain(seed=2))
    rebuilt.load_state_dict(trained.state_dict())
    assert {name.split(".")[0] for name in trained.state_dict()} == {"backbone", "fc", "spg"}
    losses = [METHOD.loss(one, batch_of(images, class_ids))[0] for one in (trained, rebuilt)]
    assert torch.equal(*losses)


def test_it_has_a_name_and_can_be_sent_to_other_processes():
    assert restore(describe(METHOD), ["method"]) == METHOD == pickle.loads(pickle.dumps(METHOD))
    from_lists = SPG(stages=["a", "b"], thresholds=[[0.7, 0.05], [0.5, 0.05], [0.7, 0.1]])
    assert from_lists == SPG(stages=("a", "b"))
    assert hash(from_lists) == hash(SPG(stages=("a", "b")))


def test_the_file_names_it():
    assert build(OmegaConf.load(f"{__file__}/../../../../conf/method/spg.yaml")) == SPG()


@pytest.mark.parametrize("frozen", [False, True])
def test_an_epoch(frozen, images, class_ids):
    classifier = METHOD.attach(plain())
    samples = [
        Sample(image.permute(1, 2, 0).numpy(), int(k), str(k)) for image, k in zip(images, class_ids, strict=True)
    ]
    before = {name: parameter.detach().clone() for name, parameter in classifier.named_parameters()}
    settings = TrainSettings(epochs=1, batch_size=2, lr=1e-3, head_lr=1e-2, freeze_backbone=frozen)
    train(
        classifier,
        samples,
        settings,
        seed=0,
        image_size=16,
        method=METHOD,
        machine=CPU,
    )
    moved = {name.split(".")[0] for name, one in classifier.named_parameters() if not torch.equal(one, before[name])}
    assert moved == {"fc", "spg"} | (set() if frozen else {"backbone"})
