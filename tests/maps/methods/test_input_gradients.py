"""The methods that differentiate down to the pixels."""

import pytest
import torch
from torch import nn

from map_methods import make
from networks import tiny_classifier
from wsol.maps import input_gradient
from wsol.maps.base_map import merge_channels
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.input_gradient import input_gradients, sum_of_gradients
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.gradient import Gradient
from wsol.maps.methods.guided_backprop import GuidedBackprop
from wsol.maps.methods.guided_grad_cam import GuidedGradCAM
from wsol.maps.methods.input_x_gradient import InputXGradient
from wsol.maps.methods.integrated_gradients import IntegratedGradients
from wsol.maps.methods.smooth_grad import SmoothGrad
from wsol.networks.backbone import Backbone
from wsol.networks.pixels import to_pixels
from wsol.networks.pooling.gap import GAP

CHANNELS = ("max_abs", "abs_of_sum", "sum", "sum_positive")
WEIGHTS = torch.tensor([[[[1.0, 2.0]], [[-3.0, 0.0]], [[1.0, 1.0]]], [[[0.0, -1.0]], [[0.0, 0.0]], [[0.0, 0.0]]]])
IMAGE = torch.tensor([[[[0.5, 1.0]], [[0.25, 1.0]], [[1.0, 0.0]]]])  # 1 x 2 px


class Linear(nn.Module):
    """Two classes: S_k = Σ w_k x + 1."""

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", images, WEIGHTS.to(images)) + 1


class Squares(nn.Module):
    """One class: S = Σ x²."""

    def forward(self, images):
        return images.square().sum(dim=(1, 2, 3))[:, None]


def smooth_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6, 5)).double()


def relu_network(bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, bias=bias), nn.ReLU(), nn.Conv2d(6, 6, 3, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5, bias=bias)).double()


@pytest.fixture
def pixels(images):
    return images.double() / 255


class TestOnPaper:
    @pytest.mark.parametrize(
        ("method", "class_id", "expected"),
        [
            (Gradient(), 0, [3, 2]),
            (Gradient(channels="abs_of_sum"), 0, [1, 3]),
            (Gradient(channels="sum"), 0, [-1, 3]),
            (Gradient(channels="sum_positive"), 0, [2, 3]),
            (Gradient(), 1, [0, 1]),
            (Gradient(channels="sum_positive"), 1, [0, 0]),
            # x w = [0.5, 2], [-0.75, 0], [1, 0]
            (InputXGradient(), 0, [0.75, 2]),
            (InputXGradient(channels="max_abs"), 0, [1, 2]),
            (InputXGradient(channels="sum"), 1, [0, -1]),
            (IntegratedGradients(steps=1), 0, [0.75, 2]),
            # (x - 0.5) w = [0, 1], [0.75, 0], [0.5, -0.5]
            (IntegratedGradients(steps=3, baseline=0.5), 0, [1.25, 0.5]),
            (SmoothGrad(samples=3), 0, [3, 2]),
        ],
        ids=str,
    )
    def test_a_linear_network(self, method, class_id, expected):
        maps = make(method, Linear(), IMAGE, torch.tensor([class_id]))
        torch.testing.assert_close(maps, torch.tensor([[expected]], dtype=torch.float32))

    def test_integrated_gradients_of_squares(self):
        """(x - b) ∫ 2 (b + α (x - b)) dα = x² - b²; one Gauss-Legendre node, the middle, is exact for a line."""
        method = IntegratedGradients(steps=1, baseline=0.5)
        found = method.attributions(Squares(), IMAGE, torch.tensor([[0]]))
        torch.testing.assert_close(found, (IMAGE.square() - 0.25)[:, None])

    def test_two_gauss_legendre_nodes_are_exact_for_a_cubic_integrand(self):
        class Fourth(nn.Module):
            def forward(self, images):
                return (images**4).sum(dim=(1, 2, 3))[:, None]

        image = IMAGE.double()
        one, two = (IntegratedGradients(steps=s).attributions(Fourth(), image, torch.tensor([[0]])) for s in (1, 2))
        torch.testing.assert_close(two, (image**4)[:, None], rtol=1e-12, atol=0)
        torch.testing.assert_close(one, (image**4 / 2)[:, None], rtol=1e-12, atol=0)  # x · 4 (x / 2)³

    def test_the_backbone_normalizes_inside(self):
        """S = Σ w (x - 0.5) / 0.25 of a pixel x in [0, 1]: the gradient is 4 w, also for uint8."""

        class Head(nn.Module):
            def __init__(self):
                super().__init__()
                self.backbone = Backbone(nn.Sequential(), 3, std=(0.25,) * 3)

            def forward(self, images):
                return Linear()(self.backbone(images))

        class_ids = torch.tensor([[0, 1]])
        for images in (IMAGE, (IMAGE * 255).to(torch.uint8)):
            torch.testing.assert_close(input_gradients(Head(), images, class_ids)[0], 4 * WEIGHTS)
        images = (IMAGE * 255).to(torch.uint8)
        found = InputXGradient(channels="sum").attributions(Head(), images, class_ids)
        torch.testing.assert_close(found[0], 4 * WEIGHTS * images / 255)

    def test_channels(self):
        colours = torch.tensor([-3.0, 1, 1]).view(1, 3, 1, 1)
        assert [merge_channels(colours, channels).item() for channels in CHANNELS] == [3, 1, -1, 2]


class TestInputGradients:
    @pytest.mark.parametrize("at_once", [1, 3, 100])
    def test_equal_autograd_in_chunks_of_any_size(self, at_once, pixels, monkeypatch):
        monkeypatch.setattr(input_gradient, "IMAGES_AT_ONCE", at_once)
        network, class_ids = relu_network(), torch.tensor([[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]])
        found = input_gradients(network, pixels, class_ids)
        for n in range(4):
            for k in range(3):
                leaf = pixels[n : n + 1].clone().requires_grad_()
                (expected,) = torch.autograd.grad(network(leaf)[0, class_ids[n, k]], leaf)
                torch.testing.assert_close(found[n, k], expected[0], rtol=1e-10, atol=1e-14)

    def test_one_forward_pass_and_one_backward_pass_a_class(self, pixels):
        class Counts(nn.Module):
            forwards, backwards = 0, 0

            def forward(self, images):
                self.forwards += 1
                output = images * 1
                output.register_hook(self.count)
                return output.flatten(1)[:, :5]

            def count(self, gradient):
                self.backwards += 1

        network = Counts()
        input_gradients(network, pixels, torch.tensor([[0, 1, 2]] * 4))
        assert (network.forwards, network.backwards) == (1, 3)

    def test_gradients_that_were_there_stay(self, pixels):
        network, leaf = relu_network(), pixels.clone().requires_grad_()
        network(leaf).sum().backward()
        before = [leaf.grad.clone(), *(parameter.grad.clone() for parameter in network.parameters())]
        found = input_gradients(network, leaf, torch.zeros(4, 1, dtype=torch.int64))
        after = [leaf.grad, *(parameter.grad for parameter in network.parameters())]
        assert not found.requires_grad
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))

    def test_inside_inference_mode_with_images_made_there(self, pixels):
        network, class_ids = relu_network().requires_grad_(False), torch.tensor([[1]] * 4)
        expected = input_gradients(network, pixels, class_ids)
        with torch.inference_mode():
            made_there = pixels * 1
            assert made_there.is_inference()
            found = input_gradients(network, made_there, class_ids * 1)
        torch.testing.assert_close(found, expected)

    def test_a_layer_in_place_comes_first(self, pixels):
        network = nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        images = pixels - 0.5
        before = images.clone()
        found = input_gradients(network, images, torch.zeros(4, 1, dtype=torch.int64))
        assert torch.equal(images, before)
        torch.testing.assert_close(found[:, 0, 0], (images[:, 0] > 0).double() / 256)

    def test_eval_mode_inside_and_the_modes_found_after_an_error(self, pixels):
        class Fails(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.weight = nn.BatchNorm2d(3), nn.Parameter(torch.ones(1))

            def forward(self, images):
                assert not self.norm.training
                assert not self.weight.requires_grad
                raise RuntimeError("halfway")

        network = Fails().train()
        weight, names = network.weight, dict(network.named_parameters())
        with pytest.raises(RuntimeError, match="halfway"):
            input_gradients(network, pixels, torch.zeros(4, 1, dtype=torch.int64))
        assert network.training
        assert network.norm.training
        assert network.weight is weight
        assert weight.requires_grad
        assert list(dict(network.named_parameters())) == list(names)

    def test_errors_name_what_came(self, images, pixels):
        with pytest.raises(ValueError, match=r"class_ids must be \(4, K\), got \(4,\)"):
            input_gradients(Squares(), pixels, torch.zeros(4, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"must be floats, got torch\.uint8 for a Squares"):
            input_gradients(Squares(), images, torch.zeros(4, 1, dtype=torch.int64))

        class Detaches(nn.Module):
            def forward(self, images):
                return images.detach().flatten(1)

        with pytest.raises(ValueError, match="The scores of Detaches do not lead back to the pixels"):
            input_gradients(Detaches(), pixels, torch.zeros(4, 1, dtype=torch.int64))
        with pytest.raises(ValueError, match="at least one copy"):
            sum_of_gradients(Squares(), [], [], torch.zeros(4, 1, dtype=torch.int64))

    def test_uint8_takes_the_type_of_the_network(self, images):
        assert to_pixels(tiny_classifier(GAP()), images).dtype == torch.float32
        assert to_pixels(tiny_classifier(GAP()).double(), images).dtype == torch.float64


class TestCaptum:
    """In float64."""

    @pytest.fixture(autouse=True)
    def captum(self):
        return pytest.importorskip("captum.attr")

    @pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")
    @pytest.mark.parametrize("network", [relu_network, smooth_network])
    def test_saliency(self, captum, network, pixels, class_ids):
        theirs = captum.Saliency(network()).attribute(pixels, class_ids).amax(dim=1)
        torch.testing.assert_close(make(Gradient(), network(), pixels, class_ids), theirs, rtol=1e-10, atol=1e-14)

    @pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")
    @pytest.mark.parametrize("network", [relu_network, smooth_network])
    def test_input_x_gradient(self, captum, network, pixels, class_ids):
        theirs = captum.InputXGradient(network()).attribute(pixels, class_ids)
        ours = InputXGradient().attributions(network(), pixels, class_ids[:, None])[:, 0]
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)

    @pytest.mark.parametrize("baseline", [0.0, 0.5])
    @pytest.mark.parametrize("network", [relu_network, smooth_network])
    def test_integrated_gradients(self, captum, network, baseline, pixels, class_ids):
        theirs = captum.IntegratedGradients(network()).attribute(pixels, baseline, class_ids, n_steps=20)
        method = IntegratedGradients(steps=20, baseline=baseline)
        ours = method.attributions(network(), pixels, class_ids[:, None])[:, 0]
        # captum rounds the weights of the nodes to float32, also for a network in float64.
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-10)


class TestTheory:
    @pytest.mark.parametrize("baseline", [0.0, 0.5])
    def test_integrated_gradients_are_complete(self, baseline, pixels, class_ids):
        network = smooth_network()
        maps = make(IntegratedGradients(steps=30, baseline=baseline, channels="sum"), network, pixels, class_ids)
        change = (network(pixels) - network(torch.full_like(pixels, baseline))).gather(1, class_ids[:, None])[:, 0]
        assert change.abs().min() > 1e-4
        torch.testing.assert_close(maps.sum(dim=(1, 2)), change.detach(), rtol=1e-10, atol=1e-12)

    def test_input_x_gradient_adds_up_to_the_score_without_biases(self, pixels, class_ids):
        network = relu_network(bias=False)
        maps = make(InputXGradient(channels="sum"), network, pixels, class_ids)
        score = network(pixels).gather(1, class_ids[:, None])[:, 0].detach()
        torch.testing.assert_close(maps.sum(dim=(1, 2)), score, rtol=1e-10, atol=1e-12)
        straight = make(IntegratedGradients(steps=3, channels="sum"), network, pixels, class_ids)
        torch.testing.assert_close(straight, maps, rtol=1e-10, atol=1e-12)  # the gradient is the same on the way

    def test_a_pixel_that_equals_the_baseline_gets_nothing(self, pixels, class_ids):
        pixels[:, :, 3, 4] = 0.5
        maps = make(IntegratedGradients(steps=4, baseline=0.5), smooth_network(), pixels, class_ids)
        assert (maps[:, 3, 4] == 0).all()
        assert (maps[:, 3, 5] > 0).all()


class TestSmoothGrad:
    def test_is_the_mean_over_noisy_copies(self, pixels, class_ids):
        pixels[1] = 0.2 + pixels[1] / 10  # a range of its own
        network, total = smooth_network(), torch.zeros_like(pixels)
        generator = torch.Generator().manual_seed(7)
        for _ in range(5):
            noise = torch.randn(3, 16, 16, generator=generator).double()
            for n in range(4):
                sigma = 0.3 * (pixels[n].max() - pixels[n].min())
                leaf = (pixels[n : n + 1] + sigma * noise).requires_grad_()
                total[n] += torch.autograd.grad(network(leaf)[0, class_ids[n]], leaf)[0][0] / 5
        found = SmoothGrad(samples=5, noise=0.3, seed=7).attributions(network, pixels, class_ids[:, None])[:, 0]
        torch.testing.assert_close(found, total, rtol=1e-9, atol=1e-14)
        assert not torch.allclose(found, input_gradients(network, pixels, class_ids[:, None])[:, 0], rtol=1e-3)

    def test_nothing_but_its_seed_decides_the_noise(self, pixels, class_ids):
        network = relu_network()
        torch.manual_seed(1)
        first = make(SmoothGrad(samples=2), network, pixels, class_ids)
        state = torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(make(SmoothGrad(samples=2), network, pixels, class_ids), first)
        assert not torch.equal(make(SmoothGrad(samples=2, seed=1), network, pixels, class_ids), first)
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)

    def test_without_noise_and_on_a_blank_image_it_is_the_gradient(self, pixels, class_ids):
        network = relu_network()
        expected = make(Gradient(), network, pixels, class_ids)
        torch.testing.assert_close(make(SmoothGrad(samples=3, noise=0), network, pixels, class_ids), expected)
        blank = torch.full_like(pixels, 0.3)
        expected = make(Gradient(), network, blank, class_ids)
        torch.testing.assert_close(make(SmoothGrad(samples=3), network, blank, class_ids), expected)

    @pytest.mark.parametrize("at_once", [1, 6, 100])
    def test_copies_are_joined_without_changing_the_answer(self, at_once, pixels, class_ids, monkeypatch):
        network = smooth_network()
        expected = make(SmoothGrad(samples=5), network, pixels[:2], class_ids[:2])
        monkeypatch.setattr(input_gradient, "IMAGES_AT_ONCE", at_once)
        torch.testing.assert_close(make(SmoothGrad(samples=5), network, pixels[:2], class_ids[:2]), expected)


@pytest.mark.parametrize("channels", CHANNELS)
def test_guided_grad_cam_is_the_product(channels, images, class_ids):
    classifier = tiny_classifier(GAP())
    forward = forward_pass(classifier, images, [LAST])
    where = nn.functional.interpolate(
        GradCAM()(forward, class_ids)[:, None], (16, 16), mode="bilinear", align_corners=False
    )
    detail = GuidedBackprop().attributions(classifier, images, class_ids[:, None])[:, 0]
    expected = merge_channels(detail * where, channels)
    assert expected.abs().max() > 0
    torch.testing.assert_close(GuidedGradCAM(channels=channels)(forward, class_ids), expected)


@pytest.mark.parametrize(
    ("make_method", "message"),
    [
        (
            lambda: Gradient(channels="mean"),
            "channels must be one of max_abs, abs_of_sum, sum, sum_positive, got 'mean'",
        ),
        (lambda: GuidedGradCAM(channels="l2"), "channels must be one of .* got 'l2'"),
        (lambda: SmoothGrad(samples=0), "samples >= 1 and noise >= 0, got samples=0"),
        (lambda: SmoothGrad(noise=-0.1), "got samples=25, noise=-0.1"),
        (lambda: IntegratedGradients(steps=0), "steps >= 1 and a baseline in"),
        (lambda: IntegratedGradients(baseline=128), "got steps=50, baseline=128"),
    ],
)
def test_settings_that_make_no_sense_are_named(make_method, message):
    with pytest.raises(ValueError, match=message):
        make_method()
