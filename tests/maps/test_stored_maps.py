import numpy as np
import pytest
import torch

from wsol.maps.stored_maps import StoredMaps


def test_they_come_back_from_disk_as_they_went(tmp_path):
    maps = torch.randn(3, 4, 5)
    stored = StoredMaps.of(["a", "b", "c"], maps)
    stored.save(tmp_path / "maps.npz")
    loaded = StoredMaps.load(tmp_path / "maps.npz")
    assert loaded.image_ids.tolist() == ["a", "b", "c"]
    assert loaded.values.dtype == np.float16
    torch.testing.assert_close(loaded.activation_maps(), maps, rtol=1e-3, atol=2e-3)
    np.testing.assert_array_equal(loaded.read(1), loaded.activation_maps()[1])


@pytest.mark.parametrize("magnitude", [1e-12, 1e12])
def test_magnitudes_beyond_float16_keep_their_precision(magnitude):
    maps = torch.rand(2, 7, 7) * magnitude
    torch.testing.assert_close(
        StoredMaps.of(["a", "b"], maps).activation_maps() / magnitude, maps / magnitude, rtol=1e-3, atol=1e-3
    )


def test_a_map_of_zeros_stays_one():
    assert StoredMaps.of(["a"], torch.zeros(1, 2, 2)).activation_maps().tolist() == [[[0, 0], [0, 0]]]


def test_nan_stays_nan_for_the_score_map_to_name():
    maps = torch.zeros(1, 2, 2)
    maps[0, 1, 1] = float("nan")
    assert StoredMaps.of(["a"], maps).activation_maps().isnan().any()
