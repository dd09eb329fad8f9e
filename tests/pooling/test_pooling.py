import pytest
import torch

from wsol.channel_pooling import ChannelPooling
from wsol.pooling.gap import GAP
from wsol.pooling.gmp import GMP

FEATURES = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-5.0, -1.0]]]])


@pytest.mark.parametrize(("pooling", "expected"), [(GAP(), [[3.0, -2.0]]), (GMP(), [[6.0, -1.0]])])
def test_on_paper(pooling, expected):
    assert pooling(FEATURES).tolist() == expected


@pytest.mark.parametrize("pooling", [GAP(), GMP()])
class TestContract:
    def test_shape_and_finite_gradient(self, pooling):
        features = torch.randn(3, 5, 4, 7, requires_grad=True)
        pooled = pooling(features)
        assert pooled.shape == (3, 5)
        (gradient,) = torch.autograd.grad(pooled.sum(), features)
        assert gradient.isfinite().all()

    def test_a_channel_hangs_on_itself_alone(self, pooling):
        assert isinstance(pooling, ChannelPooling)
        features = torch.randn(3, 5, 4, 7, requires_grad=True)
        (gradient,) = torch.autograd.grad(pooling(features)[:, 2].sum(), features)
        assert (gradient[:, 2] != 0).any()
        assert (gradient[:, [0, 1, 3, 4]] == 0).all()

    def test_what_it_says_of_itself_is_true(self, pooling):
        features = torch.randn(3, 5, 4, 7, dtype=torch.float64)
        shift = torch.randn(3, 5, dtype=torch.float64)
        shifted = pooling(features + shift[:, :, None, None])
        assert torch.allclose(shifted, pooling(features) + shift) == pooling.shift_equivariant
        assert torch.allclose(pooling(features), features.mean(dim=(2, 3))) == pooling.is_mean


def test_equal_maxima_share_the_gradient():
    features = FEATURES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(GMP()(features).sum(), features)
    torch.testing.assert_close(gradient[0, 1], torch.tensor([[1, 1], [0, 1]]) / 3)
