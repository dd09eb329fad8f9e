import pytest
import torch
from networks import tiny_classifier

from wsol.forward_pass import LAST, forward_pass
from wsol.maps.cam import CAM
from wsol.maps.grad_cam import GradCAM
from wsol.pooling.gap import GAP
from wsol.pooling.gmp import GMP

METHODS = [CAM(), GradCAM(), GradCAM(target_layer="backbone.block1")]
POOLINGS = [GAP, GMP]


def make(method, classifier, images, class_ids):
    return method(forward_pass(classifier, images, [method.target_layer]), class_ids)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_grad_cam_at_the_last_convolution_is_the_rectified_cam(pooling, images, class_ids):
    classifier = tiny_classifier(pooling())
    expected = make(CAM(), classifier, images, class_ids).relu() / (8 * 8)
    assert expected.max() > 0
    torch.testing.assert_close(make(GradCAM(), classifier, images, class_ids), expected)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("method", METHODS, ids=str)
class TestContract:
    def test_shape(self, method, pooling, images, class_ids):
        maps = make(method, tiny_classifier(pooling()), images, class_ids)
        assert maps.shape[0] == 4
        assert maps.ndim == 3
        assert not maps.requires_grad

    def test_a_batch_equals_its_images_one_by_one(self, method, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        together = make(method, classifier, images, class_ids)
        alone = [make(method, classifier, images[i : i + 1], class_ids[i : i + 1]) for i in range(4)]
        torch.testing.assert_close(together, torch.cat(alone))

    def test_several_classes_equal_one_at_a_time(self, method, pooling, images):
        classifier = tiny_classifier(pooling())
        several = torch.tensor([[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]])
        forward = forward_pass(classifier, images, [method.target_layer])
        one_by_one = torch.stack([method(forward, several[:, k]) for k in range(3)], dim=1)
        torch.testing.assert_close(method(forward, several), one_by_one)

    def test_frozen_weights_and_no_grad_change_nothing(self, method, pooling, images, class_ids):
        classifier = tiny_classifier(pooling())
        expected = make(method, classifier, images, class_ids)
        classifier.requires_grad_(False)
        with torch.no_grad():
            torch.testing.assert_close(make(method, classifier, images, class_ids), expected)
            assert not torch.is_grad_enabled()
        with torch.inference_mode():
            torch.testing.assert_close(make(method, classifier, images, class_ids).clone(), expected)

    def test_everything_is_left_as_found(self, method, pooling, images, class_ids):
        classifier = tiny_classifier(pooling()).train()
        classifier.backbone.block1.eval()
        before = {name: value.clone() for name, value in classifier.state_dict().items()}
        make(method, classifier, images, class_ids)
        assert classifier.training
        assert not classifier.backbone.block1.training
        assert all(parameter.grad is None for parameter in classifier.parameters())
        assert all(not module._forward_hooks for module in classifier.modules())
        for name, value in classifier.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_cam_on_hand_set_numbers():
    classifier = tiny_classifier(GAP(), num_classes=2)
    features = torch.zeros(1, 10, 2, 2)
    features[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    features[0, 1] = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    with torch.no_grad():
        classifier.fc.weight.zero_()
        classifier.fc.weight[1, :2] = torch.tensor([2.0, -3.0])
    forward = forward_pass(classifier, torch.zeros(1, 3, 16, 16), [LAST])
    forward.activations[LAST] = features
    assert CAM()(forward, torch.tensor([1])).tolist() == [[[-1.0, 4.0], [6.0, 8.0]]]


def test_an_error_in_the_pass_leaves_no_hook(images):
    classifier = tiny_classifier(GAP()).train()
    with pytest.raises(RuntimeError):
        forward_pass(classifier, images[:, :2], [LAST])
    assert classifier.training
    assert all(not module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize(
    ("layer", "message"),
    [("backbone.blok1", "backbone.block1"), ("fc", r"must give \(N, C, h, w\)"), ("", "has no layer")],
)
def test_a_wrong_target_layer_is_named(layer, message, images):
    with pytest.raises(ValueError, match=message):
        forward_pass(tiny_classifier(GAP()), images, [layer])


def test_the_trunk_runs_once_and_without_a_graph(images, class_ids):
    classifier = tiny_classifier(GMP())
    calls = []
    classifier.backbone.block1.register_forward_hook(lambda *args: calls.append(args[2].requires_grad))
    forward = forward_pass(classifier, images, [LAST, LAST])
    CAM()(forward, class_ids)
    GradCAM()(forward, class_ids)
    assert calls == [False]
