"""A linear classifier on frozen features, and CAM through it."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import generic_features as command
from networks import HalfOfTheChannels, tiny_classifier
from tiny_runs import make_run
from wsol.data.sample import Sample
from wsol.explain.generic_features import fit_linear, pooled_features, with_new_head
from wsol.machine import Machine
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.training.methods.acol import ACoL


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def data():
    """Three clusters in five channels of very different scale, the last of them constant."""
    generator = torch.Generator().manual_seed(0)
    class_ids = torch.arange(60) % 3
    centres = torch.tensor([[3.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 3.0, 0]])[class_ids]
    features = centres + 0.2 * torch.randn(60, 4, generator=generator)
    features = torch.cat([features * torch.tensor([1e3, 1.0, 1e-3, 1.0]), torch.full((60, 1), 7.0)], dim=1)
    return features.double(), class_ids


def objective(linear, features, class_ids, l2):
    """As it is written in the docstring, on the layer as it came."""
    std = features.std(dim=0, correction=0)
    weight = linear.weight * std
    return F.cross_entropy(linear(features), class_ids) + l2 / 2 * weight.square().sum()


def test_separable_features_are_separated(data):
    features, class_ids = data
    linear = fit_linear(features, class_ids, 3)
    assert torch.equal(linear(features).argmax(dim=1), class_ids)
    assert linear.weight.dtype == torch.float64
    assert not linear.weight.requires_grad
    assert (linear.weight[:, 4] == 0).all()  # says nothing


def test_two_points_on_paper():
    """x = ±1, standardized as they are: the weights are ±w with w = σ(-2w) / l2, by symmetry; w = 1/2 for this l2."""
    l2 = float(torch.sigmoid(torch.tensor(-1.0, dtype=torch.float64)) / 0.5)
    linear = fit_linear(torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.tensor([0, 1]), 2, l2=l2)
    torch.testing.assert_close(linear.weight, torch.tensor([[0.5], [-0.5]], dtype=torch.float64))
    torch.testing.assert_close(linear.bias.softmax(0), torch.tensor([0.5, 0.5], dtype=torch.float64))


def test_folded_standardization_gives_the_same_logits(data):
    features, class_ids = data
    standardized = (features - features.mean(dim=0)) / features.std(dim=0, correction=0).clamp_min(1e-30)
    standardized[:, 4] = 0
    raw, already = fit_linear(features, class_ids, 3), fit_linear(standardized, class_ids, 3)
    torch.testing.assert_close(raw(features), already(standardized), rtol=1e-6, atol=1e-6)


def test_it_is_the_minimum_and_the_same_every_time(data):
    features, class_ids = data
    linear = fit_linear(features, class_ids, 3, l2=0.1)
    best = objective(linear, features, class_ids, 0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        other = nn.Linear(5, 3, dtype=torch.float64)
        step = 1e-2 / features.std(dim=0, correction=0).clamp_min(1)
        other.weight.data = linear.weight + step * torch.randn(3, 5, generator=generator, dtype=torch.float64)
        other.bias.data = linear.bias + 1e-2 * torch.randn(3, generator=generator, dtype=torch.float64)
        assert objective(other, features, class_ids, 0.1) > best
    again = fit_linear(features, class_ids, 3, l2=0.1)
    assert torch.equal(again.weight, linear.weight)
    with torch.inference_mode():
        assert torch.equal(fit_linear(features, class_ids, 3, l2=0.1).weight, linear.weight)
    assert fit_linear(features.float(), class_ids, 3).weight.dtype == torch.float32


def test_what_cannot_be_fitted_is_named(data):
    features, class_ids = data
    with pytest.raises(ValueError, match="class 3 has no image"):
        fit_linear(features, class_ids, 4)
    with pytest.raises(ValueError, match=r"\[0, 2\), each with an image; got 0 ... 2"):
        fit_linear(features, class_ids, 2)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_linear(features / 0, class_ids, 3)
    with pytest.raises(ValueError, match="l2 must be above 0"):
        fit_linear(features, class_ids, 3, l2=0)
    with pytest.raises(ValueError, match=r"must be \(N, C\)"):
        fit_linear(features[0], class_ids, 3)


@pytest.mark.parametrize("pooling", [GAP, GMP])
def test_cam_through_the_new_head_adds_up_to_its_scores(pooling, images):
    classifier = tiny_classifier(pooling())
    linear = nn.Linear(10, 3)
    made = with_new_head(classifier, linear)
    assert made.backbone is classifier.backbone
    assert made.fc is linear
    assert classifier.fc.out_features == 5
    forward = forward_pass(made, images, [LAST])
    class_ids = torch.tensor([2, 0, 1, 2])
    maps = CAM()(forward, class_ids)
    if pooling is GAP:
        scores = forward.logits.gather(1, class_ids[:, None])[:, 0] - linear.bias[class_ids]
        torch.testing.assert_close(maps.mean(dim=(1, 2)), scores.detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="must read 10 channels, as the backbone gives, got 4"):
        with_new_head(classifier, nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (lambda: tiny_classifier(HalfOfTheChannels()), r"and HalfOfTheChannels reads 5 for 10; take pooling=gap"),
        (lambda: ACoL(width=8).attach(tiny_classifier(GAP())), r"and TwoBranches reads 8 for 10; take pooling=gap"),
        (
            lambda: Classifier(small_cnn(channels=(6, 10)), GMP(), 5, "scores"),
            r"and GMP pools class scores; take pool_site=features",
        ),
    ],
    ids=["another width", "two branches", "scores"],
)
def test_a_head_that_pools_no_channels_is_refused(classifier, message):
    with pytest.raises(ValueError, match=f"generic features .* {message}"):
        pooled_features(classifier(), None)
    with pytest.raises(ValueError, match=f"generic features .* {message}"):
        with_new_head(classifier(), nn.Linear(10, 3))


def test_pooled_features_are_what_the_head_reads(images):
    class Few:
        name = "few"

        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index >= 4:
                raise IndexError
            return Sample(np.ascontiguousarray(images[index].permute(1, 2, 0).numpy()), index, str(index))

    classifier = tiny_classifier(GAP())
    features, class_ids = pooled_features(classifier, Few(), Machine(accelerator="cpu", batch_size=3, progress=False))
    torch.testing.assert_close(classifier.fc(features), classifier(images))
    assert class_ids.tolist() == [0, 1, 2, 3]


def test_the_command(run_folder, tmp_path, monkeypatch, capsys):
    few = [f"data.{split}_images=20" for split in ("train", "val", "test")]
    options = [*few, "data.num_classes=4", f"+data.cache_dir={tmp_path}/cache", "thresholds.step=0.1"]

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["generic_features.py", *map(str, words)])
        return command.main(), capsys.readouterr()

    status, printed = call(run_folder, *options, "machine.accelerator=cpu", "l2=0.1")
    assert status == 0, printed.err
    for text in ("| max_box_acc ", "| top1_cls ", "centred Gaussian", "10 frozen features", "l2 0.1", "Protocol tight"):
        assert text in printed.out
    status, printed = call("small_cnnn", *options)
    assert status == 2
    assert "there is no option backbone/small_cnnn; options: " in printed.err
    status, printed = call(run_folder, *options, "l2=-1")
    assert status == 2
    assert "l2 must be above 0" in printed.err
