import pytest
import torch

from networks import tiny_classifier
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier, with_pooling
from wsol.networks.pooling.attention import Attention
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.networks.pooling.gmp import GMP
from wsol.networks.pooling.lse import LSE
from wsol.networks.pooling.tap import TAP
from wsol.networks.pooling.wildcat import WILDCAT


def test_the_network_is_shared_and_the_pooling_is_another(images):
    trained = tiny_classifier(GAP())
    swapped = with_pooling(trained, GMP())
    features = trained.backbone(images)
    assert torch.equal(swapped(images), trained.fc(features.amax(dim=(2, 3))))
    assert torch.equal(trained(images), trained.fc(features.mean(dim=(2, 3))))
    assert swapped.fc is trained.fc
    assert not swapped.training


def test_the_same_pooling_changes_nothing(images):
    trained = tiny_classifier(GMP())
    assert torch.equal(with_pooling(trained, GMP())(images), trained(images))


def test_the_pool_site_stays(images):
    trained = Classifier(small_cnn(channels=(6, 10)), GMP(), 5, "scores").eval()
    swapped = with_pooling(trained, LSE(2.0))
    assert swapped.pool_site == "scores"
    maps = trained.class_maps(trained.backbone(images))
    assert torch.equal(swapped(images), LSE(2.0)(maps))


@pytest.mark.parametrize("pooling", [GeM(), Attention(4)], ids=["learned power", "attention"])
def test_what_nothing_trained_is_refused(pooling):
    with pytest.raises(ValueError, match="has parameters, which nothing trained"):
        with_pooling(tiny_classifier(GAP()), pooling)


def test_fixed_settings_are_welcome():
    with_pooling(tiny_classifier(GAP()), GeM(learned=False))


def test_a_pooling_of_features_cannot_pool_scores():
    trained = Classifier(small_cnn(channels=(6, 10)), GMP(), 5, "scores")
    with pytest.raises(ValueError, match="pool_site of TAP must be features, got 'scores'"):
        with_pooling(trained, TAP())


def test_another_number_of_maps_does_not_fit():
    trained = Classifier(small_cnn(channels=(6, 10)), GMP(), 5, "scores")
    with pytest.raises(ValueError, match="WILDCAT does not fit the linear layer"):
        with_pooling(trained, WILDCAT(maps_per_class=3))


def test_a_head_of_another_kind_is_refused():
    class Other(Classifier):
        pass

    with pytest.raises(ValueError, match="not Other"):
        with_pooling(Other(small_cnn(channels=(6, 10)), GAP(), 5), GMP())
