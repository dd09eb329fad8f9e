import pytest
import torch
from torch import nn

from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.runs.experiment import Experiment
from wsol.runs.fit import fit
from wsol.training.train import TrainSettings


@pytest.fixture
def splits(tmp_path):
    return synthetic(
        image_size=16, num_classes=4, train_images=24, val_images=8, test_images=4, cache_dir=tmp_path / "cache"
    )


def fitted(splits, tmp_path, lr, pooling=None):
    """One step of training: its loss is that of the network before it."""
    experiment = Experiment("synthetic", "tiny", "gap", 0, {}, TrainSettings(1, 24, lr=lr), image_size=16)
    torch.manual_seed(0)
    classifier = Classifier(small_cnn(channels=(4, 6)), pooling or GAP(), 4)
    fit(experiment, splits, classifier, Machine(tmp_path / "results", accelerator="cpu", progress=False))
    return classifier


def test_a_network_that_gives_no_finite_scores_has_diverged_though_its_loss_was_finite(splits, tmp_path):
    with pytest.raises(FloatingPointError, match=r"diverged: its loss was finite, .* lower train\.lr"):
        fitted(splits, tmp_path, 1e30)


def test_features_that_no_score_shows_count_too(splits, tmp_path):
    class Blind(nn.Module):
        def forward(self, features):
            return features.nan_to_num(0, 0, 0).clamp(0, 1).mean(dim=(2, 3))

    with pytest.raises(FloatingPointError, match=r"diverged: its loss was finite"):
        fitted(splits, tmp_path, 1e30, Blind())


def test_the_network_comes_back_as_training_leaves_it(splits, tmp_path):
    classifier = fitted(splits, tmp_path, 1e-3)
    assert not any(module.training or module._forward_hooks for module in classifier.modules())
    assert all(one.requires_grad and one.isfinite().all() for one in classifier.parameters())
