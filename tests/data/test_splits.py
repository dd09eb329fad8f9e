import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsol.data.image_set import ImageSet
from wsol.data.index import Entry, Index
from wsol.data.sample import Sample
from wsol.data.splits import hold_out, hold_out_boxed, hold_out_of_test
from wsol.geometry import as_boxes


def entries(prefix, classes):
    return [
        Entry(f"{prefix}{index}", class_id, as_boxes([[1, 1, 5, 5]]), Path(f"{prefix}{index}"))
        for index, class_id in enumerate(classes)
    ]


def load(entry):
    return Sample(np.full((8, 8, 3), 7, np.uint8), entry.class_id, entry.image_id, entry.boxes)


class TestHoldOutOfTest:
    def test_an_image_is_in_one_part_whatever_the_others_are(self):
        everything = Index.of(entries("image", range(400)))
        scored, held = hold_out_of_test(everything, 0.2)
        assert sorted([*scored.image_ids, *held.image_ids]) == sorted(everything.image_ids)
        assert 50 < len(held) < 110  # 80 in the mean, standard deviation 8
        some = everything.select(np.arange(0, 400, 3))
        assert set(hold_out_of_test(some, 0.2)[1].image_ids) == set(some.image_ids) & set(held.image_ids)
        assert set(hold_out_of_test(everything, 0.3)[1].image_ids) > set(held.image_ids)

    @pytest.mark.parametrize("fraction", [0, 1, -0.1, 1e-9])
    def test_both_parts_need_images(self, fraction):
        with pytest.raises(ValueError, match=r"data.val=test:"):
            hold_out_of_test(Index.of(entries("image", range(4))), fraction)


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
