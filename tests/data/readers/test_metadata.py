import logging
import shutil

import numpy as np
import pytest

from metadata_trees import make_boxes, make_masks, write_split
from trees import edit, write_image
from wsol.data.formats import metadata_images
from wsol.data.formats.metadata_images import check_files
from wsol.data.readers.metadata import metadata
from wsol.data.shared_strings import Strings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    make_boxes(tmp_path / "data")
    return tmp_path / "data"


def read(root, name="CUB", **settings):
    return metadata(root, name, image_size=20, train_size=24, **settings)


def load_all(splits):
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


def test_splits_are_those_of_the_files(root):
    splits = load_all(read(root))
    assert splits.name == "cub"
    assert splits.class_names == ("001.Albatross", "002.Auklet")
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [6, 2, 4]
    assert splits.val.image_ids == ["001.Albatross/val_0.jpg", "002.Auklet/val_0.jpg"]
    sample = splits.test[0]
    assert sample.image.shape == (20, 20, 3)
    # (10, 5, 30, 25) and (0, 0, 4, 3) as edges in 40 x 30 pixels, on 20 x 20
    np.testing.assert_allclose(sample.boxes, [[5, 10 / 3, 15, 50 / 3], [0, 0, 2, 2]], rtol=1e-6)
    assert splits.train[5].class_id == 1
    assert splits.train[5].boxes.shape == (0, 4)
    assert len(splits.annotated_train.boxes) == 6
    assert splits.test.entries[2].origin.endswith("metadata/CUB/test/localization.txt, line 4")
    assert splits.test.entries[2].size == (30, 40)


def test_the_log_says_where_boxes_come_from(root, caplog):
    caplog.set_level(logging.INFO)
    read(root)
    assert f"CUB val: 2 images, 2 boxes of {root / 'metadata' / 'CUB' / 'val' / 'localization.txt'}" in caplog.text
    assert f"CUB test: 4 images, 5 boxes of {root / 'metadata' / 'CUB' / 'test' / 'localization.txt'}" in caplog.text


@pytest.mark.parametrize(
    ("moved", "given"),
    [
        ({"CUB": "dataset/CUB"}, {}),
        ({"metadata": "../metadata"}, {}),
        ({"metadata": "texts"}, {"metadata": "texts"}),
        ({"metadata/CUB": "birds"}, {"metadata": "birds"}),
        ({"CUB": "photographs"}, {"images": "photographs"}),
        ({"CUB": "elsewhere/CUB"}, {"images": "elsewhere"}),
    ],
)
def test_folders_are_found_where_they_are_kept_or_said_to_be(root, moved, given):
    expected = read(root).fingerprint
    for old, new in moved.items():
        (root / new).parent.mkdir(exist_ok=True)
        shutil.move(root / old, root / new)
    assert read(root, **given).fingerprint == expected
    assert read(root, **{option: root / folder for option, folder in given.items()}).fingerprint == expected


def test_missing_folders_say_what_to_do(root):
    with pytest.raises(FileNotFoundError, match=r"No text files of Birds in .*wsolevaluation.*data.metadata=FOLDER"):
        read(root, "Birds")
    with pytest.raises(ValueError, match=r"data.name must be the name of a folder"):
        read(root, "metadata/CUB")
    shutil.rmtree(root / "CUB")
    with pytest.raises(FileNotFoundError, match=r"No images of CUB in .*machine.data_root=FOLDER"):
        read(root)


@pytest.mark.parametrize("one_by_one", [100, 0])
def test_missing_images_are_counted_and_the_first_is_named(root, monkeypatch, one_by_one):
    monkeypatch.setattr(metadata_images, "_ONE_BY_ONE", one_by_one)
    read(root)
    for index in (1, 2):
        (root / "CUB" / "002.Auklet" / f"train_{index}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 6 images of CUB's train are missing .* 002.Auklet/train_1"):
        read(root)


def test_what_a_list_of_images_leaves_out_is_looked_for_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata_images, "_ONE_BY_ONE", 0)
    write_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "odd.suffix")
    check_files(tmp_path, Strings.of(["odd.suffix"]), "images", "")
    with pytest.raises(FileNotFoundError, match=r"1 of the 1 images are missing"):
        check_files(tmp_path, Strings.of(["none.jpg"]), "images", "Unpack.")


def test_training_images_may_do_without_sizes_and_boxes(root):
    for name in ("image_sizes", "localization"):
        (root / "metadata" / "CUB" / "train" / f"{name}.txt").write_text("")
    splits = load_all(read(root))
    assert splits.train[0].image.shape == (24, 24, 3)
    assert not len(splits.annotated_train.boxes)


def test_boxes_of_val_may_not_be_missing(root):
    (root / "metadata" / "CUB" / "val" / "localization.txt").write_text("")
    with pytest.raises(ValueError, match=r"val/localization.txt is empty"):
        read(root)


def test_an_image_in_two_splits_is_named(root):
    texts = root / "metadata" / "CUB"
    shutil.copytree(texts / "val", texts / "test", dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"'001.Albatross/val_0.jpg' occurs twice"):
        read(root)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "001.Albatross/val_0.jpg,20,30,40,45", r"localization.txt, line 1: .* nothing inside the image"),
        (1, "001.Albatross/val_0.jpg,20,10,20,20", r"localization.txt, line 1: the box .* is empty"),
    ],
)
def test_a_box_that_is_not_in_its_image_is_named(root, line, text, message):
    edit(root / "metadata" / "CUB" / "val" / "localization.txt", line, text)
    with pytest.raises(ValueError, match=message):
        load_all(read(root))


def test_an_image_of_another_size_than_written_is_named(root):
    write_image(root / "CUB" / "002.Auklet" / "val_0.jpg", 50, 30)
    with pytest.raises(ValueError, match=r"002.Auklet/val_0.jpg has 40 x 30 pixels, but it has 50 x 30"):
        load_all(read(root))


class TestClasses:
    def test_are_numbered_where_folders_do_not_tell_them(self, tmp_path):
        labels = {"train/x/a.jpg": 0, "train/x/b.jpg": 1, "train/y/c.jpg": 2, "train/z/d.jpg": 2, "train/w/e.jpg": 3}
        for name, ids in (("train", labels), ("val", {"val2/0/0.jpg": 0}), ("test", {"val/1.jpg": 3})):
            for image_id in ids:
                write_image(tmp_path / "Own" / image_id)
            write_split(tmp_path / "metadata" / "Own" / name, ids, None, [f"{one},1,1,9,9" for one in ids])
        splits = read(tmp_path, "Own")
        assert splits.class_names == ("class 0", "class 1", "class 2", "w")
        assert splits.test[0].class_id == 3

    def test_some_can_be_chosen_by_their_folders_name(self, root):
        splits = read(root, classes=["Auklet"])
        assert splits.class_names == ("002.Auklet",)
        assert [len(one) for one in (splits.train, splits.val, splits.test)] == [3, 1, 2]

    def test_numbers_from_1_are_refused(self, root):
        for path in (root / "metadata" / "CUB").glob("*/class_labels.txt"):
            path.write_text(path.read_text().replace(",1", ",2").replace(",0", ",1"))
        with pytest.raises(ValueError, match=r"train/class_labels.txt has no image of class 0, but some of class 2"):
            read(root)

    def test_one_without_training_images_is_named(self, root):
        edit(root / "metadata" / "CUB" / "test" / "class_labels.txt", 3, "002.Auklet/test_0.jpg,2")
        with pytest.raises(
            ValueError, match=r"'002.Auklet/test_0.jpg' is of class 2, but training images are .* 0 ... 1"
        ):
            read(root)


class TestMasks:
    @pytest.fixture
    def masked(self, tmp_path):
        make_masks(tmp_path / "data")
        return tmp_path / "data"

    @pytest.mark.parametrize("place", ["maskdata", "masks"])
    def test_may_lie_in_a_folder_of_their_own(self, masked, place):
        expected = read(masked, "OpenImages").test[0].mask
        for path in sorted((masked / "OpenImages").glob("*/*/*.png")):
            target = masked / place / path.relative_to(masked)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        np.testing.assert_array_equal(read(masked, "OpenImages").test[0].mask, expected)
        (masked / place).rename(masked / "elsewhere")
        np.testing.assert_array_equal(read(masked, "OpenImages", masks="elsewhere").test[0].mask, expected)
        with pytest.raises(FileNotFoundError, match=r"localization.txt, line 1: mask val/01226z/.* data.masks=FOLDER"):
            read(masked, "OpenImages")
