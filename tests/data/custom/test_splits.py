import logging
from pathlib import Path

import pytest

from wsol.data.custom.labels import Labelled
from wsol.data.custom.splits import HeldOut, SplitName, own_indices, seeded_split
from wsol.data.index import Entry
from wsol.data.preparation import Preparation, prepare
from wsol.data.splits import hold_out_boxed
from wsol.geometry import as_boxes

Parts = dict[SplitName, list[Labelled]]


def own_splits(images, **settings):
    preparation = Preparation(8, 8, **settings)
    return prepare(own_indices("mine", images, "boxes.csv", HeldOut(0.2, 0.4), preparation), preparation)


def images(prefix, boxed, bare=0, label="cat"):
    boxes = [as_boxes([[1, 1, 5, 5]])] * boxed + [as_boxes([])] * bare
    names = [f"{prefix}-{label}{place}" for place in range(len(boxes))]
    return [Labelled(name, Path(name), label, box) for name, box in zip(names, boxes, strict=True)]


def both(prefix, boxed, bare=0):
    return images(prefix, boxed, bare) + images(prefix, boxed, bare, "dog")


def sizes(splits):
    return [len(one) for one in (splits.train, splits.val, splits.test)]


def entries(images):
    return [Entry(one.image_id, int(one.label == "dog"), one.boxes, one.path) for one in images]


class TestSeededSplit:
    def test_holds_out_images_with_boxes_of_every_class(self):
        train, val, test = seeded_split(entries(both("x", 10, 5)), HeldOut(0.2, 0.4))
        assert [len(train), len(val), len(test)] == [2 * (4 + 5), 2 * 2, 2 * 4]
        assert all(len(one.boxes) for one in [*val, *test])
        assert {one.class_id for one in val} == {one.class_id for one in test} == {0, 1}
        assert sorted(one.image_id for one in [*train, *val, *test]) == sorted(one.image_id for one in both("x", 10, 5))

    def test_is_seeded(self):
        ids = [
            [one.image_id for one in seeded_split(entries(both("x", 20)), HeldOut(0.2, 0.2, s))[2]] for s in (0, 0, 1)
        ]
        assert ids[0] == ids[1] != ids[2]

    def test_the_only_box_of_a_class_stays_in_train(self):
        kept, held = hold_out_boxed(entries(images("x", 4) + images("x", 1, 3, "dog")), 0.5, 0)
        assert len(held) == 2
        assert {one.class_id for one in held} == {0}
        assert len(kept) == 6

    def test_too_few_boxes_are_counted(self):
        with pytest.raises(ValueError, match="4 of 10 images have boxes, and no class has three of them"):
            seeded_split(entries(both("x", 2, 3)), HeldOut(0.2, 0.2))

    @pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.2, 0), (0.5, 0.5), (-1, 0.2)])
    def test_bad_fractions_are_refused(self, val, test):
        with pytest.raises(ValueError, match="val_fraction and test_fraction must be positive"):
            seeded_split(entries(both("x", 9)), HeldOut(val, test))


class TestOwnSplits:
    def test_without_a_split_it_is_made_and_said(self, caplog):
        with caplog.at_level(logging.INFO):
            splits = own_splits(both("x", 10, 5))
        assert sizes(splits) == [18, 4, 8]
        assert splits.class_names == ("cat", "dog")
        assert splits.name == "mine"
        assert (
            "no split is given; test (0.4) and val (0.2) are held out of the images with boxes, seed 0" in caplog.text
        )
        assert "train: 18 images of 2 classes, 8 of them with 8 boxes" in caplog.text

    def test_the_order_of_the_images_changes_nothing(self):
        first = own_splits(both("x", 10, 5))
        assert own_splits(both("x", 10, 5)[::-1]).fingerprint == first.fingerprint

    def test_given_splits_are_kept(self):
        parts: Parts = {"train": both("r", 0, 3), "val": both("v", 1), "test": both("t", 2)}
        assert sizes(own_splits(parts)) == [6, 2, 4]

    def test_without_val_it_is_held_out_of_trains_images_with_boxes(self, caplog):
        parts: Parts = {"train": both("r", 5, 3), "val": [], "test": both("t", 2)}
        with caplog.at_level(logging.INFO):
            splits = own_splits(parts)
        assert sizes(splits) == [14, 2, 4]
        assert "val (0.2) held out of train's images with boxes, seed 0" in caplog.text

    def test_classes_without_test_image_are_said(self, caplog):
        parts: Parts = {"train": both("r", 5), "test": images("t", 2)}
        own_splits(parts)
        assert "1 classes have no image in test, first 'dog'" in caplog.text

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            (
                {"train": both("r", 0, 3), "test": both("t", 2)},
                "no image of train has boxes of which val could be held",
            ),
            ({"train": both("r", 2), "val": both("v", 2)}, "has train and val, but no test, .*name val test"),
            ({"train": both("r", 2)}, "has train, but no test, .*name a part of them test"),
            ({"val": both("v", 2), "test": both("t", 2)}, "has val and test, but no train"),
            (
                {"train": both("r", 2), "val": both("v", 1), "test": both("t", 1, 2)},
                "4 of 6 images of test have no box",
            ),
            ({"train": images("r", 2), "val": images("v", 2), "test": both("t", 2)}, "1 of 2 classes have no training"),
            ({"train": images("r", 2), "test": images("t", 2)}, r"4 images of 1 classes \(cat\); .*two classes"),
        ],
    )
    def test_what_a_split_lacks_is_said(self, parts, message):
        with pytest.raises(ValueError, match=f"boxes.csv: .*{message}"):
            own_splits(parts)

    def test_a_subset_of_the_classes(self):
        splits = own_splits(both("x", 10), classes=["dog"])
        assert splits.class_names == ("dog",)


class TestWithoutTraining:
    """Networks that are scored as they are need no training images."""

    def splits(self, parts, val=None):
        preparation = Preparation(8, 8, val=val, with_train=False)
        return prepare(own_indices("mine", parts, "boxes.csv", HeldOut(0.25, 0.4), preparation), preparation)

    def test_every_image_with_boxes_is_scored(self):
        assert sizes(self.splits(both("x", 8, 3))) == [0, 2 * 2, 2 * 6]

    def test_val_is_held_out_of_test(self):
        _, val, test = sizes(splits := self.splits(both("x", 20, 3), "test:0.5"))
        assert val + test == 40
        assert val
        assert test
        assert set(splits.val.image_ids).isdisjoint(splits.test.image_ids)

    def test_a_test_split_alone_is_enough(self):
        parts: Parts = {"test": both("x", 20)}
        assert sum(sizes(self.splits(parts, "test:0.5"))) == 40
        with pytest.raises(ValueError, match=r"no val, which chooses thresholds, .* data.val=test:0.2"):
            self.splits(parts)
        with pytest.raises(ValueError, match="has test, but no train"):
            own_indices("mine", parts, "boxes.csv", HeldOut(0.25, 0.4), Preparation(8, 8, val="test:0.5"))
