import pytest
import torch

from wsol.pooling.gap import GAP
from wsol.pooling.gmp import GMP

FEATURES = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-5.0, -1.0]]]])


@pytest.mark.parametrize(("pooling", "expected"), [(GAP(), [[3.0, -2.0]]), (GMP(), [[6.0, -1.0]])])
def test_on_paper(pooling, expected):
    assert pooling(FEATURES).tolist() == expected


@pytest.mark.parametrize("pooling", [GAP(), GMP()])
def test_shape_and_finite_gradient(pooling):
    features = torch.randn(3, 5, 4, 7, requires_grad=True)
    pooled = pooling(features)
    assert pooled.shape == (3, 5)
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.ones(3, 5))


def test_equal_maxima_share_the_gradient():
    features = FEATURES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(GMP()(features).sum(), features)
    torch.testing.assert_close(gradient[0, 1], torch.tensor([[1, 1], [0, 1]]) / 3)
