"""The contract of every map method, and what theory says of each."""

import pytest
import torch
from torch import nn

from map_methods import METHODS, POOLINGS, make
from networks import Opaque, tiny_classifier
from wsol.maps.class_gradient import DenseGradient
from wsol.maps.forward_pass import LAST, ForwardPass, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.counterfactual import Counterfactual
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.networks.base_pooling import ChannelPooling
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP

GRADIENT_METHODS = [GradCAM(), Counterfactual(), GradCAMPlusPlus(), XGradCAM(), HiResCAM(), LayerCAM()]
CELLS = 8 * 8


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method[0])
class TestContract:
    def test_shape(self, method, pooling, images, class_ids):
        maps = make(method[1], tiny_classifier(pooling()), images, class_ids)
        assert maps.shape[0] == 4
        assert maps.ndim == 3
        assert not maps.requires_grad
        assert maps.isfinite().all()

    def test_a_batch_equals_its_images_one_by_one(self, method, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        together = make(method[1], classifier, images, class_ids)
        alone = [make(method[1], classifier, images[i : i + 1], class_ids[i : i + 1]) for i in range(4)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)

    def test_several_classes_equal_one_at_a_time(self, method, pooling, images):
        classifier = tiny_classifier(pooling())
        several = torch.tensor([[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]])
        forward = forward_pass(classifier, images, method[1].target_layers)
        one_by_one = torch.stack([method[1](forward, several[:, k]) for k in range(3)], dim=1)
        torch.testing.assert_close(method[1](forward, several), one_by_one, rtol=1e-4, atol=1e-5)

    def test_frozen_weights_and_no_grad_change_nothing(self, method, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        expected = make(method[1], classifier, images, class_ids)
        classifier.requires_grad_(False)
        with torch.no_grad():
            torch.testing.assert_close(make(method[1], classifier, images, class_ids), expected)
            assert not torch.is_grad_enabled()
        with torch.inference_mode():
            torch.testing.assert_close(make(method[1], classifier, images, class_ids).clone(), expected)
        assert not any(parameter.requires_grad for parameter in classifier.parameters())

    def test_everything_is_left_as_found(self, method, pooling, images, class_ids):
        classifier = tiny_classifier(pooling()).train()
        classifier.backbone.block1.eval()
        classifier.fc.bias.requires_grad_(False)
        before = {name: value.clone() for name, value in classifier.state_dict().items()}
        make(method[1], classifier, images, class_ids)
        assert classifier.training
        assert not classifier.backbone.block1.training
        assert all(parameter.grad is None for parameter in classifier.parameters())
        frozen = [name for name, parameter in classifier.named_parameters() if not parameter.requires_grad]
        assert frozen == ["fc.bias"]
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in classifier.modules())
        for name, value in classifier.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_wrong_class_ids_are_named(self, method, pooling, images):
        forward = forward_pass(tiny_classifier(pooling()), images, method[1].target_layers)
        with pytest.raises(ValueError, match=r"class_ids must be \(4,\) or \(4, K\)"):
            method[1](forward, torch.tensor([0, 1]))

    def test_settings_have_a_name(self, method, pooling):
        from wsol.identity import digest

        assert len(digest(method[1])) == 8


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("method", GRADIENT_METHODS, ids=str)
def test_closed_forms_equal_autograd_in_float64(method, pooling, images, class_ids):
    classifier = tiny_classifier(pooling()).double()
    closed = make(method, classifier, images, class_ids)

    forward = forward_pass(Opaque(classifier), images, [LAST])
    assert isinstance(forward.gradient(LAST, class_ids[:, None]), DenseGradient)
    torch.testing.assert_close(closed, method(forward, class_ids), rtol=1e-9, atol=1e-12)
    assert closed.abs().max() > 0


class LogSumExp(ChannelPooling):
    """A smooth maximum, shift-equivariant like mean and maximum."""

    shift_equivariant = True

    def forward(self, features):
        return features.flatten(2).logsumexp(dim=2)


class TestIdentities:
    """Theorems on pooling + one linear layer, at the last layer."""

    @pytest.mark.parametrize("pooling", [*POOLINGS, LogSumExp])
    def test_grad_cam_is_the_rectified_cam(self, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        expected = make(CAM(), classifier, images, class_ids).relu() / CELLS
        assert expected.max() > 0
        torch.testing.assert_close(make(GradCAM(), classifier, images, class_ids), expected)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_counterfactual_is_the_rectified_negative_cam(self, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        expected = (-make(CAM(), classifier, images, class_ids)).relu() / CELLS
        assert expected.max() > 0
        torch.testing.assert_close(make(Counterfactual(), classifier, images, class_ids), expected)

    def test_under_gap_hires_cam_is_cam(self, images, class_ids):
        classifier = tiny_classifier(GAP())
        expected = make(CAM(), classifier, images, class_ids) / CELLS
        torch.testing.assert_close(make(HiResCAM(), classifier, images, class_ids), expected)

    def test_under_gap_xgrad_cam_is_grad_cam(self, images, class_ids):
        classifier = tiny_classifier(GAP())
        expected = make(GradCAM(), classifier, images, class_ids)
        torch.testing.assert_close(make(XGradCAM(), classifier, images, class_ids), expected)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_the_cells_of_hires_cam_add_up_to_the_score(self, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        forward = forward_pass(classifier, images, [LAST])
        score = forward.logits.gather(1, class_ids[:, None])[:, 0] - classifier.fc.bias[class_ids]
        torch.testing.assert_close(HiResCAM()(forward, class_ids).sum(dim=(1, 2)), score.detach())

    @pytest.mark.parametrize("method", [HiResCAM(), LayerCAM()], ids=str)
    def test_under_gmp_a_channel_has_one_cell(self, method, images):
        classifier = tiny_classifier(GMP())
        nn.init.zeros_(classifier.fc.weight)
        with torch.no_grad():
            classifier.fc.weight[0, 3] = 1.0
        features = forward_pass(classifier, images, [LAST]).activation(LAST)[:, 3]
        assert (features.flatten(1).amax(1) > 0).all()
        maps = make(method, classifier, images, torch.zeros(4, dtype=torch.int64))
        assert ((maps != 0).sum(dim=(1, 2)) == 1).all()
        assert torch.equal(maps.flatten(1).argmax(1), features.flatten(1).argmax(1))


def test_grad_cam_pp_is_equation_19(images, class_ids):
    """In float64, with α written as in the paper, on gradients whose squares float32 would lose beside an epsilon."""
    classifier = tiny_classifier(GMP()).double()
    with torch.no_grad():
        classifier.fc.weight.mul_(1e-5)
    forward = forward_pass(classifier, images, ["backbone.block1"])
    activation = forward.activation("backbone.block1")
    (gradient,) = forward.gradient("backbone.block1", class_ids[:, None]).classes
    square, total = gradient**2, activation.sum(dim=(2, 3), keepdim=True)
    denominator = 2 * square + total * gradient**3
    alpha = torch.where(gradient != 0, square / torch.where(gradient != 0, denominator, 1), 0)
    weights = (alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True)
    expected = (weights * activation).sum(dim=1).relu()
    assert expected.amax(dim=(1, 2)).min() > 0
    method = GradCAMPlusPlus(target_layer="backbone.block1")
    torch.testing.assert_close(method(forward, class_ids), expected, rtol=1e-10, atol=0)
    single = make(method, classifier.float(), images, class_ids).double()
    torch.testing.assert_close(single / single.amax(), expected / expected.amax(), rtol=1e-4, atol=1e-5)


class TestOnPaper:
    """Hand-set features and weights: channel 0 is [[1, 2], [3, 4]], channel 1 is [[2, 0], [0, 0]]."""

    @pytest.fixture
    def forward(self):
        def of(pooling):
            classifier = tiny_classifier(pooling, num_classes=2)
            features = torch.zeros(1, 10, 2, 2)
            features[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
            features[0, 1] = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
            with torch.no_grad():
                classifier.fc.weight.zero_()
                classifier.fc.weight[1, :2] = torch.tensor([2.0, -3.0])
            return ForwardPass(classifier, torch.zeros(1, 3, 4, 4), torch.zeros(1, 2), {LAST: features})

        return of

    @pytest.mark.parametrize(
        ("method", "pooling", "expected"),
        [
            (CAM(), GAP(), [[-4, 4], [6, 8]]),
            (CAM(), GMP(), [[-4, 4], [6, 8]]),
            (GradCAM(), GAP(), [[0, 1], [1.5, 2]]),
            (GradCAM(), GMP(), [[0, 1], [1.5, 2]]),
            (Counterfactual(), GAP(), [[1, 0], [0, 0]]),
            (HiResCAM(), GAP(), [[-1, 1], [1.5, 2]]),
            (HiResCAM(), GMP(), [[-6, 0], [0, 8]]),
            (LayerCAM(), GAP(), [[0.5, 1], [1.5, 2]]),
            (LayerCAM(), GMP(), [[0, 0], [0, 8]]),
            # GAP: g = 2/4, ΣA = 10: w = 4 · 0.5 / (2 + 5) = 2/7. GMP: g = 2 at the peak: w = 2 / (2 + 20) = 1/11.
            (GradCAMPlusPlus(), GAP(), [[2 / 7, 4 / 7], [6 / 7, 8 / 7]]),
            (GradCAMPlusPlus(), GMP(), [[1 / 11, 2 / 11], [3 / 11, 4 / 11]]),
            # GMP: w = 2 · 4/10 and -3 · 2/2.
            (XGradCAM(), GMP(), [[0, 1.6], [2.4, 3.2]]),
        ],
        ids=str,
    )
    def test_answers(self, forward, method, pooling, expected):
        maps = method(forward(pooling), torch.tensor([1]))
        torch.testing.assert_close(maps, torch.tensor([expected], dtype=torch.float32))


@pytest.mark.parametrize("layer", [LAST, "backbone.block1"])  # fewer, and more cells than channels
def test_eigen_cam_is_the_first_singular_vector(layer, images, class_ids):
    classifier = tiny_classifier(GAP())
    forward = forward_pass(classifier, images, [layer])
    cells = forward.activation(layer).flatten(2).transpose(1, 2).double()
    _, _, v = torch.linalg.svd(cells, full_matrices=False)
    expected = (cells @ v[:, :1].transpose(1, 2))[..., 0]
    expected = expected * expected.sum(dim=1, keepdim=True).sign()
    found = EigenCAM(target_layer=layer)(forward, class_ids).flatten(1)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


def test_layer_cam_fuses_by_the_maximum(images, class_ids):
    classifier = tiny_classifier(GAP())
    layers = ["backbone.block1", LAST]
    forward = forward_pass(classifier, images, layers)
    shallow, deep = (LayerCAM([layer])(forward, class_ids)[:, None] for layer in layers)
    shallow, deep = (one / one.amax(dim=(2, 3), keepdim=True) for one in (shallow, deep))
    deep = nn.functional.interpolate(deep, size=(16, 16), mode="bilinear", align_corners=False)
    expected = torch.maximum((2 * shallow).tanh(), deep)[:, 0]
    torch.testing.assert_close(LayerCAM(layers)(forward, class_ids), expected)
    with pytest.raises(ValueError, match="must be a list of names"):
        LayerCAM(LAST)


def test_cam_refuses_a_head_that_is_none(images, class_ids):
    network = nn.Sequential(tiny_classifier(GAP()).backbone, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(10, 5))
    with pytest.raises(ValueError, match="CAM needs mean pooling and one linear layer after '0'"):
        make(CAM(target_layer="0"), network, images, class_ids)
    network[1] = nn.AdaptiveAvgPool2d(1)
    features = forward_pass(network, images, ["0"]).activation("0")
    expected = torch.einsum("nchw,nc->nhw", features, network[3].weight[class_ids].detach())
    torch.testing.assert_close(make(CAM(target_layer="0"), network, images, class_ids), expected)
    with pytest.raises(ValueError, match=r"got 10 for the 6 channels of .0\.block1."):
        make(CAM(target_layer="0.block1"), network, images, class_ids)
