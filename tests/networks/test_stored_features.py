import errno
import json
import pickle
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from small_splits import counting_trunk, image_set
from wsol.data.sample import collate
from wsol.data.views import Views
from wsol.machine import Machine
from wsol.networks import stored_features
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gem import GeM
from wsol.networks.pooling.lse import LSE
from wsol.networks.stored_features import store_features

CPU = Machine(accelerator="cpu", progress=False, batch_size=5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stored_features, "_PROBED", set())
    return tmp_path / "cache"


@pytest.fixture
def world():
    torch.manual_seed(0)
    trunk, read = counting_trunk()
    return trunk.eval(), read, image_set(boxes=True)


def store(world, views=1, images=None, trunk=None, identity=None):
    return store_features(trunk or world[0], images or world[2], Views(16, views), identity or {}, CPU)


def forget():
    """Act as a new process."""
    stored_features._PROBED.clear()


def expected(world, view=0):
    trunk, _, images = world
    batch = collate([images[index] for index in range(len(images))])
    cut = Views(16, view + 1).cut(batch.images, batch.image_ids, torch.full((len(images),), view))
    with torch.no_grad():
        return trunk(cut)


class TestFeatures:
    def test_they_are_those_of_the_trunk_to_float16_rounding(self, world):
        features = store(world)
        assert features.arrays[0].dtype == np.float16
        read = features.read(torch.tensor([3, 0, 11]))
        assert read.dtype == torch.float16
        torch.testing.assert_close(read.float(), expected(world)[[3, 0, 11]], rtol=2**-10, atol=1e-6)

    def test_they_are_a_memory_map_that_is_copied_to_no_other_process(self, world):
        features = store(world)
        assert isinstance(features.arrays[0], np.memmap)
        state = pickle.dumps(features)
        assert features.arrays[0].tobytes() not in state
        again = pickle.loads(state)
        assert torch.equal(again.read(torch.arange(12)), features.read(torch.arange(12)))

    def test_batches_are_those_of_the_images(self, world):
        features = store(world)
        found = list(features.batches(5))
        assert [len(batch.image_ids) for batch in found] == [5, 5, 2]
        samples = [world[2][index] for index in range(12)]
        assert [name for batch in found for name in batch.image_ids] == [sample.image_id for sample in samples]
        assert torch.cat([batch.class_ids for batch in found]).tolist() == [sample.class_id for sample in samples]
        boxes = [boxes for batch in found for boxes in batch.boxes]
        assert all(np.array_equal(a, sample.boxes) for a, sample in zip(boxes, samples, strict=True))
        assert features.size == (20, 20)
        assert torch.equal(torch.cat([batch.images for batch in found]), features.read(torch.arange(12)).float())

    def test_training_images_have_no_boxes(self, world):
        assert all(boxes.shape == (0, 4) for boxes in store(world, images=image_set()).boxes)

    def test_modes_and_gradients_of_the_trunk_stay(self, world):
        trunk = world[0].train()
        store(world)
        assert trunk.training
        assert all(parameter.requires_grad for parameter in trunk.parameters())


class TestCache:
    def test_the_trunk_runs_once_for_all_processes_and_once_more_for_a_check_in_each(self, world):
        store(world)
        assert sum(world[1]) == 12
        store(world)
        assert sum(world[1]) == 12
        forget()
        store(world)
        store(world)
        assert sum(world[1]) == 13

    def test_more_views_keep_those_that_are_there(self, world):
        store(world)
        features = store(world, views=3)
        assert sum(world[1]) == 36
        views = torch.tensor([2, 0, 1, 2])
        read = features.read(torch.tensor([5, 5, 7, 0]), views)
        for row, (place, view) in zip(read, [(5, 2), (5, 0), (7, 1), (0, 2)], strict=True):
            torch.testing.assert_close(row.float(), expected(world, view)[place], rtol=2**-10, atol=1e-6)

    def test_whatever_changes_the_features_has_a_folder_of_its_own(self, world, cache):
        store(world)
        store(world, identity={"output_stride": 8})
        store(world, images=image_set(11, boxes=True))
        store(world, images=image_set(boxes=False))
        store(world, images=image_set(boxes=True, side=18))
        store_features(world[0], world[2], Views(12), {}, CPU)
        other, _ = counting_trunk()
        store(world, trunk=other)
        with torch.no_grad():
            world[0].block1[0].weight[0, 0, 0, 0] += 1e-3
        store(world)
        assert len(list((cache / "features").iterdir())) == 8

    @pytest.mark.parametrize("damage", ["half", "empty", "shape", "version", "about", "boxes"])
    def test_what_is_damaged_or_of_another_version_is_made_again(self, world, cache, damage, caplog):
        caplog.set_level("INFO")
        before = store(world).read(torch.arange(12))
        forget()
        (view,) = cache.rglob("view-0.npy")
        about, boxes = view.with_name("features.json"), view.with_name("boxes.npz")
        if damage == "half":
            view.write_bytes(view.read_bytes()[: view.stat().st_size // 2])
        elif damage == "empty":
            view.write_bytes(b"")
        elif damage == "shape":
            np.save(view, np.zeros((12, 2, 2, 6), np.float16))
        elif damage == "version":
            about.write_text(json.dumps({**json.loads(about.read_text()), "version": 0}))
        else:
            (about if damage == "about" else boxes).write_bytes(b"nonsense")
        assert torch.equal(store(world).read(torch.arange(12)), before)
        assert sum(world[1]) == 24
        assert "made again" in caplog.text

    def test_other_pixels_under_the_same_ids_are_noticed(self, world, caplog):
        before = store(world).read(torch.arange(12))
        forget()
        other = store(world, images=image_set(boxes=True, of=1))
        assert not torch.equal(other.read(torch.arange(12)), before)
        assert "differ from those that the network gives now for train-0" in caplog.text

    def test_a_pass_that_is_stopped_leaves_nothing_that_counts(self, world, cache):
        images = image_set(boxes=True)
        loads = images.load

        def stops(entry):
            if entry.image_id == "train-8":
                raise KeyboardInterrupt
            return loads(entry)

        images.load = stops
        with pytest.raises(KeyboardInterrupt):
            store(world, images=images)
        assert not [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]
        assert len(store(world)) == 12

    def test_a_second_process_waits_with_a_message(self, world, cache, caplog):
        caplog.set_level("INFO")
        store(world)
        (folder,) = (cache / "features").iterdir()
        lock = FileLock(folder / ".lock", thread_local=False)
        lock.acquire()
        found = []
        thread = threading.Thread(target=lambda: found.append(store(world)))
        thread.start()
        while "Another process computes the features of train; this one waits for it." not in caplog.text:
            time.sleep(0.01)
        assert not found
        lock.release()
        thread.join()
        assert len(found[0]) == 12


class TestBadInput:
    def test_a_disk_that_is_too_small_is_named_before_the_pass(self, world, cache, monkeypatch):
        monkeypatch.setattr(stored_features.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
        with pytest.raises(OSError, match=r"need 0\.00 GiB, and the disk of .* has 0\.00 GiB free\. Del.*WSOL_CACHE"):
            store(world)
        assert sum(world[1]) == 5
        assert not list(cache.rglob("*.npy"))

    def test_a_disk_that_fills_up_is_named(self, world, monkeypatch):
        @contextmanager
        def full(path):
            yield Path("/dev/full")

        monkeypatch.setattr(stored_features, "whole_file", full)
        with pytest.raises(OSError, match=r"The features need 0\.00 GiB, and the disk of .* has") as caught:
            store(world)
        assert caught.value.errno == errno.ENOSPC

    def test_features_outside_float16_name_their_image(self, world):
        with torch.no_grad():
            world[0].block2[2].weight *= 1e9
        with pytest.raises(ValueError, match=r"Features of image 'train-0' are not finite, or exceed 65504"):
            store(world)


class DroppingGAP(GAP):
    def forward(self, features):
        return super().forward(nn.functional.dropout(features, training=self.training))


class TestPooled:
    @pytest.mark.parametrize("pooling", [GAP(), LSE(5.0)], ids=["gap", "lse"])
    def test_what_has_no_parameters_is_pooled_once(self, world, cache, pooling):
        features = store(world, views=2)
        pooled = features.pool(pooling)
        assert pooled.pooled
        assert torch.equal(pooled.read(torch.arange(12)), pooling(features.read(torch.arange(12)).float()))
        views = torch.arange(12) % 2
        expected = pooling(features.read(torch.arange(12), views).float())
        assert torch.equal(pooled.read(torch.arange(12), views), expected)
        written = {path: path.stat().st_mtime_ns for path in cache.rglob("pooled-*")}
        assert len(written) == 2
        features.pool(pooling)
        assert {path: path.stat().st_mtime_ns for path in cache.rglob("pooled-*")} == written

    def test_poolings_of_other_settings_have_files_of_their_own(self, world, cache):
        features = store(world)
        low, high = (features.pool(LSE(sharpness)) for sharpness in (1.0, 9.0))
        assert not torch.equal(low.read(torch.arange(12)), high.read(torch.arange(12)))
        assert len(list(cache.rglob("pooled-*"))) == 2

    @pytest.mark.parametrize("pooling", [GeM(), LSE(learned=True), DroppingGAP(), nn.BatchNorm2d(6, affine=False)])
    def test_what_learns_or_drops_is_not(self, world, cache, pooling):
        features = store(world)
        assert features.pool(pooling) is features
        assert not list(cache.rglob("pooled-*"))

    def test_a_pooling_whose_code_changed_is_pooled_again(self, world, monkeypatch):
        features = store(world)
        before = features.pool(GAP()).read(torch.arange(12))
        monkeypatch.setattr(GAP, "forward", lambda self, cells: 2 * cells.mean(dim=(2, 3)))
        torch.testing.assert_close(features.pool(GAP()).read(torch.arange(12)), 2 * before)


def test_pages_are_given_back(world, monkeypatch):
    monkeypatch.setattr(stored_features, "_RELEASED", 0)
    features = store(world)
    before = features.read(torch.arange(12))
    assert torch.equal(features.read(torch.arange(12)), before)
