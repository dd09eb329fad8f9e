"""Class activation maps with negative weights clamped."""

import pytest
import torch
from omegaconf import OmegaConf

from config.build import build
from map_methods import POOLINGS, make
from networks import Opaque, tiny_classifier
from wsol.identity import describe, restore
from wsol.maps.class_gradient import combine
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.cam_nwc import CAMNWC
from wsol.maps.theorems import exactness, same_as
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.scoring.protocol import REFERENCE, TIGHT


@pytest.fixture(params=[(pooling, site) for pooling in POOLINGS for site in ("features", "scores")], ids=str)
def classifier(request):
    pooling, site = request.param
    torch.manual_seed(0)
    return Classifier(small_cnn(channels=(6, 10)), pooling(), 5, site).eval()


def test_it_is_the_sum_with_the_positive_weights(classifier, images, class_ids):
    forward = forward_pass(classifier, images, [LAST])
    expected = combine(forward.activation(LAST), classifier.fc.weight[class_ids].relu()[:, None])[:, 0]
    found = CAMNWC()(forward, class_ids)
    torch.testing.assert_close(found, expected.detach())
    assert not torch.allclose(found, CAM()(forward, class_ids))
    assert (found >= CAM()(forward, class_ids)).all()  # behind a ReLU


def test_with_positive_weights_it_is_cam(classifier, images, class_ids):
    with torch.no_grad():
        classifier.fc.weight.abs_()
    assert torch.equal(make(CAMNWC(), classifier, images, class_ids), make(CAM(), classifier, images, class_ids))


def test_with_negative_weights_it_is_zero(classifier, images, class_ids):
    with torch.no_grad():
        classifier.fc.weight.copy_(-classifier.fc.weight.abs())
    assert not make(CAMNWC(), classifier, images, class_ids).any()


def test_on_paper(images):
    classifier = tiny_classifier(GAP(), num_classes=2)
    with torch.no_grad():
        classifier.fc.weight.zero_()
        classifier.fc.weight[1, 2], classifier.fc.weight[1, 3] = 2.0, -5.0
    activation = forward_pass(classifier, images, [LAST]).activation(LAST)
    found = make(CAMNWC(), classifier, images, torch.ones(4, dtype=torch.int64))
    torch.testing.assert_close(found, 2 * activation[:, 2])


def test_several_classes_equal_one_at_a_time(classifier, images):
    several = torch.tensor([[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]])
    one = torch.stack([make(CAMNWC(), classifier, images, several[:, k]) for k in range(3)], dim=1)
    torch.testing.assert_close(make(CAMNWC(), classifier, images, several), one)


def test_a_head_that_cam_does_not_fit_is_refused(images, class_ids):
    with pytest.raises(ValueError, match=r"CAM needs mean pooling and one linear layer after 'backbone'"):
        make(CAMNWC(), Opaque(tiny_classifier(GMP())), images, class_ids)


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_no_theorem_is_claimed(pooling, protocol):
    maps = {"cam": CAM(), "cam_nwc": CAMNWC()}
    assert same_as("cam_nwc", maps, pooling(), protocol.cuts_negative) == ""
    assert exactness(CAMNWC(), pooling(), "features") == ""


def test_the_file_names_it():
    method = build(OmegaConf.load(f"{__file__}/../../../../conf/maps/cam_nwc.yaml"))["cam_nwc"]
    assert method == CAMNWC() == restore(describe(CAMNWC()), ["maps"])
