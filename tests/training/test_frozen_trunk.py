"""Linear probing: the trunk stays as it is, bit by bit, and the head learns."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from wsol.data.sample import Sample
from wsol.machine import Machine
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.alexnet import alexnet_gap
from wsol.networks.backbones.googlenet import googlenet_gap
from wsol.networks.backbones.inception_v3 import inception_v3_choe
from wsol.networks.backbones.timm import timm_network
from wsol.networks.backbones.vgg16 import vgg16_choe, vgg16_gap
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.class_token import ClassToken
from wsol.networks.pooling.gap import GAP
from wsol.training.train import TrainSettings, lr_factor, make_optimizer, train

CPU = Machine(accelerator="cpu", progress=False)
CONF = Path(__file__).parents[2] / "conf"
PROBE = OmegaConf.load(CONF / "train" / "linear_probe.yaml")


def dark_and_bright(count=16, size=64):
    generator = np.random.default_rng(0)
    return [
        Sample(generator.integers(100 * (i % 2), 100 * (i % 2) + 120, (size, size, 3), dtype=np.uint8), i % 2, str(i))
        for i in range(count)
    ]


def probe(classifier, **changed):
    settings = instantiate(PROBE, batch_size=8, **changed)
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    history = train(
        classifier,
        dark_and_bright(),
        settings,
        seed=0,
        image_size=64,
        machine=CPU,
    )
    moved = {name for name, tensor in classifier.state_dict().items() if not torch.equal(tensor, before[name])}
    return moved, history


@pytest.mark.parametrize(
    ("name", "tokens", "pooling"),
    [("test_resnet", "patches", GAP), ("test_vit", "patches", GAP), ("test_vit", "class_and_patches", ClassToken)],
)
def test_the_head_alone_learns(name, tokens, pooling):
    torch.manual_seed(0)
    classifier = Classifier(timm_network(name, None, 64, tokens=tokens), pooling(), 2)
    if name == "test_resnet":
        assert any(key.endswith("running_mean") for key in classifier.state_dict())
    moved, history = probe(classifier, epochs=3, lr=0.03)
    assert moved == {"fc.weight", "fc.bias"}
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["accuracy"] == 1


def test_without_freezing_weights_and_statistics_move():
    torch.manual_seed(0)
    classifier = Classifier(timm_network("test_resnet", None, 64), GAP(), 2)
    moved, _ = probe(classifier, epochs=1, freeze_backbone=False, views=None)
    assert any(name.startswith("backbone") and name.endswith("running_mean") for name in moved)
    assert any(name.startswith("backbone") and name.endswith("weight") for name in moved)


def test_the_option_probes():
    settings = instantiate(PROBE)
    assert isinstance(settings, TrainSettings)
    assert settings.freeze_backbone
    assert settings.head_lr is None  # lr is the head's


def with_an_added_layer():
    """Make a trunk of which all but the last convolution counts as pretrained."""
    trunk = torch.nn.Sequential(OrderedDict(block=torch.nn.Conv2d(3, 4, 3), norm=torch.nn.BatchNorm2d(4)))
    trunk.add_module("conv_new", torch.nn.Conv2d(4, 4, 3))
    return Classifier(Backbone(trunk, 4, added=["conv_new"]), GAP(), 2)


def test_random_layers_of_a_pretrained_trunk_are_not_frozen():
    moved, _ = probe(with_an_added_layer(), epochs=1)
    assert moved == {"fc.weight", "fc.bias", "backbone.conv_new.weight", "backbone.conv_new.bias"}


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, (1e-3, 1e-3, 1e-3)),
        ({"new_lr": 1e-2}, (1e-3, 1e-2, 1e-2)),
        ({"head_lr": 1e-2}, (1e-3, 1e-2, 1e-2)),
        ({"head_lr": 3e-2, "new_lr": 1e-2}, (1e-3, 3e-2, 1e-2)),
    ],
)
def test_rates_of_trunk_head_and_added_layers(rates, expected):
    classifier = with_an_added_layer()
    groups = make_optimizer(classifier, TrainSettings(lr=1e-3, **rates)).param_groups
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rate_of) == len(list(classifier.parameters()))
    parts = (classifier.backbone.block, classifier.fc, classifier.backbone.conv_new)
    assert tuple(rate_of[id(part.weight)] for part in parts) == expected


@pytest.mark.parametrize("make", [alexnet_gap, vgg16_gap, vgg16_choe, googlenet_gap, inception_v3_choe])
def test_a_trunk_that_is_random_as_a_whole_has_no_new_parts(make):
    assert make(None).added == ()


def test_the_settings_of_choe_et_al():
    settings = instantiate(OmegaConf.load(CONF / "train" / "choe2020.yaml"))
    groups = make_optimizer(with_an_added_layer(), settings).param_groups
    assert {group["nesterov"] for group in groups} == {True}
    assert [group["lr"] for group in groups] == [1e-3, 1e-2, 1e-2]
    factors = [lr_factor(epoch, settings) for epoch in (0, 14.9, 15, 29.9, 30, 45, 49.9)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nesterov": True}, "nesterov needs optimizer=sgd"),
        ({"decay_every": 3}, "decay_every is read by schedule=step alone, got schedule=cosine"),
        ({"schedule": "step", "decay_every": 0}, "decay_every must be above 0 or null, got 0"),
        ({"new_lr": -1.0}, "new_lr must be above 0 or null"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**changed)


def test_new_settings_rename_no_run():
    assert not {"new_lr", "nesterov", "decay_every"} & set(TrainSettings().identity())
    assert TrainSettings(new_lr=0.1).identity()["new_lr"] == 0.1
