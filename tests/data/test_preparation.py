import hashlib
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from wsol.data.class_names import Classes
from wsol.data.index import Entry
from wsol.data.preparation import Indices, Preparation, prepare, reader, spread
from wsol.data.sample import Sample
from wsol.data.splits import Splits
from wsol.geometry import as_boxes


def entries(prefix, classes):
    return [
        Entry(f"{prefix}{index}", class_id, as_boxes([[1, 1, 5, 5]]), Path(f"{prefix}{index}"))
        for index, class_id in enumerate(classes)
    ]


def load(entry):
    return Sample(np.full((8, 8, 3), 7, np.uint8), entry.class_id, entry.image_id, entry.boxes)


def splits_of(train, val=(0, 1), test=(1, 0), load=load, **settings):
    indices = Indices("set", ["a", "b"], entries("r", train), entries("v", val), entries("t", test), load=load)
    return prepare(indices, Preparation(**{"image_size": 8, "train_size": 8, **settings}))


class TestPrepare:
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
            indices = Indices("set", ["a", "b"], entries("r", [0, 1]), entries("v", [0]), test, load=load)
            return prepare(indices, Preparation(8, 8)).fingerprint

        first = fingerprint("a")
        assert fingerprint("b") == first
        assert fingerprint("b", mask=b"two") != first
        assert fingerprint("b", ignored=b"some") != first
        assert fingerprint("b", above=0.5) != first

    def test_a_class_without_training_image_is_named(self):
        with pytest.raises(ValueError, match="1 of 2 classes have no training image, first 'b'"):
            splits_of([0, 0])

    def test_an_image_in_two_splits_is_named(self):
        with pytest.raises(ValueError, match="'r0' occurs twice"):
            prepare(Indices("set", ["a"], entries("r", [0]), entries("r", [0]), entries("t", [0])), Preparation(8, 8))

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
            prepare(Indices("my/birds", [], [], [], []), Preparation())

    def test_what_cannot_be_decoded_at_a_fraction_is_refused(self):
        with pytest.raises(ValueError, match="set: decode must be null for this reader"):
            splits_of([0, 1], decode="reduced")


class TestReader:
    @staticmethod
    @reader(Preparation(image_size=4, train_size=8))
    def birds(root: str | Path, name: str = "set") -> Indices:
        """Read birds."""
        return Indices(name, ["a", "b"], entries("r", [0, 1]), entries("v", [1]), entries("t", [1]), load=load)

    def test_takes_its_own_settings_and_those_of_every_reader(self):
        splits = self.birds("here", name="mine", train_size=6, classes=["b"])
        assert splits.name == "mine"
        assert splits.class_names == ("b",)
        assert splits.test[0].size == (4, 4)
        assert splits.train[0].size == (6, 6)

    def test_lists_all_of_them_in_its_signature(self):
        signature = inspect.signature(self.birds)
        assert list(signature.parameters)[:3] == ["root", "name", "image_size"]
        assert signature.parameters["image_size"].default == 4
        assert signature.parameters["classes"].annotation == Classes == get_type_hints(self.birds)["classes"]
        assert signature.return_annotation is Splits

    def test_refuses_others(self):
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            self.birds("here", colour="red")


@dataclass(frozen=True)
class Shade:
    colour: str
    depth: int = 3


@spread
def paint(shade: Shade, place: str | Path = "wall"):
    """Paint."""
    return shade, place


class TestSpread:
    def test_fields_are_given_one_by_one(self):
        assert paint("red") == (Shade("red", 3), "wall")
        assert paint(colour="red", depth=5, place="door") == (Shade("red", 5), "door")

    def test_the_signature_lists_the_fields_with_their_types(self):
        assert str(inspect.signature(paint)) == "(colour: str, depth: int = 3, place: str | pathlib.Path = 'wall')"
        assert get_type_hints(paint)["depth"] is int

    @pytest.mark.parametrize(("settings", "message"), [({}, "colour"), ({"colour": "red", "hue": 1}, "hue")])
    def test_a_missing_or_unknown_field_is_named(self, settings, message):
        with pytest.raises(TypeError, match=message):
            paint(**settings)
