import pytest
import torch
from torch import nn

from networks import tiny_classifier
from wsol.networks.pixels import mean_color, to_pixels
from wsol.networks.pooling.gap import GAP
from wsol.networks.trained_network import NormalizedNetwork


def test_the_mean_colour_is_what_the_network_sees_as_zero():
    classifier = tiny_classifier(GAP())
    classifier.backbone.mean[:] = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    assert mean_color(classifier).flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    wrapped = NormalizedNetwork(nn.Flatten(), (0.4, 0.5, 0.6), (1, 1, 1))
    assert mean_color(wrapped).flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert wrapped.network(mean_color(wrapped) - wrapped.mean).abs().max() == 0
    assert mean_color(nn.Identity()).flatten().tolist() == [0, 0, 0]
    assert mean_color(nn.Linear(2, 2).double(), 0.5).dtype == torch.float64


def test_bytes_become_floats_where_the_network_normalizes(images):
    torch.testing.assert_close(to_pixels(tiny_classifier(GAP()), images), images.float() / 255)
    assert to_pixels(tiny_classifier(GAP()).double(), images).dtype == torch.float64
    assert to_pixels(nn.Identity(), images.float()).max() > 1
    with pytest.raises(ValueError, match=r"Pixels must be floats, got torch\.uint8 for a Identity"):
        to_pixels(nn.Identity(), images)
    with pytest.raises(ValueError, match=r"got torch\.int64 for a Classifier"):
        to_pixels(tiny_classifier(GAP()), images.long())
