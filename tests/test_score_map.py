import numpy as np
import pytest
import reference
import torch

from wsol.protocol import GRAD_CAM2017, REFERENCE, TIGHT, ZHOU2016, Protocol
from wsol.score_map import to_score_maps
from wsol.stored_maps import StoredMaps


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE])
def test_from_zero_to_one_at_the_size_asked_for(protocol):
    maps = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) * 100
    score_maps = to_score_maps(maps, (20, 30), protocol)
    assert score_maps.shape == (3, *(protocol.grid or (20, 30)))
    assert (score_maps.min(axis=(1, 2)) == 0).all()
    assert (score_maps.max(axis=(1, 2)) == 1).all()


@pytest.mark.parametrize("cells", [(1, 1), (1, 5), (2, 3), (7, 7), (14, 14), (28, 28), (224, 224), (300, 260)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_map_is_opencvs_to_the_last_bit(cells, dtype):
    maps = np.random.default_rng(0).normal(size=(5, *cells)).astype(dtype)
    expected = [reference.score_map(one) for one in maps]
    np.testing.assert_array_equal(to_score_maps(maps, (10, 10), REFERENCE), expected)


@pytest.mark.parametrize("size", [(20, 30), (3, 2)])
def test_bilinear_is_torchs(size):
    maps = torch.rand(4, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resized = torch.nn.functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]
    expected = (resized / resized.amax(dim=(1, 2), keepdim=True)).numpy()
    np.testing.assert_allclose(to_score_maps(maps, size, ZHOU2016), expected, atol=1e-12)


def test_at_its_own_size_only_the_normalization_is_left():
    maps = torch.tensor([[[-1.0, 1.0], [3.0, 0.0]]])
    assert to_score_maps(maps, (2, 2)).tolist() == [[[0, 0.5], [1, 0.25]]]
    assert to_score_maps(maps, (2, 2), ZHOU2016).tolist() == [[[0, 1 / 3], [1, 0]]]


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e5])
def test_a_constant_map_becomes_zeros(value):
    assert not to_score_maps(torch.full((1, 7, 7), value), (224, 224)).any()
    assert not to_score_maps(torch.full((1, 7, 7), value), (224, 224), REFERENCE).any()


def test_divided_by_its_maximum_a_constant_map_is_one_and_a_negative_map_is_zeros():
    assert (to_score_maps(torch.full((1, 3, 3), 2.0), (6, 6), GRAD_CAM2017) == 1).all()
    assert not to_score_maps(-torch.ones(1, 3, 3), (6, 6), GRAD_CAM2017).any()
    assert not to_score_maps(torch.zeros(1, 3, 3), (6, 6), GRAD_CAM2017).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("protocol", [TIGHT, ZHOU2016])
def test_a_broken_map_is_named(bad, protocol):
    maps = torch.zeros(2, 3, 3)
    maps[1, 0, 0] = bad
    with pytest.raises(ValueError, match="'second'"):
        to_score_maps(maps, (6, 6), protocol, image_ids=["first", "second"])


@pytest.mark.parametrize("field", ["interpolation", "normalization", "quantization", "regions", "iou", "map_class"])
def test_a_protocol_with_a_typo_is_refused(field):
    settings = {**vars(TIGHT), "name": "mine", field: "nearset"}
    with pytest.raises(ValueError, match=f"Protocol 'mine': {field} must be one of"):
        Protocol(**settings)


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
