import torch

from networks import tiny_classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP


def test_logits_are_one_linear_layer_on_pooled_features(images):
    for pooling in (GAP(), GMP()):
        classifier = tiny_classifier(pooling)
        pooled = pooling(classifier.backbone(images))
        expected = pooled @ classifier.fc.weight.T + classifier.fc.bias
        torch.testing.assert_close(classifier(images), expected)
        assert classifier(images).shape == (4, 5)
