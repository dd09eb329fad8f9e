import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from wsol.data.ground_truth import GroundTruth, same_size
from wsol.geometry import as_boxes
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.external.maps import BadMaps, check_maps, find_maps

IDS = ["a/one.jpg", "a/two.jpg", "b/three.jpg"]
TRUTH = GroundTruth(np.array(IDS), np.zeros(3, int), [as_boxes([[0, 0, 1, 1]])] * 3, same_size(3, (8, 8)))
MAPS = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)


def write(folder, name, array):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, array)


@pytest.fixture
def folder(tmp_path):
    for image_id, one in zip(IDS, MAPS, strict=True):
        write(tmp_path, f"{image_id}.npy", one)
    return tmp_path


@pytest.fixture
def eager_collection():
    """Garbage collection after every few objects, which gives the GIL away each time."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def work(phase, info):
        sum(range(100))

    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    gc.callbacks.append(work)
    yield
    gc.callbacks.remove(work)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def test_maps_are_read_in_threads_while_garbage_is_collected(folder, eager_collection):
    maps = find_maps(folder, TRUTH)
    with ThreadPoolExecutor(4) as pool:
        # On Python 3.11, np.load alone raises SystemError about ten times here.
        for one in pool.map(maps.read, [0] * 400):
            np.testing.assert_array_equal(one, MAPS[0])


def test_names_with_and_without_the_images_suffix(folder):
    (folder / "a/two.jpg.npy").rename(folder / "a/two.npy")
    maps = find_maps(folder, TRUTH)
    for index in range(3):
        np.testing.assert_array_equal(maps.read(index), MAPS[index])
    assert maps.image_ids.tolist() == IDS


def test_all_that_is_missing_extra_or_there_twice_is_named_at_once(folder):
    (folder / "a/one.jpg.npy").unlink()
    write(folder, "a/two.npy", MAPS[0])
    write(folder, "b/four.jpg.npy", MAPS[0])
    with pytest.raises(BadMaps, match="3 problems") as caught:
        find_maps(folder, TRUTH)
    for text in ("missing: ", "one.jpg.npy", "twice: ", "two.npy", "extra, of no image of the split: ", "four.jpg.npy"):
        assert text in str(caught.value)


def test_stacked_in_any_order(tmp_path):
    order = [2, 0, 1]
    np.savez(tmp_path / "maps.npz", image_ids=np.array(IDS)[order], maps=MAPS[order])
    np.save(tmp_path / "maps.npy", MAPS[order])
    (tmp_path / "ids.txt").write_text("".join(f"{IDS[index]}\r\n" for index in order))
    for maps in (
        find_maps(tmp_path / "maps.npz", TRUTH),
        find_maps(tmp_path / "maps.npy", TRUTH, tmp_path / "ids.txt"),
    ):
        for index in range(3):
            np.testing.assert_array_equal(maps.read(index), MAPS[index])


def test_maps_of_a_run(tmp_path):
    StoredMaps.of(IDS, torch.from_numpy(MAPS) * 1e-9).save(tmp_path / "cam.npz")
    np.testing.assert_allclose(find_maps(tmp_path / "cam.npz", TRUTH).read(1), MAPS[1] * 1e-9, rtol=1e-3)


def test_stacked_files_that_are_none(tmp_path):
    np.save(tmp_path / "maps.npy", MAPS)
    with pytest.raises(ValueError, match="give --ids FILE"):
        find_maps(tmp_path / "maps.npy", TRUTH)
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"must hold 2 maps.*got shape \(3, 4, 5\)"):
        find_maps(tmp_path / "maps.npy", TRUTH, tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_text("a/one.jpg\na/one.jpg\nx\n")
    with pytest.raises(BadMaps, match=r"twice: a/one\.jpg") as caught:
        find_maps(tmp_path / "maps.npy", TRUTH, tmp_path / "ids.txt")
    assert "missing: b/three.jpg" in str(caught.value)
    assert "extra, of no image of the split: x" in str(caught.value)
    (tmp_path / "broken.npz").write_bytes(b"PK but no zip")
    with pytest.raises(ValueError, match=r"broken\.npz cannot be read"):
        find_maps(tmp_path / "broken.npz", TRUTH)
    np.savez(tmp_path / "empty.npz", image_ids=np.array(IDS))
    with pytest.raises(ValueError, match=r"empty\.npz cannot be read"):
        find_maps(tmp_path / "empty.npz", TRUTH)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "maps.txt").write_text("no maps")
    with pytest.raises(ValueError, match=r"neither a folder of \.npy files nor"):
        find_maps(tmp_path / "maps.txt", TRUTH)


def test_nothing_there_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a folder"):
        find_maps(tmp_path / "none", TRUTH)
    with pytest.raises(FileNotFoundError, match=r"<image_id>\.npy"):
        find_maps(tmp_path, TRUTH)


class TestCheck:
    @pytest.mark.parametrize(
        ("array", "problem"),
        [
            (np.array([[1.0, np.nan]]), "NaN: "),
            (np.array([[1.0, np.inf]]), "infinite: "),
            (np.zeros((2, 2, 1)), r"wrong shape: .* is \(2, 2, 1\)"),
            (np.zeros((0, 2)), "wrong shape: "),
            (np.array([["a"]]), "not numbers: "),
            (np.array([[1j]]), "not numbers: "),
            (np.array([[None]]), "unreadable: "),  # would be a pickle
        ],
    )
    def test_each_bad_map_is_named(self, folder, array, problem):
        np.save(folder / "a/two.jpg.npy", array)
        with pytest.raises(BadMaps, match=problem) as caught:
            check_maps(folder, find_maps(folder, TRUTH), None)
        assert "two.jpg.npy" in str(caught.value)
        assert "1 problem with" in str(caught.value)

    def test_a_truncated_file_is_named_and_all_problems_come_together(self, folder):
        path = folder / "a/one.jpg.npy"
        path.write_bytes(path.read_bytes()[:-20])
        np.save(folder / "b/three.jpg.npy", np.full((2, 2), np.nan))
        with pytest.raises(BadMaps, match="2 problems") as caught:
            check_maps(folder, find_maps(folder, TRUTH), None)
        assert "one.jpg.npy" in str(caught.value)
        assert "three.jpg.npy" in str(caught.value)

    def test_score_maps_have_their_size_and_range(self, folder):
        maps = find_maps(folder, TRUTH)
        check_maps(folder, maps, [(4, 5)] * 3)
        with pytest.raises(BadMaps, match=r"3 problems.*\n.*is \(4, 5\), not \(8, 8\)"):
            check_maps(folder, maps, [(8, 8)] * 3)
        np.save(folder / "a/two.jpg.npy", MAPS[0] * 3)
        with pytest.raises(BadMaps, match=r"out of range: .*two"):
            check_maps(folder, maps, [(4, 5)] * 3)

    def test_degenerate_maps_are_counted_and_no_error(self, folder):
        one_pixel = np.zeros((4, 5))
        one_pixel[2, 2] = 3
        for name, array in zip(IDS, (np.zeros((4, 5)), np.full((4, 5), -2.5), one_pixel), strict=True):
            np.save(folder / f"{name}.npy", array)
        found = check_maps(folder, find_maps(folder, TRUTH), None)
        assert (found.constant, found.zero, found.one_pixel) == (2, 1, 1)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float64, bool])
    def test_any_number_type_will_do(self, folder, dtype):
        for name in IDS:
            np.save(folder / f"{name}.npy", (MAPS[0] * 100).astype(dtype))
        maps = find_maps(folder, TRUTH)
        check_maps(folder, maps, None)
        assert maps.read(0).dtype == np.float64
