import csv
import logging

import numpy as np
import pytest

from trees import write_image
from wsol.data.readers.folder import folder

SIZE = (40, 30)  # width and height of all images


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Two classes with four images each."""
    for place, name in enumerate(f"{label}/{index} of 4.png" for label in ("cat", "dog") for index in range(4)):
        write_image(tmp_path / "images" / name, *SIZE, seed=place)
    return tmp_path


def write_csv(root, header, rows, first=""):
    with (root / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(first)
        csv.writer(file).writerows([header.split(","), *rows])


def boxed(*places, label=None, box=(4, 6, 20, 15)):
    """A line for these images of both classes."""
    names = [f"{one}/{place} of 4.png" for one in ("cat", "dog") for place in places]
    return [[name, *([name[:3]] if label else []), *box] for name in names]


def read(root, **settings):
    splits = folder(root / "images", root / "boxes.csv", image_size=32, train_size=36, **settings)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


def sizes(splits):
    return [len(one) for one in (splits.train, splits.val, splits.test)]


def test_folders_are_labels_and_boxes_are_held_out(root, caplog):
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2))
    with caplog.at_level(logging.INFO):
        splits = read(root)
    assert splits.name == "folder"
    assert splits.class_names == ("cat", "dog")
    assert sizes(splits) == [4, 2, 2]  # the images without box are trained on
    assert {"cat/3 of 4.png", "dog/3 of 4.png"} < set(splits.train.image_ids)
    np.testing.assert_allclose(splits.test[0].boxes, [[4 * 0.8, 6 * 32 / 30, 20 * 0.8, 15 * 32 / 30]], rtol=1e-6)
    assert splits.train[0].boxes.shape == (0, 4)
    assert "boxes are edges" in caplog.text
    assert "2 images that it does not name have the labels of their folders" in caplog.text
    assert "no split is given" in caplog.text


@pytest.mark.parametrize(
    ("box_format", "box"),
    [
        ("edges", (4, 6, 20, 15)),
        ("inclusive", (4, 6, 19, 14)),
        ("xywh", (4, 6, 16, 9)),
        ("normalized", (0.1, 0.2, 0.5, 0.5)),
    ],
)
@pytest.mark.parametrize("stated", ["in the file", "by the option"])
def test_every_convention_gives_the_same_boxes(root, box_format, box, stated):
    first = f"# boxes: {box_format}\n" if stated == "in the file" else ""
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2, box=box), first)
    splits = read(root, box_format=None if first else box_format)
    np.testing.assert_allclose(splits.test.entries[0].boxes, [[4, 6, 20, 15]], rtol=1e-6)
    assert splits.test.entries[0].origin.startswith(f"{root / 'boxes.csv'}, line ")


def test_file_and_option_may_not_contradict_each_other(root):
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2), "# boxes: edges\n")
    with pytest.raises(ValueError, match="states that its boxes are edges, but box_format is inclusive"):
        read(root, box_format="inclusive")


def test_flat_images_with_labels_and_splits_in_the_file(tmp_path):
    names = ["a, b.png", "\u00fc.png", "c.png", "d.png", "e.png", "f.png"]
    for place, name in enumerate(names):
        write_image(tmp_path / "images" / name, *SIZE, seed=place)
    rows = [
        ["a, b.png", "10", "", "", "", "", "train"],
        ["./c.png", "9", "", "", "", "", "train"],
        ["\u00fc.png", "10", 1, 2, 3, 4, "val"],
        ["d.png", "9", 1, 2, 3, 4, "val"],
        ["d.png", "9", 5, 6, 7, 8, "val"],
        ["e.png", "9", 1, 2, 3, 4, "test"],
    ]
    write_csv(tmp_path, "image,label,x0,y0,x1,y1,split", rows)
    splits = read(tmp_path)
    assert splits.class_names == ("9", "10")
    assert list(splits.train.image_ids) == ["a, b.png", "c.png"]  # f.png has no label
    assert splits.val.entries[0].boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert splits.val.class_ids.tolist() == [0, 1]
    assert list(splits.test.image_ids) == ["e.png"]


def test_images_without_label_are_left_out_and_counted(tmp_path, caplog):
    test_flat_images_with_labels_and_splits_in_the_file(tmp_path)
    assert "1 images that it does not name are left out: no folder gives their label" in caplog.text


@pytest.fixture
def split_root(tmp_path):
    for place, name in enumerate(
        f"{split}/{label}/{index}.png" for split in ("train", "test") for label in ("cat", "dog") for index in range(3)
    ):
        write_image(tmp_path / "images" / name, *SIZE, seed=place)
    return tmp_path


def lines(split, *places):
    return [[f"{split}/{label}/{place}.png", 4, 6, 20, 15] for label in ("cat", "dog") for place in places]


def test_folders_of_splits_hold_folders_of_classes(split_root, caplog):
    write_csv(split_root, "image,x0,y0,x1,y1", lines("train", 0, 1) + lines("test", 0, 1, 2))
    with caplog.at_level(logging.INFO):
        splits = read(split_root)
    assert splits.class_names == ("cat", "dog")
    assert sizes(splits) == [4, 2, 6]
    assert "folders of splits" in caplog.text
    assert "train and test as given, val (0.1) held out of train's images with boxes" in caplog.text


def test_without_val_and_boxes_in_train_it_is_said_what_to_do(split_root):
    write_csv(split_root, "image,x0,y0,x1,y1", lines("test", 0, 1, 2))
    with pytest.raises(ValueError, match=r"boxes.csv: there is no val, .* give boxes to some, or make a split val"):
        read(split_root)


def test_images_of_test_without_boxes_are_counted(split_root):
    write_csv(split_root, "image,x0,y0,x1,y1", lines("train", 0, 1) + lines("test", 0, 1))
    with pytest.raises(ValueError, match=r"2 of 6 images of test have no box, first test/cat/2.png"):
        read(split_root)


def test_column_and_folder_may_not_contradict_each_other(split_root):
    rows = [[*line, "val"] for line in lines("train", 0)]
    write_csv(split_root, "image,x0,y0,x1,y1,split", rows)
    message = r"line 2: image 'train/cat/0.png' is of split val by the file, but lies in train"
    with pytest.raises(ValueError, match=message):
        read(split_root)


def test_labels_of_the_file_win_where_folders_are_something_else(root, caplog):
    rows = [[f"{one}/{place} of 4.png", "ab"[place % 2], 1, 2, 3, 4] for one in ("cat", "dog") for place in range(3)]
    write_csv(root, "image,label,x0,y0,x1,y1", rows)
    with caplog.at_level(logging.INFO):
        splits = read(root)
    assert splits.class_names == ("a", "b")
    assert sum(sizes(splits)) == 6
    assert "labels are those of the file alone, folders differ" in caplog.text
    assert "2 images that it does not name are left out" in caplog.text


def test_a_label_that_differs_from_the_folder_alone_is_named(root):
    rows = boxed(0, 1, 2, label=True)
    rows[4][1] = "cat"
    write_csv(root, "image,label,x0,y0,x1,y1", rows)
    with pytest.raises(ValueError, match=r"line 6: image 'dog/1 of 4.png' is labelled 'cat' but lies .* 1 of 6 do"):
        read(root)


def test_sizes_in_the_file_must_be_those_of_the_images(root):
    write_csv(root, "image,x0,y0,x1,y1,width,height", [[*row, 40, 31] for row in boxed(0, 1, 2)])
    with pytest.raises(ValueError, match=r"the annotations state that .* has 40 x 31 pixels"):
        read(root)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            boxed(0, 1, 2, box=(0, 0.1, 0.5, 1)),
            {},
            r"all coordinates of all 6 boxes lie in \[0, 1\].*box_format=normali",
        ),
        (boxed(0, 1, 2, box=(0, 0, 1, 1)), {}, r"all coordinates of all 6 boxes lie in \[0, 1\]"),
        (boxed(0, 1, 2, box=(30, 20, 8, 8)), {}, r"x1 < x0 or y1 < y0 in 6 of 6 boxes, .*set data.box_format=xywh"),
        (
            boxed(0, 1, 2, box=(40, 6, 20, 15)),
            {"box_format": "xywh"},
            r"line \d: .* nothing inside .* 40 x 30; .* follow another convention, state it",
        ),
        (boxed(0, 1, 2), {"box_format": "normalized"}, r"but reaches far out of \[0, 1\], as 6 of 6"),
        (boxed(0, 1, 2), {"box_format": "yolo"}, "box_format must be one of edges"),
        (boxed(0, 1, 2), {"val_fraction": 0.9}, "val_fraction and test_fraction must be positive"),
        (boxed(0, 1), {}, "4 of 8 images have boxes, and no class has three"),
        ([["../a.png", 1, 2, 3, 4]], {}, r"line 2: the path '../a.png' leaves the folder"),
        ([["/a.png", 1, 2, 3, 4]], {}, r"line 2: the path '/a.png' leaves the folder"),
        ([[1, 2, 3, 4]], {}, "line 2: expected 5 fields"),
    ],
)
def test_what_is_wrong_with_the_boxes_is_said(root, rows, settings, message):
    write_csv(root, "image,x0,y0,x1,y1", rows)
    with pytest.raises(ValueError, match=message):
        read(root, **settings)


def test_many_boxes_that_reach_out_are_a_warning(root, caplog):
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2, box=(4, 6, 38, 15)))
    read(root, box_format="xywh").test.check_boxes()
    (record,) = [one for one in caplog.records if "reach out" in one.getMessage()]
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "folder test: boxes that reach out of their image are clipped to it: 2 of 2, in 2 images, by at most 2 pixels. "
        "These are many: check which convention the boxes follow, and the sizes of the images."
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["cat/0 of 4.png", "cat", 1, 2, 3, 4, "valid"], r"line 2: expected the split train, val or test, got 'valid'"),
        (["cat/0 of 4.png", "cat", 1, 2, 3, 4, ""], r"line 2: expected the split train, val or test, got ''"),
    ],
)
def test_an_unknown_split_is_named(root, row, message):
    write_csv(root, "image,label,x0,y0,x1,y1,split", [row])
    with pytest.raises(ValueError, match=message):
        read(root)


def test_a_flat_image_without_label_is_named(root):
    write_image(root / "images" / "flat.png", *SIZE)
    write_csv(root, "image,label,x0,y0,x1,y1", [["flat.png", "", 1, 2, 3, 4]])
    with pytest.raises(ValueError, match=r"line 2: image 'flat.png' has no label, and no folder gives one"):
        read(root)


def test_missing_images_are_counted(root):
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2, 7, 8))
    with pytest.raises(
        FileNotFoundError, match=r"boxes.csv: 4 of 10 images are not in .*'cat/7 of 4.png' \(.* line 5\)"
    ):
        read(root)


def test_a_missing_folder_or_file_says_what_to_do(root):
    with pytest.raises(
        FileNotFoundError, match=r"No CSV file at .*boxes\.csv\. Set data.images=FOLDER .* data\.boxes=FILE\.csv"
    ):
        read(root)
    with pytest.raises(FileNotFoundError, match=r"No folder of images at .*nowhere\. Set data\.images=FOLDER"):
        folder(root / "nowhere", root / "boxes.csv")


def test_the_order_of_the_lines_changes_nothing(root):
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2))
    first = read(root, name="mine")
    write_csv(root, "image,x0,y0,x1,y1", boxed(0, 1, 2)[::-1])
    assert read(root, name="mine").fingerprint == first.fingerprint
    assert first.name == "mine"


def test_an_image_named_by_another_path_than_it_is_listed_by_is_refused(root):
    (root / "images" / "zoo").symlink_to(root / "images" / "cat")  # followed once, by one of its two paths
    rows = boxed(0, 1, 2)
    rows[0] = ["zoo/0 of 4.png", *rows[0][1:]]
    write_csv(root, "image,x0,y0,x1,y1", rows)
    with pytest.raises(ValueError, match=r"line 2: image 'zoo/0 of 4\.png' is 'cat/0 of 4\.png' by another path"):
        read(root)
