"""Score-CAM, Ablation-CAM and RISE: answers on paper, and the slow definitions."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from map_methods import EARLY, POOLINGS, make
from networks import Opaque, tiny_classifier
from wsol.maps.forward_pass import LAST, ForwardPass, forward_pass
from wsol.maps.methods.ablation_cam import AblationCAM
from wsol.maps.methods.from_grad_cam import FromGradCAM
from wsol.maps.methods.rise import RISE
from wsol.maps.methods.score_cam import ScoreCAM
from wsol.maps.perturbed_scores import replayed, scores
from wsol.networks.pooling.gap import GAP


class Corner(nn.Module):
    """Class 0 is the brightness of the upper left quarter, class 1 that of the rest; the images are the activation."""

    def __init__(self):
        super().__init__()
        self.look = nn.Identity()

    def forward(self, images):
        pixels = self.look(images).sum(dim=1)
        half = pixels.shape[-1] // 2
        corner = pixels[:, :half, :half].sum(dim=(1, 2))
        return torch.stack([corner, pixels.sum(dim=(1, 2)) - corner], dim=1)


class TestScoreCAM:
    def test_on_paper(self):
        """Three channels of a 2 x 2 image: each mask shows the cells that are bright in it."""
        images = torch.tensor([[[[1.0, 0], [0, 0]], [[0, 0], [0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]])
        maps = make(ScoreCAM(target_layer="look"), Corner(), images, torch.tensor([0]))
        # Seen through channel 0: the corner's sum 1 + 0.5. Through channel 1: nothing there. Channel 2 is constant.
        weights = torch.tensor([1.5, 0, 0]).softmax(0)
        expected = (images[0] * weights[:, None, None]).sum(0)
        torch.testing.assert_close(maps[0], expected)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_is_its_definition(self, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        activation = forward_pass(classifier, images, [LAST]).activation(LAST)
        pixels, expected = images.float() / 255, []
        for n, image in enumerate(pixels):
            asked = []
            for channel in activation[n]:
                mask = interpolate(channel[None, None], (16, 16), mode="bilinear", align_corners=False)
                span = mask.max() - mask.min()
                mask = (mask - mask.min()) / span if span > 0 else mask * 0
                with torch.no_grad():
                    masked = classifier.backbone.mean + mask * (image - classifier.backbone.mean)
                    asked.append(classifier(masked)[0, class_ids[n]])
            weights = torch.stack(asked).softmax(0)
            expected.append((weights[:, None, None] * activation[n]).sum(0).relu())
        torch.testing.assert_close(make(ScoreCAM(), classifier, images, class_ids), torch.stack(expected))

    def test_fewer_channels_are_the_most_active(self, images, class_ids):
        classifier = tiny_classifier(GAP())
        activation = forward_pass(classifier, images, [LAST]).activation(LAST)
        best = activation.sum(dim=(2, 3)).argmax(dim=1)
        expected = activation[torch.arange(4), best].relu()  # the softmax of one is 1
        torch.testing.assert_close(make(ScoreCAM(channels=1), classifier, images, class_ids), expected)
        every = make(ScoreCAM(channels=99), classifier, images, class_ids)
        torch.testing.assert_close(every, make(ScoreCAM(), classifier, images, class_ids))
        with pytest.raises(ValueError, match="channels of ScoreCAM must be"):
            ScoreCAM(channels=0)


class TestAblationCAM:
    def test_on_paper(self):
        images = torch.tensor([[[[1.0, 0], [0, 0]], [[0, 0], [0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]])
        maps = make(AblationCAM(target_layer="look"), Corner(), images, torch.tensor([0]))
        # The score is 1.5; without channel 0 it is 0.5, without 1 still 1.5, without 2 it is 1.
        expected = (images[0] * torch.tensor([1 / 1.5, 0, 0.5 / 1.5])[:, None, None]).sum(0)
        torch.testing.assert_close(maps[0], expected)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_the_closed_form_is_the_ablation(self, pooling, images):
        classifier = tiny_classifier(pooling()).double()
        several = torch.tensor([[0, 1], [3, 4], [1, 2], [4, 0]])
        closed = make(AblationCAM(), classifier, images, several)
        assert closed.abs().max() > 0
        asked = make(AblationCAM(), Opaque(classifier), images, several)
        torch.testing.assert_close(closed, asked, rtol=1e-4, atol=1e-6)

    def test_a_negative_score_turns_the_map_around_as_published(self):
        images = -torch.ones(1, 3, 2, 2)
        maps = make(AblationCAM(target_layer="look"), Corner(), images, torch.tensor([0]))
        assert maps.tolist() == [[[0, 0], [0, 0]]]  # positive shares of negative activations


class TestRISE:
    def test_masks_are_coarse_grids_smoothed_and_shifted(self):
        masks = RISE(cells=4, keep=0.5).draw(400, 10, 12, torch.Generator().manual_seed(3))
        assert masks.shape == (400, 1, 10, 12)
        assert masks.min() >= 0
        assert masks.max() <= 1 + 1e-6
        assert abs(masks.mean().item() - 0.5) < 0.02
        assert (masks[0] != masks[1]).any()

    def test_is_its_definition(self, images, class_ids):
        classifier, method = tiny_classifier(GAP()), RISE(masks=70, cells=3)
        masks = torch.cat(
            [
                method.draw(count, 16, 16, generator)
                for generator in [torch.Generator().manual_seed(0)]
                for count in (64, 6)
            ]
        )
        expected = torch.zeros(4, 16, 16)
        for n in range(4):
            for mask in masks:
                mean = classifier.backbone.mean
                with torch.no_grad():
                    logits = classifier(mean + mask * (images[n : n + 1].float() / 255 - mean))
                expected[n] += logits.softmax(1)[0, class_ids[n]] * mask[0] / (70 * 0.5)
        torch.testing.assert_close(make(method, classifier, images, class_ids), expected)

    def test_finds_the_corner_that_a_class_looks_at(self):
        class Half(Corner):
            def forward(self, images):
                return super().forward(images) / 20

        maps = make(RISE(masks=500, cells=4), Half(), torch.ones(1, 3, 16, 16), torch.tensor([0]))[0]
        assert maps[:8, :8].mean() > maps[8:, 8:].mean() * 1.05

    @pytest.mark.parametrize("wrong", [{"masks": 0}, {"cells": 0}, {"keep": 1.0}])
    def test_wrong_settings_are_named(self, wrong):
        with pytest.raises(ValueError, match="RISE needs"):
            RISE(**wrong)


def test_a_replayed_layer_gives_the_same_logits(images):
    classifier = tiny_classifier(GAP()).train()
    forward = forward_pass(classifier, images, [EARLY, LAST], [])
    for layer in (EARLY, LAST):
        logits = replayed(classifier, images, layer, forward.outputs[layer])
        torch.testing.assert_close(logits.detach(), forward.logits)
    assert classifier.training
    with pytest.raises(RuntimeError):
        replayed(classifier, images, EARLY, torch.zeros(4, 2, 16, 16))
    assert classifier.training
    assert not classifier.backbone.block1._forward_hooks


def test_a_replayed_head_drops_nothing(images):
    class Dropping(GAP):
        def forward(self, features):
            return super().forward(torch.nn.functional.dropout(features, training=self.training))

    classifier = tiny_classifier(Dropping()).train()
    forward = forward_pass(classifier, images, [LAST], [])
    torch.testing.assert_close(replayed(classifier, images, LAST, forward.outputs[LAST]).detach(), forward.logits)
    assert classifier.training


def test_scores_of_many_images_come_in_chunks(images):
    classifier, sizes = tiny_classifier(GAP()).train(), []
    classifier.fc.register_forward_hook(lambda *args: sizes.append(len(args[2])))
    many = images.repeat(20, 1, 1, 1)
    assert scores(classifier, many).shape == (80, 5)
    assert sizes == [64, 16]
    assert classifier.training


def test_maps_of_a_hand_made_pass_need_no_network_behind_the_last_layer():
    classifier = tiny_classifier(GAP(), num_classes=2)
    features = torch.zeros(1, 10, 2, 2)
    features[0, 0] = 4
    with torch.no_grad():
        classifier.fc.weight.zero_()
        classifier.fc.weight[1, 0] = 2.0
    forward = ForwardPass(classifier, torch.zeros(1, 3, 4, 4), torch.tensor([[0.0, 10.0]]), {LAST: features})
    assert AblationCAM()(forward, torch.tensor([1])).tolist() == [[[pytest.approx(0.8 * 4)] * 2] * 2]


class TestGradCAMLibrary:
    """The library's versions, on a layer as large as the image, where its corner-aligned upsampling changes nothing.

    The images are normalized outside, so that what a mask hides is zero for both.
    """

    @pytest.fixture
    def network(self):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers).eval()

    @pytest.mark.parametrize(("name", "ours"), [("ScoreCAM", ScoreCAM), ("AblationCAM", AblationCAM)])
    def test_agrees(self, network, images, class_ids, name, ours):
        pytest.importorskip("pytorch_grad_cam")
        pixels = images.float() / 255 - 0.5
        forward = forward_pass(network, pixels, ["1"])
        theirs = FromGradCAM(name, "1")(forward, class_ids)
        found = ours(target_layer="1")(forward, class_ids)
        lowest = found.amin(dim=(1, 2), keepdim=True)
        span = found.amax(dim=(1, 2), keepdim=True) - lowest
        assert (span > 0).all()
        torch.testing.assert_close((found - lowest) / span, theirs, rtol=0, atol=1e-4)
