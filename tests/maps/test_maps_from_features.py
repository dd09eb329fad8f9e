"""Maps at the trunk's output are made from stored features, and equal those of the images to the features' rounding."""

import numpy as np
import pytest
import torch

from small_splits import CLASSES, counting_trunk, image_set
from wsol.data.views import Views
from wsol.machine import Machine
from wsol.maps.make_maps import make_maps, read_features
from wsol.maps.methods.attention_rollout import AttentionRollout
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.guided_grad_cam import GuidedGradCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.score_cam import ScoreCAM
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.lse import LSE
from wsol.networks.stored_features import store_features

CPU = Machine(accelerator="cpu", progress=False, batch_size=5)
METHODS = {"cam": CAM(), "grad_cam": GradCAM(), "grad_cam_pp": GradCAMPlusPlus(), "layer_cam": LayerCAM()}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("maps", [METHODS, {}], ids=["maps", "predictions"])
@pytest.mark.parametrize(
    ("pooling", "site"),
    [(GAP, "features"), (LSE, "features"), (LSE, "scores"), (lambda: Attention(4), "features")],
    ids=["gap", "lse", "lse_on_scores", "attention"],
)
def test_maps_and_predictions_are_those_of_the_images(pooling, site, maps):
    torch.manual_seed(0)
    trunk, read = counting_trunk()
    classifier, images = Classifier(trunk, pooling(), CLASSES, site), image_set(side=16, boxes=True)
    expected, expected_maps = make_maps(classifier, images, maps, CPU)
    features = store_features(trunk, images, Views(16), {}, CPU)
    read.clear()
    predictions, found = make_maps(classifier, features, maps, CPU)
    assert not read
    assert predictions["image_id"].equals(expected["image_id"])
    assert predictions["class_id"].equals(expected["class_id"])
    assert predictions.attrs["size"] == [16, 16]
    assert predictions.attrs["seconds"] > features.seconds > 0
    assert all(map(np.array_equal, predictions["boxes"], expected["boxes"]))
    np.testing.assert_allclose(predictions["true_class_probability"], expected["true_class_probability"], rtol=2e-3)
    assert list(found) == list(maps)
    for name, stored in found.items():
        other = expected_maps[name].activation_maps()
        torch.testing.assert_close(stored.activation_maps(), other, rtol=1e-2, atol=3e-3 * float(other.abs().max()))


@pytest.mark.parametrize(
    ("method", "can"),
    [
        (CAM(), True),
        (EigenCAM(), True),
        (GradCAM(target_layer="fc"), True),
        (GradCAM(target_layer="backbone.block1"), False),
        (GuidedGradCAM(), False),
        (ScoreCAM(), False),
        (AttentionRollout(), False),
    ],
)
def test_only_what_reads_the_trunks_output_is_made_from_features(method, can):
    assert read_features(method) == can


def test_a_method_that_does_not_say_what_it_reads_is_taken_to_read_images():
    class Own:
        needs = "activation"
        target_layers = ("backbone",)

    assert not read_features(Own())


def test_what_needs_images_is_refused():
    torch.manual_seed(0)
    trunk, _ = counting_trunk()
    features = store_features(trunk, image_set(side=16, boxes=True), Views(16), {}, CPU)
    with pytest.raises(ValueError, match=r"maps at its trunk's output, got guided of a Classifier; give the images"):
        make_maps(Classifier(trunk, GAP(), CLASSES), features, {"guided": GuidedGradCAM()}, CPU)
