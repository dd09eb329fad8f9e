"""Every pooling option in a classifier: where it may stand, that it learns, and its gradient in closed form."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf

from networks import Opaque
from wsol.maps.class_gradient import DenseGradient
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.base_pooling import ChannelPooling, Pooling
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.wildcat import WILDCAT

CONF = Path(__file__).parents[3] / "conf" / "pooling"


def make(option):
    return instantiate(OmegaConf.load(CONF / f"{option}.yaml"), _convert_="all")


# Other poolings of all channels belong to one backbone each, and are tested with it.
OPTIONS = [
    path.stem
    for path in sorted(CONF.glob("*.yaml"))
    if path.stem == "attention" or isinstance(make(path.stem), ChannelPooling)
]
PLACES = [(option, site) for option in OPTIONS for site in make(option).sites]
FEATURES_ONLY = {"attention", "gem", "linear_softmax", "tap"}


def classifier_with(pooling, site, seed=0):
    torch.manual_seed(seed)
    return Classifier(small_cnn(channels=(6, 10)), pooling, num_classes=5, pool_site=site)


class OpaqueScores(Opaque):
    """The same of a head that pools class scores, written out."""

    def __init__(self, classifier):
        super().__init__(classifier)
        self.maps = classifier.pooling.maps_per_class

    def forward(self, images):
        scores = F.conv2d(self.backbone(images), self.fc.weight[:, :, None, None], self.fc.bias)
        return self.pooling(scores.unflatten(1, (5, self.maps)).mean(dim=2))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds_a_pooling(option):
    pooling = make(option)
    assert isinstance(pooling, Pooling)
    assert type(pooling).__module__ == f"wsol.networks.pooling.{option}"
    sites = ("features",) if option in FEATURES_ONLY else ("scores",) if option == "wildcat" else ("features", "scores")
    assert pooling.sites == sites


@pytest.mark.parametrize("option", OPTIONS)
def test_a_place_that_it_cannot_take_is_named(option):
    for site in {"features", "scores"} - set(make(option).sites):
        with pytest.raises(ValueError, match=rf"pool_site of \w+ must be \w+, got '{site}'"):
            classifier_with(make(option), site)


@pytest.mark.parametrize(("option", "site"), PLACES)
class TestInPlace:
    def test_one_step_lowers_the_loss(self, option, site, images, class_ids):
        classifier = classifier_with(make(option), site).train()
        optimizer = torch.optim.SGD(classifier.parameters(), lr=0.05)
        before = F.cross_entropy(classifier(images), class_ids)
        before.backward()
        for name, parameter in classifier.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert (parameter.grad != 0).any(), name
        optimizer.step()
        after = F.cross_entropy(classifier(images), class_ids)
        assert after.isfinite()
        assert after < before

    def test_one_step_in_mixed_precision_and_channels_last(self, option, site, images, class_ids):
        classifier = classifier_with(make(option), site).train().to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(classifier(images).float(), class_ids)
        loss.backward()
        exact = F.cross_entropy(classifier_with(make(option), site).train()(images), class_ids)
        torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.02)
        assert all(parameter.grad.isfinite().all() for parameter in classifier.parameters())

    def test_the_same_seed_gives_the_same_network(self, option, site, images):
        first, again = (classifier_with(make(option), site).eval() for _ in range(2))
        again.load_state_dict(first.state_dict())
        assert torch.equal(first(images), classifier_with(make(option), site).eval()(images))
        assert torch.equal(first(images), again(images))

    @pytest.mark.parametrize("method", [GradCAM(), HiResCAM(), GradCAMPlusPlus()], ids=str)
    def test_closed_forms_equal_autograd(self, method, option, site, images, class_ids):
        classifier = classifier_with(make(option), site).eval().double()
        forward = forward_pass(classifier, images, [LAST])
        opaque = (Opaque if site == "features" else OpaqueScores)(classifier)
        other = forward_pass(opaque, images, [LAST])
        torch.testing.assert_close(forward.logits, other.logits)
        assert isinstance(other.gradient(LAST, class_ids[:, None]), DenseGradient)
        closed = isinstance(classifier.pooling, ChannelPooling)
        assert isinstance(forward.gradient(LAST, class_ids[:, None]), DenseGradient) != closed
        maps = method(forward, class_ids)
        torch.testing.assert_close(maps, method(other, class_ids), rtol=1e-9, atol=1e-12)
        assert maps.abs().max() > 0


@pytest.mark.parametrize("option", [option for option in OPTIONS if len(make(option).sites) == 2])
def test_the_place_matters_save_for_the_mean(option, images):
    before, behind = (classifier_with(make(option), site).eval() for site in ("features", "scores"))
    behind.load_state_dict(before.state_dict())
    same = torch.allclose(before(images), behind(images), rtol=1e-4, atol=1e-5)
    assert same == (option == "gap")


def test_the_maps_of_a_class_are_averaged_before_they_are_pooled(images):
    classifier = classifier_with(WILDCAT(2, 3, 0.5, maps_per_class=3), "scores").eval()
    assert classifier.fc.out_features == 15
    maps = F.conv2d(classifier.backbone(images), classifier.fc.weight[:, :, None, None], classifier.fc.bias)
    of_class = maps[:, 6:9].mean(dim=1).flatten(1).sort(dim=1).values  # of class 2
    expected = of_class[:, -2:].mean(dim=1) + 0.5 * of_class[:, :3].mean(dim=1)
    torch.testing.assert_close(classifier(images)[:, 2], expected)


class TestAttention:
    FEATURES = torch.randn(2, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    @pytest.fixture
    def pooling(self):
        torch.manual_seed(0)
        pooling = Attention(width=6)
        assert pooling.prepare(4) == 4
        return pooling.double()

    def test_the_slow_definition(self, pooling):
        (v, u), w = pooling.branches.weight.chunk(2), pooling.score.weight[0]
        for image, pooled in zip(self.FEATURES, pooling(self.FEATURES), strict=True):
            cells = list(image.flatten(1).T)
            scores = torch.stack([w @ (torch.tanh(v @ x) * torch.sigmoid(u @ x)) for x in cells]).exp()
            expected = sum(score * x for score, x in zip(scores, cells, strict=True)) / scores.sum()
            torch.testing.assert_close(pooled, expected)

    def test_weights_of_sum_one_for_all_channels(self, pooling):
        weights = pooling.attention(self.FEATURES)
        assert weights.shape == (2, 3, 5)
        assert (weights > 0).all()
        torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(2, dtype=torch.float64))
        expected = (weights[:, None] * self.FEATURES).sum(dim=(2, 3))
        torch.testing.assert_close(pooling(self.FEATURES), expected)

    def test_without_a_preference_it_is_the_mean(self, pooling):
        torch.nn.init.zeros_(pooling.score.weight)
        torch.testing.assert_close(pooling(self.FEATURES), self.FEATURES.mean(dim=(2, 3)))

    def test_a_channel_hangs_on_the_others(self, pooling):
        assert not isinstance(pooling, ChannelPooling)
        features = self.FEATURES.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(pooling(features)[:, 2].sum(), features)
        assert (gradient[:, 0] != 0).any()

    def test_gradcheck(self, pooling):
        features = self.FEATURES[:, :, :2, :2].clone().requires_grad_()
        assert torch.autograd.gradcheck(pooling, (features,))

    @pytest.mark.parametrize("fill", [0.0, 1.0, -3.0, 1e6])
    @pytest.mark.parametrize("size", [(1, 1), (3, 5)])
    def test_finite_gradients(self, pooling, fill, size):
        features = torch.full((2, 4, *size), fill, dtype=torch.float64, requires_grad=True)
        pooled = pooling(features)
        torch.testing.assert_close(pooled, torch.full((2, 4), fill, dtype=torch.float64))
        for gradient in torch.autograd.grad(pooled.sum(), [features, *pooling.parameters()]):
            assert gradient.isfinite().all()

    def test_prepared_twice_it_keeps_its_weights(self, pooling):
        before = [parameter.clone() for parameter in pooling.parameters()]
        state = torch.get_rng_state()
        assert pooling.prepare(4) == 4
        assert torch.equal(torch.get_rng_state(), state)
        assert len(before) == 2
        assert all(torch.equal(*pair) for pair in zip(before, pooling.parameters(), strict=True))

    def test_another_number_of_channels_is_refused(self, pooling):
        with pytest.raises(ValueError, match=r"prepared for 4 channels, got 5; make a new one"):
            pooling.prepare(5)

    def test_unprepared_it_says_so(self):
        with pytest.raises(ValueError, match=r"no weights yet; call prepare\(channels\) first"):
            Attention()(torch.zeros(1, 2, 3, 3))

    @pytest.mark.parametrize("width", [0, -1, 2.0])
    def test_a_wrong_width_is_named(self, width):
        with pytest.raises(ValueError, match=r"width must be an int from 1, got"):
            Attention(width)
