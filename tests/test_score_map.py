import numpy as np
import pytest
import torch

from wsol.score_map import to_score_maps
from wsol.stored_maps import StoredMaps


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_from_zero_to_one_at_the_size_asked_for(interpolation):
    maps = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) * 100
    score_maps = to_score_maps(maps, (20, 30), interpolation)
    assert score_maps.shape == (3, 20, 30)
    assert (score_maps.min(axis=(1, 2)) == 0).all()
    assert (score_maps.max(axis=(1, 2)) == 1).all()


def test_at_its_own_size_only_min_max_is_left():
    assert to_score_maps(torch.tensor([[[-1.0, 1.0], [3.0, 0.0]]]), (2, 2)).tolist() == [[[0, 0.5], [1, 0.25]]]


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e5])
def test_a_constant_map_becomes_zeros(value):
    assert not to_score_maps(torch.full((1, 7, 7), value), (224, 224)).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_map_is_named(bad):
    maps = torch.zeros(2, 3, 3)
    maps[1, 0, 0] = bad
    with pytest.raises(ValueError, match="'second'"):
        to_score_maps(maps, (6, 6), image_ids=["first", "second"])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_storage_keeps_the_shape_of_a_map_at_any_scale(scale, tmp_path):
    maps = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) * scale
    StoredMaps.of(["a", "b"], maps).save(tmp_path / "maps.npz")
    loaded = StoredMaps.load(tmp_path / "maps.npz")
    assert loaded.values.dtype == np.float16
    assert loaded.image_ids.tolist() == ["a", "b"]
    torch.testing.assert_close(loaded.activation_maps(), maps, rtol=1e-3, atol=1e-3 * scale)
    assert not list(tmp_path.glob(".*"))


def test_storage_hides_no_nan():
    stored = StoredMaps.of(["a"], torch.tensor([[[float("nan"), 1.0]]]))
    with pytest.raises(ValueError, match="NaN"):
        to_score_maps(stored.activation_maps(), (2, 2))
