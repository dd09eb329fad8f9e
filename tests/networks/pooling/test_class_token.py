import pytest
import torch

from wsol.networks.classifier import Classifier
from wsol.networks.pooling.class_token import ClassToken
from wsol.networks.transformers import ClassAndPatches


def tokens(count=2, side=3, channels=4, prefix=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, prefix + side * side, channels, generator=generator, dtype=dtype)


def test_on_paper():
    # One register behind the class token, four patches of one channel.
    seen = torch.tensor([[[9.0], [7.0], [1.0], [2.0], [3.0], [4.0]]])
    features = ClassAndPatches(prefix_tokens=2)(seen)
    assert features.tolist() == [[[[1.0, 2.0], [3.0, 4.0]], [[9.0, 9.0], [9.0, 9.0]]]]
    assert ClassToken()(features).tolist() == [[9.0]]


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_it_gives_the_first_token(side, count):
    seen = tokens(count, side)
    torch.testing.assert_close(ClassToken()(ClassAndPatches(2)(seen)), seen[:, 0])


def test_gradient():
    seen = tokens(dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: ClassToken()(ClassAndPatches(2)(one)), (seen,))
    ClassToken()(ClassAndPatches(2)(seen)).sum().backward()
    assert not seen.grad[:, 1:].any()
    torch.testing.assert_close(seen.grad[:, 0], torch.ones_like(seen.grad[:, 0]))


def test_width():
    assert ClassToken().prepare(8) == 4
    with pytest.raises(ValueError, match=r"reads half of the channels, got 7; take backbone=timm .*class_and_patches"):
        ClassToken().prepare(7)


def test_features_without_a_class_token_are_refused():
    with pytest.raises(ValueError, match=r"cells that differ .*backbone\.tokens=class_and_patches"):
        ClassToken()(torch.randn(2, 8, 3, 3))


def test_it_pools_features_alone():
    backbone = torch.nn.Module()
    backbone.out_channels = 8
    with pytest.raises(ValueError, match="pool_site of ClassToken must be features"):
        Classifier(backbone, ClassToken(), 5, "scores")
