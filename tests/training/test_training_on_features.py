"""A head learns from stored features what it would learn from the images, to the rounding of the features."""

import copy
from dataclasses import replace

import pytest
import torch

from small_splits import CLASSES, counting_trunk, image_set
from wsol.data.views import Views
from wsol.machine import Machine
from wsol.networks.backbones.timm import timm_network
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.class_token import ClassToken
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.networks.pooling.gmp import GMP
from wsol.networks.pooling.lse import LSE
from wsol.networks.pooling.wildcat import WILDCAT
from wsol.networks.stored_features import store_features
from wsol.training.base_method import TrainingMethod
from wsol.training.methods.acol import ACoL
from wsol.training.methods.cutmix import CutMix
from wsol.training.train import PLAIN, Checkpointing, TrainSettings, _inputs, train

CPU = Machine(accelerator="cpu", progress=False, batch_size=5)
SETTINGS = TrainSettings(epochs=4, batch_size=5, lr=3e-2, freeze_backbone=True, views=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


def build(pooling, site="features", seed=0):
    torch.manual_seed(seed)
    trunk, read = counting_trunk()
    return Classifier(trunk, pooling(), CLASSES, site), read


def features_of(classifier, images, views=1):
    return store_features(classifier.backbone, images, Views(16, views), {}, CPU)


def run(classifier, dataset, settings=SETTINGS, method=PLAIN, validation=None, checkpoint=None):
    return train(
        classifier,
        dataset,
        settings,
        seed=3,
        image_size=16,
        method=method,
        checkpointing=Checkpointing(checkpoint, validation),
        machine=CPU,
    )


def head_of(classifier):
    return {name: tensor for name, tensor in classifier.state_dict().items() if not name.startswith("backbone.")}


def assert_close(classifier, other, tolerance=2e-3):
    for (name, tensor), expected in zip(head_of(classifier).items(), head_of(other).values(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize(
    ("pooling", "site"),
    [
        (GAP, "features"),
        (GMP, "features"),
        (lambda: LSE(learned=True), "features"),
        (GeM, "features"),
        (lambda: Attention(4), "features"),
        (GMP, "scores"),
        (WILDCAT, "scores"),
    ],
    ids=["gap", "gmp", "lse", "gem", "attention", "gmp_on_scores", "wildcat"],
)
def test_the_head_is_that_of_the_images_with_the_same_views(pooling, site, views):
    images = image_set()
    from_images, _ = build(pooling, site)
    from_features = copy.deepcopy(from_images)
    settings = replace(SETTINGS, views=views)
    expected = run(from_images, images, settings)
    before = head_of(copy.deepcopy(from_features))
    history = run(from_features, features_of(from_features, images, views), settings)
    assert_close(from_features, from_images)
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in expected], rel=2e-3)
    assert [row["accuracy"] for row in history] == [row["accuracy"] for row in expected]
    assert max((tensor - before[name]).abs().max() for name, tensor in head_of(from_features).items()) > 0.05


def test_views_are_other_images_than_their_centres():
    heads = []
    for views in (1, 3):
        classifier, _ = build(GAP)
        run(classifier, features_of(classifier, image_set(), views), replace(SETTINGS, views=views))
        heads.append(classifier.fc.weight)
    assert not torch.allclose(*heads, atol=1e-3)


def test_the_trunk_does_not_run():
    classifier, read = build(GAP)
    features = features_of(classifier, image_set())
    read.clear()
    run(classifier, features)
    assert not read
    assert not any(parameter.requires_grad for parameter in classifier.backbone.parameters())
    assert not classifier.training


def test_both_branches_of_acol_learn_from_features():
    images = image_set()
    from_images, _ = build(GAP)
    method = ACoL(width=5)
    from_images = method.attach(from_images)
    from_features = copy.deepcopy(from_images)
    # Rounded here as well, because a cell near the threshold of the erasure changes sides with its rounding.
    from_images.backbone.register_forward_hook(lambda module, inputs, output: output.half().float())
    run(from_images, images, method=method)
    run(from_features, features_of(from_features, images), method=method)
    assert_close(from_features, from_images)


def test_methods_that_change_images_do_not_admit_features():
    assert PLAIN.admits_features
    assert ACoL().admits_features
    assert not CutMix().admits_features

    class Own(TrainingMethod):
        pass

    assert not Own().admits_features


@pytest.mark.parametrize("pooling", [GAP, GeM])
def test_the_best_epoch_is_chosen_on_features_of_val(pooling):
    images, val = image_set(), image_set(8, "val", side=16, boxes=True)
    settings = replace(SETTINGS, select="best")
    from_images, _ = build(pooling)
    from_features = copy.deepcopy(from_images)
    expected = run(from_images, images, settings, validation=val)
    on_val = features_of(from_features, val)
    history = run(from_features, features_of(from_features, images), settings, validation=on_val)
    assert [row["val_accuracy"] for row in history] == [row["val_accuracy"] for row in expected]
    assert_close(from_features, from_images)


@pytest.mark.parametrize("pooling", [GAP, GeM])
def test_killed_and_resumed_ends_with_the_very_same_weights(tmp_path, monkeypatch, pooling):
    monkeypatch.setattr("wsol.training.train._BETWEEN_CHECKPOINTS", 0.0)
    images = image_set()
    uninterrupted, _ = build(pooling)
    features = features_of(uninterrupted, images)
    expected = run(uninterrupted, features)

    class Killed(Exception):
        pass

    steps = []

    def dies(*args):
        steps.append(1)
        if len(steps) == 8:  # in the third epoch
            raise Killed
        return _inputs(*args)

    killed, _ = build(pooling)
    with monkeypatch.context() as patch:
        patch.setattr("wsol.training.train._inputs", dies)
        with pytest.raises(Killed):
            run(killed, features, checkpoint=tmp_path / "c.ckpt")
    resumed, _ = build(pooling, seed=0)
    with torch.no_grad():
        resumed.fc.weight.fill_(7)  # all must come from the checkpoint
    history = run(resumed, features, checkpoint=tmp_path / "c.ckpt")
    assert torch.equal(resumed.fc.weight, uninterrupted.fc.weight)
    assert [row["loss"] for row in history] == [row["loss"] for row in expected]


def test_a_short_training_on_features_writes_no_checkpoint(tmp_path):
    classifier, _ = build(GAP)
    run(classifier, features_of(classifier, image_set()), checkpoint=tmp_path / "c.ckpt")
    assert not list(tmp_path.glob("*.ckpt"))


@pytest.mark.parametrize(("tokens", "pooling"), [("patches", GAP), ("class_and_patches", ClassToken)])
def test_transformers_of_timm(tokens, pooling):
    images = image_set(8, side=72)
    torch.manual_seed(0)
    from_images = Classifier(timm_network("test_vit", None, 64, tokens=tokens), pooling(), CLASSES)
    from_features = copy.deepcopy(from_images)
    features = store_features(from_features.backbone, images, Views(64), {}, CPU)
    for classifier, dataset in ((from_images, images), (from_features, features)):
        train(classifier, dataset, SETTINGS, seed=0, image_size=64, machine=CPU)
    assert_close(from_features, from_images)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"views are for a frozen trunk; set train\.views=null"):
        TrainSettings(views=1)
    with pytest.raises(ValueError, match="views must be at least 1 or null, got 0"):
        TrainSettings(freeze_backbone=True, views=0)
    classifier, _ = build(GAP)
    features = features_of(classifier, image_set())
    for settings in (TrainSettings(freeze_backbone=True), TrainSettings(freeze_backbone=True, views=2)):
        with pytest.raises(ValueError, match=r"train\.views must lie in 1 \.\.\. 1, the number of stored views, got"):
            run(classifier, features, settings)


def test_views_rename_no_run_without_them():
    assert "views" not in TrainSettings().identity()
    assert SETTINGS.identity()["views"] == 1
