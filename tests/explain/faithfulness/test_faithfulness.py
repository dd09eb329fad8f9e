"""Faithfulness measures: answers on paper, and the contract of every option."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from config.build import build
from map_methods import EARLY
from networks import tiny_classifier
from wsol.explain import randomized_network
from wsol.explain.explained_batch import ExplainedBatch, maps_of_batch
from wsol.explain.faithfulness.average_drop import AverageDrop
from wsol.explain.faithfulness.insertion_deletion import InsertionDeletion
from wsol.explain.faithfulness.parameter_randomization import ParameterRandomization
from wsol.explain.randomized_network import randomized_copy, spearman
from wsol.identity import describe
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP

CONF = Path(__file__).parents[3] / "conf" / "faithfulness"
OPTIONS = sorted(CONF.glob("*.yaml"), key=lambda path: path.stem)
BOX_BLUR = {"blur_kernel": 3, "blur_sigma": 1e6}  # so wide a Gaussian weighs all 3 x 3 pixels alike


class Region(nn.Module):
    """Class 0 is as probable as the pixels of a region are bright."""

    def __init__(self, region):
        super().__init__()
        self.register_buffer("region", region)
        self.seen = []

    def forward(self, images):
        self.seen.append(len(images))
        brightness = images[:, :, self.region].mean(dim=(1, 2))
        return torch.stack([brightness, 1 - brightness], dim=1).log()


def region_of(size, rows, columns):
    region = torch.zeros(size, size, dtype=torch.bool)
    region[rows, columns] = True
    return region


def subject_of(network, images, score_maps, class_ids=None, **settings):
    ids = torch.zeros(len(images), dtype=torch.long) if class_ids is None else class_ids
    names = [f"image {n}" for n in range(len(images))]
    return ExplainedBatch(network, images, names, ids, CAM(), score_maps, score_maps, **settings)


def only(columns):
    return {name: values.item() for name, values in columns.items()}


class TestInsertionDeletion:
    """A 4 x 4 image, white in the region and black elsewhere; the mean colour is gray, 0.5."""

    region = region_of(4, slice(2, 4), slice(2, 4))
    image = region.double().expand(1, 3, 4, 4)

    def blurred_brightness(self):
        # 3 x 3 means with mirrored borders (row -1 is row 1, row 4 is row 2): along each axis the white rows 2 and 3
        # become (0 + 1 + 1) / 3 and (1 + 1 + 1) / 3, whose mean is 5 / 6.
        return (5 / 6) ** 2

    def measured(self, score_map, steps=16):
        subject = subject_of(Region(self.region), self.image, score_map[None])
        return only(InsertionDeletion(steps=steps, **BOX_BLUR)(subject))

    def test_deletion_of_the_region_first(self):
        # From 1 to 0.5 over the first quarter of the pixels, then flat.
        assert self.measured(self.region.double())["deletion_auc"] == pytest.approx(0.25 * 0.75 + 0.75 * 0.5)

    def test_deletion_of_the_region_last(self):
        assert self.measured(1 - self.region.double())["deletion_auc"] == pytest.approx(0.75 * 1 + 0.25 * 0.75)

    def test_insertion_of_one_pixel_first_and_last(self):
        region = region_of(6, slice(2, 3), slice(2, 3))
        image = region.double().expand(1, 3, 6, 6)  # blurred, the one white pixel is 1 / 9
        measure = InsertionDeletion(steps=36, **BOX_BLUR)
        first = measure(subject_of(Region(region), image, region.double()[None]))["insertion_auc"].item()
        last = measure(subject_of(Region(region), image, 1 - region.double()[None]))["insertion_auc"].item()
        assert first == pytest.approx((1 / 9 + 1) / 2 / 36 + 35 / 36)
        assert last == pytest.approx(35 / 36 / 9 + (1 / 9 + 1) / 2 / 36)

    def test_insertion_starts_from_the_blurred_image(self):
        subject = subject_of(Region(self.region), self.image, self.region.double()[None])
        fractions, insertion, deletion = InsertionDeletion(steps=4, **BOX_BLUR).curves(subject)
        np.testing.assert_allclose(fractions, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(insertion, [[self.blurred_brightness(), 1, 1, 1, 1]], rtol=1e-6)
        np.testing.assert_allclose(deletion, [[1, 0.5, 0.5, 0.5, 0.5]], rtol=1e-6)

    def test_the_right_map_is_better_than_its_inverse_in_both(self):
        right, wrong = self.measured(self.region.double()), self.measured(1 - self.region.double())
        assert right["insertion_auc"] > wrong["insertion_auc"]
        assert right["deletion_auc"] < wrong["deletion_auc"]

    def test_a_map_of_zeros_is_read_row_by_row(self):
        ramp = torch.arange(16, 0, -1).double().reshape(4, 4) / 16
        assert self.measured(torch.zeros(4, 4)) == self.measured(ramp)

    def test_ties_go_in_raster_order(self):
        # 12 pixels tie for the first place: the last of the region goes when all 8 pixels of its two rows have gone.
        tied = torch.ones(4, 4)
        tied[0] = 0
        subject = subject_of(Region(self.region), self.image, tied[None])
        deletion = InsertionDeletion(steps=16, **BOX_BLUR).curves(subject)[2][0]
        expected = 1 - 0.5 * np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4]) / 4
        np.testing.assert_allclose(deletion, expected, rtol=1e-6)

    def test_more_steps_than_pixels_move_one_pixel_each(self):
        assert self.measured(self.region.double(), steps=50) == self.measured(self.region.double(), steps=16)

    def test_unequal_steps_are_weighed_by_their_pixels(self):
        # 3 steps over 16 pixels stop at 0, 5, 11 and 16.
        subject = subject_of(Region(self.region), self.image, self.region.double()[None])
        measure = InsertionDeletion(steps=3, **BOX_BLUR)
        np.testing.assert_allclose(measure.curves(subject)[0], np.array([0, 5, 11, 16]) / 16)
        assert measure(subject)["deletion_auc"].item() == pytest.approx(5 / 16 * 0.75 + 11 / 16 * 0.5)

    def test_the_networks_own_mean_is_what_deletion_paints_with(self, images, class_ids):
        classifier = tiny_classifier(GAP())
        classifier.backbone.mean.copy_(torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
        subject = ExplainedBatch.of(classifier, images, class_ids, CAM())
        painted = classifier.backbone.mean.expand(4, 3, 16, 16)
        deletion = InsertionDeletion(steps=2).curves(subject)[2]
        with torch.no_grad():
            expected = classifier(painted).softmax(dim=1).gather(1, class_ids[:, None])[:, 0]
        np.testing.assert_allclose(deletion[:, -1], expected.numpy(), rtol=1e-5)

    def test_bytes_start_from_the_very_image(self, images, class_ids):
        classifier = tiny_classifier(GAP())
        subject = ExplainedBatch.of(classifier, images, class_ids, CAM())
        _, insertion, deletion = InsertionDeletion(steps=2).curves(subject)
        with torch.no_grad():
            expected = classifier(images).softmax(dim=1).gather(1, class_ids[:, None])[:, 0].double().numpy()
        np.testing.assert_allclose(deletion[:, 0], expected, rtol=1e-6)
        np.testing.assert_allclose(insertion[:, -1], expected, rtol=1e-6)

    def test_forward_passes_are_few_and_batches_bounded_and_full(self):
        network = Region(self.region)
        subject = subject_of(network, self.image.expand(3, -1, -1, -1), torch.zeros(3, 4, 4), batch_size=7)
        InsertionDeletion(steps=8, **BOX_BLUR)(subject)
        assert sum(network.seen) == 3 * (2 * 8 + 1)
        assert sorted(network.seen) == sorted([3] + 2 * [7, 7, 7, 3])
        AverageDrop()(subject)  # the image itself is not asked for again
        assert sum(network.seen) == 3 * (2 * 8 + 1) + 3

    def test_images_too_small_for_the_blur_are_named(self):
        subject = subject_of(Region(self.region), self.image, torch.zeros(1, 4, 4))
        with pytest.raises(ValueError, match=r"blur_kernel of 11 needs images larger than 5 px, got \(4, 4\)"):
            InsertionDeletion()(subject)

    def test_settings_without_meaning_are_refused(self):
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            InsertionDeletion(steps=0)
        with pytest.raises(ValueError, match="blur_kernel must be odd"):
            InsertionDeletion(blur_kernel=10)


class TestAverageDrop:
    """The network reads one region of known brightness; what the map hides turns gray, 0.5."""

    region = region_of(4, slice(0, 2), slice(0, 2))

    def measured(self, brightness, score):
        image = torch.full((1, 3, 4, 4), brightness, dtype=torch.float64)
        return only(AverageDrop()(subject_of(Region(self.region), image, torch.full((1, 4, 4), score))))

    @pytest.mark.parametrize(
        ("brightness", "score", "left"), [(1.0, 0.0, 0.5), (1.0, 0.4, 0.7), (0.8, 0.5, 0.65), (0.8, 1.0, 0.8)]
    )
    def test_drop_by_hand(self, brightness, score, left):
        drop = pytest.approx((brightness - left) / brightness, abs=1e-6)
        assert self.measured(brightness, score) == {"average_drop": drop, "increase_in_confidence": 0}

    def test_increase_is_no_drop(self):
        assert self.measured(0.2, 0.5) == {"average_drop": 0, "increase_in_confidence": 1}  # 0.2 -> 0.35

    def test_a_probability_of_zero_cannot_drop(self):
        assert self.measured(0.0, 1.0) == {"average_drop": 0, "increase_in_confidence": 0}

    def test_the_image_is_multiplied_as_the_network_sees_it(self, images, class_ids):
        classifier = tiny_classifier(GMP())
        classifier.backbone.mean.copy_(torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
        subject = ExplainedBatch.of(classifier, images, class_ids, GradCAM())
        with torch.no_grad():
            normalized = (images / 255 - classifier.backbone.mean) / classifier.backbone.std
            features = subject.score_maps[:, None].float() * normalized
            for name in classifier.backbone.trunk_names:
                features = classifier.backbone.get_submodule(name)(features)
            left = classifier.fc(classifier.pooling(features)).softmax(dim=1).gather(1, class_ids[:, None])[:, 0]
            whole = classifier(images).softmax(dim=1).gather(1, class_ids[:, None])[:, 0]
        found = AverageDrop()(subject)
        np.testing.assert_allclose(found["average_drop"], ((whole - left).relu() / whole).numpy(), rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(found["increase_in_confidence"], (whole < left).numpy())


class TestParameterRandomization:
    def similarity(self, method, images, class_ids, mode, network=None, **settings):
        subject = ExplainedBatch.of(network or tiny_classifier(GAP()), images, class_ids, method)
        return ParameterRandomization(mode, **settings)(subject)["randomization_similarity"]

    def test_a_method_without_a_class_is_found_out_by_the_head(self, images, class_ids):
        found = self.similarity(EigenCAM(target_layer=EARLY), images, class_ids, "head")
        np.testing.assert_allclose(found, np.ones(4), atol=1e-12)

    def test_a_method_with_a_class_depends_on_the_head(self, images, class_ids):
        assert (self.similarity(CAM(), images, class_ids, "head") < 0.999).all()

    def test_the_randomized_maps_are_those_of_the_randomized_network(self, images, class_ids):
        stats = pytest.importorskip("scipy.stats")
        network = tiny_classifier(GAP())
        maps = [
            maps_of_batch(one, images, class_ids, CAM()).flatten(1).numpy()
            for one in (network, randomized_copy(network, "all", 3))
        ]
        expected = [stats.spearmanr(one, other).statistic for one, other in zip(*maps, strict=True)]
        np.testing.assert_allclose(self.similarity(CAM(), images, class_ids, "all", network, seed=3), expected)
        expected = [stats.spearmanr(abs(one), abs(other)).statistic for one, other in zip(*maps, strict=True)]
        found = self.similarity(CAM(), images, class_ids, "all", network, seed=3, absolute=True)
        np.testing.assert_allclose(found, expected)

    def test_a_constant_map_has_no_similarity(self, images, class_ids):
        network = tiny_classifier(GAP())
        maps = maps_of_batch(network, images, class_ids, CAM())
        maps[1] = 7
        subject = ExplainedBatch(network, images, list("abcd"), class_ids, CAM(), maps, torch.zeros(4, 16, 16))
        found = ParameterRandomization()(subject)["randomization_similarity"]
        assert np.isnan(found).tolist() == [False, True, False, False]

    def test_a_map_with_nan_from_the_randomized_network_is_named(self, images, class_ids):
        network = tiny_classifier(GAP())
        subject = ExplainedBatch.of(network, images, class_ids, CAM(), image_ids=list("abcd"))
        broken = randomized_copy(network, "all", 0)
        broken.fc.weight.data[3] = torch.nan  # the class of image b
        with pytest.raises(ValueError, match="of the randomized network is NaN or infinite for 1 of 4 images: b"):
            ParameterRandomization()(subject)

    def test_an_unknown_mode_is_refused(self):
        with pytest.raises(ValueError, match="mode must be 'head' or 'all', got 'logits'"):
            ParameterRandomization("logits")


class Token(nn.Module):
    """Holds a parameter, and no way to draw it anew."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.arange(20.0))
        self.norm = nn.BatchNorm1d(20)
        self.fc = nn.Linear(20, 3)


class TestRandomizedCopy:
    def test_head_changes_the_last_linear_layer_alone(self):
        network = tiny_classifier(GAP())
        randomized = randomized_copy(network, "head", 0)
        changed = {
            name
            for (name, one), other in zip(network.state_dict().items(), randomized.state_dict().values(), strict=True)
            if not torch.equal(one, other)
        }
        assert changed == {"fc.weight", "fc.bias"}

    def test_all_forgets_everything(self):
        network = Token()
        with torch.no_grad():
            for parameter in network.norm.parameters():
                parameter.fill_(5)
            network.norm.running_mean.fill_(5)
        randomized = randomized_copy(network, "all", 0)
        assert not torch.equal(randomized.token, network.token)
        assert torch.equal(randomized.token.sort().values, network.token)
        assert torch.equal(randomized.norm.weight, torch.ones(20))
        assert torch.equal(randomized.norm.running_mean, torch.zeros(20))
        assert not torch.equal(randomized.fc.weight, network.fc.weight)

    def test_it_is_drawn_from_its_seed_and_leaves_the_random_state(self):
        network = tiny_classifier(GAP())
        before = torch.get_rng_state()
        first = randomized_copy(network, "all", 5).fc.weight
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        assert torch.equal(randomized_copy(tiny_classifier(GAP()), "all", 5).fc.weight, first)
        assert not torch.equal(randomized_copy(network, "all", 6).fc.weight, first)

    def test_it_is_made_once_and_again_after_training(self):
        network = tiny_classifier(GAP())
        first = randomized_copy(network, "head", 0)
        assert randomized_copy(network, "head", 0) is first
        assert randomized_copy(network, "all", 0) is not first
        with torch.no_grad():
            network.backbone.block1[0].weight.add_(1)
        again = randomized_copy(network, "head", 0)
        assert again is not first
        assert torch.equal(again.backbone.block1[0].weight, network.backbone.block1[0].weight)

    def test_it_keeps_no_network_alive(self):
        network = tiny_classifier(GAP())
        randomized_copy(network, "all", 0)
        alive, held = weakref.ref(network), len(randomized_network._COPIES)
        del network
        gc.collect()
        assert alive() is None
        assert len(randomized_network._COPIES) < held

    def test_it_can_be_made_in_inference_mode(self, images, class_ids):
        network = tiny_classifier(GAP())
        with torch.inference_mode():
            randomized = randomized_copy(network, "all", 0)
        assert not any(parameter.is_inference() for parameter in randomized.parameters())


class TestSpearman:
    def test_by_hand(self):
        # Ranks 1, 2, 3, 4 and 1.5, 1.5, 3, 4: centred products sum to 4.5, squares to 5 and 4.5.
        found = spearman(np.array([[10.0, 20, 30, 40]]), np.array([[5.0, 5, 7, 9]]))
        np.testing.assert_allclose(found, 4.5 / np.sqrt(5 * 4.5))

    def test_order_is_all_that_counts(self):
        values = np.random.default_rng(0).normal(size=(3, 50))
        np.testing.assert_allclose(spearman(values, np.exp(values)), 1)
        np.testing.assert_allclose(spearman(values, -(values**3)), -1)

    def test_it_agrees_with_scipy_with_and_without_ties(self):
        stats = pytest.importorskip("scipy.stats")
        random = np.random.default_rng(0)
        for first, second in (
            random.normal(size=(2, 20, 49)),
            random.integers(0, 4, size=(2, 20, 49)).astype(float),
            random.integers(0, 2, size=(2, 20, 9)).astype(np.float32),
        ):
            expected = [stats.spearmanr(one, other).statistic for one, other in zip(first, second, strict=True)]
            np.testing.assert_allclose(spearman(first, second), expected, atol=1e-12)

    def test_a_constant_row_is_undefined(self):
        assert np.isnan(spearman(np.full((1, 9), 0.1), np.arange(9.0)[None])).all()
        assert np.isnan(spearman(np.zeros((1, 1)), np.ones((1, 1)))).all()

    def test_shapes_that_differ_are_named(self):
        with pytest.raises(ValueError, match=r"got \(1, 4\) and \(1, 5\)"):
            spearman(np.zeros((1, 4)), np.zeros((1, 5)))


class TestSubject:
    def make(self, images, **changed):
        count, (height, width) = len(images), images.shape[2:]
        parts = {
            "network": tiny_classifier(GAP()),
            "images": images,
            "image_ids": [f"image {n}" for n in range(count)],
            "class_ids": torch.zeros(count, dtype=torch.long),
            "method": CAM(),
            "activation_maps": torch.zeros(count, 8, 8),
            "score_maps": torch.zeros(count, height, width),
        }
        return ExplainedBatch(**{**parts, **changed})

    def test_shapes_that_do_not_fit_are_named(self, images):
        with pytest.raises(ValueError, match=r"score_maps must be \(4, 16, 16\).*got \(4, 8, 8\)"):
            self.make(images, score_maps=torch.zeros(4, 8, 8))
        with pytest.raises(ValueError, match=r"class_ids must be \(4,\)"):
            self.make(images, class_ids=torch.zeros(4, 1, dtype=torch.long))
        with pytest.raises(ValueError, match="4 images need as many image_ids"):
            self.make(images, image_ids=["a"])
        with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\).*torch.int64"):
            self.make(images.long())
        with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
            self.make(images, batch_size=0)

    def test_images_outside_zero_and_one_are_refused(self, images):
        with pytest.raises(ValueError, match=r"float images must lie in \[0, 1\]; wrap a network"):
            self.make(images.float())

    def test_maps_that_are_none_are_named(self, images):
        maps = torch.zeros(4, 16, 16)
        maps[2, 0, 0] = torch.nan
        with pytest.raises(ValueError, match=r"score map is outside \[0, 1\] or NaN for 1 of 4 images: image 2"):
            self.make(images, score_maps=maps)
        with pytest.raises(ValueError, match="activation map is NaN or infinite for 1 of 4 images: image 2"):
            self.make(images, activation_maps=maps)

    def test_a_network_of_another_kind_has_a_gray_mean(self, images):
        assert (self.make(images.float() / 255, network=nn.Flatten()).mean_color == 0.5).all()

    @pytest.mark.parametrize("method", [CAM(), GradCAM(), EigenCAM()], ids=lambda one: type(one).__name__)
    def test_maps_made_in_chunks_are_the_same(self, images, class_ids, method):
        network = tiny_classifier(GAP())
        whole, chunks = (maps_of_batch(network, images, class_ids, method, size) for size in (64, 3))
        torch.testing.assert_close(whole, chunks, rtol=1e-4, atol=1e-5)


def measure_of(path, **settings):
    """The measure of a file; these settings changed, where it has them."""
    (measure,) = build(OmegaConf.load(path)).values()
    return replace(measure, **{name: value for name, value in settings.items() if hasattr(measure, name)})


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
class TestContract:
    def subject(self, images, class_ids, network=None, **settings):
        return ExplainedBatch.of(network or tiny_classifier(GMP()), images, class_ids, GradCAM(), **settings)

    def test_the_file_holds_one_measure_under_its_own_name(self, path, images, class_ids):
        assert list(OmegaConf.load(path)) == [path.stem]

    def test_settings_can_be_named(self, path, images, class_ids):
        assert describe(measure_of(path))["of"] == f"faithfulness/{path.stem}"

    def test_one_number_an_image_in_the_documented_range(self, path, images, class_ids):
        measure = measure_of(path)
        found = measure(self.subject(images, class_ids))
        assert list(found) == list(measure.columns)
        for name, values in found.items():
            assert values.shape == (4,)
            assert values.dtype == np.float64
            known = values[~np.isnan(values)]
            assert len(known) > 0
            assert (known >= measure.columns[name].lowest).all()
            assert (known <= measure.columns[name].highest).all()

    def test_a_batch_equals_its_images_one_by_one(self, path, images, class_ids):
        measure, network = measure_of(path, steps=6), tiny_classifier(GMP())
        together = measure(self.subject(images, class_ids, network))
        for settings in ({"batch_size": 1}, {"batch_size": 3}):
            for name, values in measure(self.subject(images, class_ids, network, **settings)).items():
                np.testing.assert_allclose(values, together[name], rtol=1e-4, atol=1e-5)
        for n in range(4):
            alone = measure(self.subject(images[n : n + 1], class_ids[n : n + 1], network))
            for name, values in alone.items():
                np.testing.assert_allclose(values, together[name][n : n + 1], rtol=1e-4, atol=1e-5)

    def test_no_grad_inference_mode_and_floats_change_nothing(self, path, images, class_ids):
        measure, network = measure_of(path, steps=6), tiny_classifier(GMP())
        expected = measure(self.subject(images, class_ids, network))
        network.requires_grad_(False)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                found = measure(self.subject(images, class_ids, network))
            for name, values in found.items():
                np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)
        for name, values in measure(self.subject(images / 255, class_ids, network)).items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)

    def test_everything_is_left_as_found(self, path, images, class_ids):
        network = tiny_classifier(GMP()).train()
        network.backbone.block1.eval()
        network.fc.bias.requires_grad_(False)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        subject = self.subject(images, class_ids, network)
        given = {name: getattr(subject, name).clone() for name in ("images", "activation_maps", "score_maps")}
        random_state = torch.get_rng_state()
        measure_of(path)(subject)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert network.training
        assert not network.backbone.block1.training
        assert all(parameter.grad is None for parameter in network.parameters())
        assert [name for name, one in network.named_parameters() if not one.requires_grad] == ["fc.bias"]
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name
        for name, value in given.items():
            assert torch.equal(value, getattr(subject, name)), name
