import os
import time

import numpy as np
import pytest

from metadata_trees import make_boxes, make_masks, write_split
from trees import edit
from wsol.data.formats import metadata_files
from wsol.data.formats.metadata_files import read_split


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Two images in the order b, a; the box file has them in the order a, b, b."""
    write_split(
        tmp_path / "test",
        {"c/b.jpg": 1, "c/a.jpg": 0},
        {"c/a.jpg": (40, 30), "c/b.jpg": (60, 50)},
        ["c/a.jpg,1,2,3,4.5", "c/b.jpg,0,0,60,50", "c/b.jpg,5,6,7,8"],
    )
    return tmp_path / "test"


def test_columns_are_in_the_order_of_the_image_ids(folder):
    split = read_split(folder)
    assert split.image_ids == ["c/b.jpg", "c/a.jpg"]
    assert split.class_ids.tolist() == [1, 0]
    assert split.sizes.tolist() == [[50, 60], [30, 40]]
    assert split.boxes.tolist() == [[0, 0, 60, 50], [5, 6, 7, 8], [1, 2, 3, 4.5]]
    assert split.ends.tolist() == [0, 2, 3]
    assert split.lines.tolist() == [2, 1]
    assert split.origin(0) == f"{folder / 'localization.txt'}, line 2"
    assert split.ignored is None
    assert not len(split.masks)


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_line_endings_a_byte_order_mark_and_no_last_newline_do_not_matter(folder, ending):
    for path in folder.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().strip().replace("\n", ending).encode())
    split = read_split(folder)
    assert split.image_ids == ["c/b.jpg", "c/a.jpg"]
    assert split.boxes[2].tolist() == [1, 2, 3, 4.5]


def test_blank_lines_are_passed_over_and_counted(folder):
    path = folder / "localization.txt"
    path.write_text("\n" + path.read_text().replace("c/b.jpg,5", "  \nc/b.jpg,5"))
    assert read_split(folder).lines.tolist() == [3, 2]
    edit(path, 5, "c/b.jpg,5,x,7,8")
    with pytest.raises(ValueError, match=r"localization.txt, line 5: expected numbers"):
        read_split(folder)


def test_names_may_hold_quotes_spaces_and_any_letters(tmp_path):
    name = 'a "b" é/ж 1.jpg'
    write_split(tmp_path, {name: 0}, {name: (9, 9)}, [f"{name},1,2,3,4"])
    assert read_split(tmp_path).image_ids == [name]


def test_labels_and_sizes_of_other_images_are_passed_over(folder):
    edit(folder / "image_ids.txt", 1, None)
    edit(folder / "localization.txt", 3, None)
    edit(folder / "localization.txt", 2, None)
    split = read_split(folder)
    assert split.class_ids.tolist() == [0]
    assert split.sizes.tolist() == [[30, 40]]


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("image_ids", 2, "c/b.jpg", r"image_ids.txt, line 2: 'c/b.jpg' is given a second time; it must name .* once"),
        ("image_ids", 2, "c/a.jpg,0", r"image_ids.txt, line 2: expected 1 fields, got 2"),
        (
            "image_ids",
            1,
            "../../etc/x.jpg",
            r"image_ids.txt, line 1: expected a path below a folder, .* got '../../etc",
        ),
        ("image_ids", 1, "/etc/x.jpg", r"image_ids.txt, line 1: expected a path below a folder"),
        ("class_labels", 2, None, r"class_labels.txt says nothing of image 'c/a.jpg', which image_ids.txt names"),
        ("class_labels", 2, "c/a.jpg,-1", r"class_labels.txt, line 2: expected a class id, .* got '-1'"),
        ("class_labels", 2, "c/a.jpg,1234567890", r"class_labels.txt, line 2: expected a class id"),
        ("class_labels", 2, "c/b.jpg,0", r"class_labels.txt, line 2: 'c/b.jpg' is given a second time"),
        ("image_sizes", 1, "c/a.jpg,40", r"image_sizes.txt, line 1: expected 3 fields, got 2"),
        ("image_sizes", 1, "c/a.jpg,40,0", r"image_sizes.txt, line 1: expected width and height"),
        ("image_sizes", 1, "c/a.jpg,40,30.5", r"image_sizes.txt, line 1: expected width and height in whole pixels"),
        ("image_sizes", 1, None, r"image_sizes.txt says nothing of image 'c/a.jpg'"),
        ("localization", 1, "c/z.jpg,1,2,3,4", r"localization.txt, line 1: image 'c/z.jpg' is not in image_ids.txt"),
        ("localization", 1, None, r"localization.txt says nothing of image 'c/a.jpg'"),
        ("localization", 1, "c/a.jpg,1,2,3", r"localization.txt, line 1: expected 5 or 3 fields, got 4"),
        ("localization", 2, "c/b.jpg,1,2,3", r"localization.txt, line 2: expected 5 fields, got 4"),
        ("localization", 1, "c/a.jpg,3,2,1,4", r"line 1: expected x0,y0,x1,y1 with x0 <= x1 .* got '3,2,1,4'"),
        ("localization", 3, "c/b.jpg,3,4,5,2", r"line 3: expected x0,y0,x1,y1 with x0 <= x1"),
        ("localization", 1, "c/a.jpg,1,2,nan,4", r"localization.txt, line 1: expected finite numbers"),
    ],
)
def test_what_is_malformed_is_named_with_its_line(folder, file, line, text, message):
    edit(folder / f"{file}.txt", line, text)
    with pytest.raises(ValueError, match=message):
        read_split(folder)


def test_normalized_boxes_are_reported_and_how_to_state_them(folder):
    (folder / "localization.txt").write_text("c/a.jpg,0.1,0.2,0.5,0.9\nc/b.jpg,0,0,1,1\n")
    with pytest.raises(ValueError, match=r"fractions of the images, multiply x by the width"):
        read_split(folder)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("image_ids", r"image_ids.txt is empty"),
        ("class_labels", r"class_labels.txt says nothing of image 'c/b.jpg'"),
        ("localization", r"localization.txt is empty; it must have a box or a mask for every image"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n"])
def test_an_empty_file_is_named(folder, file, message, content):
    (folder / f"{file}.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_split(folder)


def test_sizes_may_be_left_empty(folder):
    (folder / "image_sizes.txt").write_text("")
    assert read_split(folder).sizes is None


@pytest.mark.parametrize("file", ["image_ids", "class_labels", "image_sizes", "localization"])
def test_a_missing_file_is_named(folder, file):
    (folder / f"{file}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{file}\.txt is missing"):
        read_split(folder)


def test_what_is_no_utf8_is_named(folder):
    (folder / "class_labels.txt").write_bytes(b"c/b.jpg,1\nc/\xe9.jpg,0\n")
    with pytest.raises(ValueError, match=r"class_labels.txt is no UTF-8 text"):
        read_split(folder)


class TestTrain:
    def test_needs_neither_sizes_nor_boxes(self, folder):
        for name in ("image_sizes", "localization"):
            (folder / f"{name}.txt").write_text("")
        for _ in range(2):
            split = read_split(folder, located=False)
            assert split.class_ids.tolist() == [1, 0]
            assert split.sizes is None
            assert split.ends.tolist() == [0, 0, 0]
            assert split.origin(0) == ""
            for name in ("image_sizes", "localization"):
                (folder / f"{name}.txt").unlink(missing_ok=True)

    def test_some_may_have_boxes(self, folder):
        edit(folder / "localization.txt", 1, None)
        split = read_split(folder, located=False)
        assert split.ends.tolist() == [0, 2, 2]
        assert split.lines.tolist() == [1, 0]


class TestMasks:
    def test_are_grouped_by_image_with_its_ignored_region(self, tmp_path):
        split = read_split(make_masks(tmp_path) / "val")
        first = "val/01226z/val0"
        assert split.masks == [f"{first}_m01226z_a.png", f"{first}_m01226z_b.png", "val/0bt_c3/val0_m0bt_c3_c.png"]
        assert split.ends.tolist() == [0, 2, 3]
        assert split.ignored == [f"{first}_ignore.png", ""]
        assert split.boxes.shape == (0, 4)

    @pytest.mark.parametrize(
        ("line", "text", "message"),
        [
            (2, "val/01226z/val0.jpg,b.png,i.png", r"line 2: the image has an ignored region already"),
            (2, "val/01226z/val0.jpg,,", r"line 2: expected a path below a folder"),
            (2, "val/01226z/val0.jpg,../b.png,", r"line 2: expected a path below a folder"),
            (2, "val/01226z/val0.jpg,b.png", r"line 2: expected 3 fields, got 2"),
            (3, None, r"localization.txt says nothing of image 'val/0bt_c3/val0.jpg'"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path, line, text, message):
        texts = make_masks(tmp_path) / "val"
        edit(texts / "localization.txt", line, text)
        with pytest.raises(ValueError, match=message):
            read_split(texts)


class TestManyImages:
    COUNT = 300_000

    @pytest.fixture
    def train(self, tmp_path):
        ids = [f"train/n{index % 1000:08d}/n{index % 1000:08d}_{index}.JPEG" for index in range(self.COUNT)]
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "image_ids.txt").write_text("\n".join(ids))
        labels = "\n".join(f"{one},{index % 1000}" for index, one in enumerate(ids))
        (tmp_path / "train" / "class_labels.txt").write_text(labels)
        return tmp_path / "train"

    def test_are_kept_between_runs_until_a_file_changes(self, train, monkeypatch):
        for path in (*train.iterdir(), train):
            os.utime(path, (time.time() - 60,) * 2)  # what changed just now is not kept
        split = read_split(train, located=False)
        with monkeypatch.context() as patched:
            patched.setattr(metadata_files, "_labels", None)  # a second time nothing is parsed
            again = read_split(train, located=False)
        assert again.image_ids == split.image_ids
        np.testing.assert_array_equal(again.class_ids, split.class_ids)
        assert again.class_ids[1234] == 234
        path = train / "class_labels.txt"
        path.write_text(path.read_text().replace("_1234.JPEG,234", "_1234.JPEG,7"))
        assert read_split(train, located=False).class_ids[1234] == 7

    def test_boxes_that_are_added_later_are_seen(self, train):
        for path in (*train.iterdir(), train):
            os.utime(path, (time.time() - 60,) * 2)
        assert not len(read_split(train, located=False).boxes)
        (train / "localization.txt").write_text("train/n00000001/n00000001_1.JPEG,1,2,3,4\n")
        split = read_split(train, located=False)
        assert split.boxes.tolist() == [[1, 2, 3, 4]]
        assert split.lines[1] == 1

    def test_a_bad_line_among_them_is_named(self, train):
        edit(train / "class_labels.txt", 250_000, "train/n/x.JPEG,dog")
        with pytest.raises(ValueError, match=r"class_labels.txt, line 250000: expected a class id, .* got 'dog'"):
            read_split(train, located=False)


def test_every_split_of_a_prepared_data_set(tmp_path):
    texts = make_boxes(tmp_path)
    assert [len(read_split(texts / one).boxes) for one in ("train", "val", "test")] == [6, 2, 5]
