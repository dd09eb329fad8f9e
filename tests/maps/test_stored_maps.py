import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from wsol.maps import stored_maps
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


class TestJoin:
    def parts(self, folder, count=6, images=40):
        """Files of maps of 64 x 64 cells, 330 kB each."""
        generator = torch.Generator().manual_seed(0)
        made = []
        for number in range(count):
            maps = StoredMaps.of(
                [f"{number}-{image}" for image in range(images)], torch.randn(images, 64, 64, generator=generator), 0.5
            )
            made.append((folder / f"part-{number}.npz", maps))
            maps.save(made[-1][0])
        return made

    def test_the_file_is_that_of_all_maps_at_once(self, tmp_path):
        made = self.parts(tmp_path)
        StoredMaps.join([path for path, _ in made], tmp_path / "joined.npz")
        StoredMaps.concatenate([maps for _, maps in made]).save(tmp_path / "at_once.npz")
        joined, at_once = StoredMaps.load(tmp_path / "joined.npz"), StoredMaps.load(tmp_path / "at_once.npz")
        for field in ("image_ids", "values", "scale"):
            np.testing.assert_array_equal(getattr(joined, field), getattr(at_once, field))
        assert joined.seconds == at_once.seconds == 3

    @pytest.mark.parametrize("name", ["joined", "at_once"])
    def test_large_maps_stay_on_disk(self, tmp_path, monkeypatch, name):
        made = self.parts(tmp_path, count=2)
        if name == "joined":
            StoredMaps.join([path for path, _ in made], tmp_path / f"{name}.npz")
        else:
            StoredMaps.concatenate([maps for _, maps in made]).save(tmp_path / f"{name}.npz")
        expected = StoredMaps.load(tmp_path / f"{name}.npz")
        assert not isinstance(expected.values, np.memmap)
        monkeypatch.setattr(stored_maps, "_IN_MEMORY", 1000)
        mapped = StoredMaps.load(tmp_path / f"{name}.npz")
        assert isinstance(mapped.values, np.memmap)
        np.testing.assert_array_equal(mapped.values, expected.values)
        np.testing.assert_array_equal(mapped.read(41), expected.read(41))
        torch.testing.assert_close(mapped.activation_maps(slice(3, 50)), expected.activation_maps()[3:50])

    def test_memory_holds_one_part(self, tmp_path):
        made = [path for path, _ in self.parts(tmp_path, count=12)]
        tracemalloc.start()
        StoredMaps.join(made, tmp_path / "joined.npz")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * made[0].stat().st_size  # a third of all parts

    def test_a_damaged_file_is_seen_although_it_is_not_read(self, tmp_path, monkeypatch):
        made = self.parts(tmp_path, count=1)
        content = bytearray(made[0][0].read_bytes())
        content[len(content) // 2] ^= 1
        made[0][0].write_bytes(content)
        monkeypatch.setattr(stored_maps, "_IN_MEMORY", 1000)
        with pytest.raises(zipfile.BadZipFile):
            StoredMaps.load(made[0][0])
