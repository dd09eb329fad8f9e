"""Linear probing: the trunk stays as it is, bit by bit, and the head learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from wsol.data.sample import Sample
from wsol.machine import Machine
from wsol.networks.backbones.timm import timm_network
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.class_token import ClassToken
from wsol.networks.pooling.gap import GAP
from wsol.training.train import TrainSettings, train

CPU = Machine(accelerator="cpu", progress=False)
PROBE = OmegaConf.load(Path(__file__).parents[2] / "conf" / "train" / "linear_probe.yaml")


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
