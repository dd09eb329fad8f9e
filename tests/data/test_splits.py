import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsol.data.image_set import ImageSet
from wsol.data.index import Entry
from wsol.data.sample import Sample
from wsol.data.splits import hold_out, hold_out_boxed, make_splits
from wsol.geometry import as_boxes


def entries(prefix, classes):
    return [
        Entry(f"{prefix}{index}", class_id, as_boxes([[1, 1, 5, 5]]), Path(f"{prefix}{index}"))
        for index, class_id in enumerate(classes)
    ]


def load(entry):
    return Sample(np.full((8, 8, 3), 7, np.uint8), entry.class_id, entry.image_id, entry.boxes)


def splits_of(train, val=(0, 1), test=(1, 0), **kwargs):
    settings = {"image_size": 8, "train_size": 8, "max_cache_gib": 1, "load": load, **kwargs}
    return make_splits("set", ["a", "b"], (entries("r", train), entries("v", val), entries("t", test)), **settings)


class TestHoldOut:
    def test_is_stratified_and_keeps_everything_once(self):
        everything = entries("x", [0] * 20 + [1] * 10 + [2] * 3)
        kept, held = hold_out(everything, 0.2, seed=0)
        counts = np.bincount([entry.class_id for entry in held])
        assert counts.tolist() == [4, 2, 1]
        assert sorted(e.image_id for e in [*kept, *held]) == sorted(e.image_id for e in everything)

    def test_is_seeded(self):
        everything = entries("x", [0] * 30)
        held = [hold_out(everything, 0.3, seed)[1].image_ids for seed in (0, 0, 1)]
        assert held[0] == held[1] != held[2]

    def test_never_takes_a_whole_class(self):
        kept, held = hold_out(entries("x", [0, 0, 1, 1]), 0.9, 0)
        assert {e.class_id for e in kept} == {e.class_id for e in held} == {0, 1}

    def test_a_single_image_is_named(self):
        with pytest.raises(ValueError, match="x2 is the only training image of its class"):
            hold_out(entries("x", [0, 0, 1]), 0.5, 0)

    @pytest.mark.parametrize("fraction", [0, 1, -0.5])
    def test_bad_fractions_are_refused(self, fraction):
        with pytest.raises(ValueError, match="val_fraction"):
            hold_out(entries("x", [0, 0]), fraction, 0)


class TestHoldOutBoxed:
    def test_takes_of_the_images_with_boxes_and_leaves_a_class_its_only_one(self):
        bare = [replace(one, boxes=as_boxes([])) for one in entries("bare", [0, 1, 1])]
        everything = [*entries("x", [0] * 4 + [1]), *bare]
        kept, held = hold_out_boxed(everything, 0.5, 0)
        assert len(held) == 2
        assert all(one.class_id == 0 and len(one.boxes) for one in held)
        assert sorted([*kept.image_ids, *held.image_ids]) == sorted(one.image_id for one in everything)

    def test_without_two_boxes_in_any_class_it_says_so(self):
        with pytest.raises(ValueError, match="2 images, 2 with boxes: no class has two images with boxes"):
            hold_out_boxed(entries("x", [0, 1]), 0.5, 0)


class TestMakeSplits:
    def test_train_hands_out_no_boxes(self):
        splits = splits_of([0, 1])
        assert splits.train[0].boxes.shape == (0, 4)
        assert all(entry.boxes.size == 0 for entry in splits.train.entries)  # nor does it keep them
        assert splits.val[0].boxes.tolist() == splits.test[0].boxes.tolist() == [[1, 1, 5, 5]]

    def test_fingerprint_follows_images_labels_and_boxes(self):
        reference = splits_of([0, 1, 0]).fingerprint
        assert splits_of([0, 1, 0]).fingerprint == reference
        assert splits_of([0, 1, 1]).fingerprint != reference
        assert splits_of([0, 1]).fingerprint != reference
        assert splits_of([0, 1, 0], val=(0,)).fingerprint != reference

    def test_fingerprint_is_that_of_the_text_line_by_line(self):
        text = "('a', 'b')train\tr0\t0\t[]\ntrain\tr1\t1\t[]\n"
        text += "val\tv0\t0\t[[1.0, 1.0, 5.0, 5.0]]\nval\tv1\t1\t[[1.0, 1.0, 5.0, 5.0]]\n"
        text += "test\tt0\t1\t[[1.0, 1.0, 5.0, 5.0]]\ntest\tt1\t0\t[[1.0, 1.0, 5.0, 5.0]]\n"
        assert splits_of([0, 1]).fingerprint == hashlib.sha256(text.encode()).hexdigest()[:16]

    def test_fingerprint_follows_what_masks_say_and_not_where_they_lie(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))

        def fingerprint(folder, mask=b"one", ignored=b"", above=127.0):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "m.png").write_bytes(mask)
            (tmp_path / folder / "i.png").write_bytes(ignored)
            masked = {"mask_paths": (tmp_path / folder / "m.png",), "mask_above": above}
            test = [
                replace(one, ignore_path=tmp_path / folder / "i.png" if ignored else None, **masked)
                for one in entries("t", [1, 0])
            ]
            settings = {"image_size": 8, "train_size": 8, "max_cache_gib": 1, "load": load}
            return make_splits(
                "set", ["a", "b"], (entries("r", [0, 1]), entries("v", [0]), test), **settings
            ).fingerprint

        first = fingerprint("a")
        assert fingerprint("b") == first
        assert fingerprint("b", mask=b"two") != first
        assert fingerprint("b", ignored=b"some") != first
        assert fingerprint("b", above=0.5) != first

    def test_a_class_without_training_image_is_named(self):
        with pytest.raises(ValueError, match="class 'b' has no training image"):
            splits_of([0, 0])

    def test_an_image_in_two_splits_is_named(self):
        with pytest.raises(ValueError, match="'r0' comes twice"):
            make_splits(
                "set",
                ["a"],
                (entries("r", [0]), entries("r", [0]), entries("t", [0])),
                image_size=8,
                train_size=8,
                max_cache_gib=1,
            )

    def test_training_images_may_not_be_smaller_than_their_crops(self):
        with pytest.raises(ValueError, match="train_size must be at least image_size"):
            splits_of([0, 1], train_size=4)

    def test_a_subset_of_the_classes_is_numbered_anew(self):
        splits = splits_of([0, 1, 1], classes=["b"])
        assert splits.class_names == ("b",)
        assert [entry.image_id for entry in splits.train.entries] == ["r1", "r2"]
        assert splits.test.class_ids.tolist() == [0]
        assert splits_of([0, 1], classes=1).class_names == ("a",)

    def test_reduced_decoding_asks_for_no_less_than_the_network_reads(self):
        asked = []

        def loading(entry, at_least=None):
            asked.append(at_least)
            return load(entry)

        splits = splits_of([0, 1], train_size=12, load=loading, decode="reduced")
        _ = splits.train[0], splits.val[0]
        assert asked == [(12, 12), (8, 8)]
        with pytest.raises(ValueError, match="decode must be null or reduced, got 'fast'"):
            splits_of([0, 1], decode="fast")

    def test_what_may_be_checked_keeps_the_boxes_of_train(self):
        assert splits_of([0, 1]).annotated_train[0].boxes.tolist() == [[1, 1, 5, 5]]

    def test_a_name_that_cannot_be_a_folder_is_refused(self):
        with pytest.raises(ValueError, match="got 'my/birds'"):
            make_splits("my/birds", [], ([], [], []), image_size=8, train_size=8, max_cache_gib=1)


class TestImageSet:
    def make(self, **kwargs):
        self.loads = 0

        def counting(entry):
            self.loads += 1
            return load(entry)

        return ImageSet(entries("x", [0] * 10), counting, name="set test", **kwargs)

    def test_is_decoded_once_into_memory_and_says_how_large_it_is(self, caplog):
        caplog.set_level(logging.INFO)
        images = self.make()
        images.preload()
        decoded = self.loads
        assert [images[index].image_id for index in range(10)] == [f"x{index}" for index in range(10)]
        images.preload()
        assert self.loads == decoded
        assert "set test: 10 images in memory" in caplog.text

    def test_what_does_not_fit_is_decoded_on_access(self, caplog):
        caplog.set_level(logging.INFO)
        images = self.make(max_cache_bytes=10 * 8 * 8 * 3 - 1)
        images.preload()
        before = self.loads
        assert images[3].image_id == "x3"
        assert self.loads == before + 1
        assert "decoded on access" in caplog.text

    def test_an_empty_split_is_refused(self):
        with pytest.raises(ValueError, match="holds no image"):
            ImageSet([], name="set test")
