import logging
import shutil
from typing import Any

import numpy as np
import pytest

from imagenet_trees import (
    PER_CLASS,
    POT,
    SNAKE,
    TENCH,
    TRAIN_BOX,
    VAL,
    age,
    hashed,
    make_devkit,
    make_field_metadata,
    make_kaggle,
    make_mapping,
    make_tar,
    make_torchvision,
    make_train_csv,
    make_train_tar,
    make_train_xml,
    make_v2,
    make_v2_metadata,
    make_val,
    make_val_csv,
    make_val_tar,
    make_val_xml,
    val_name,
    write,
    xml,
)
from trees import edit, write_image
from wsol.data.imagenet import boxes
from wsol.data.missing_files import MissingFiles
from wsol.data.readers.imagenet import imagenet

SIZES: dict[str, Any] = {"image_size": 32, "train_size": 36}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """An empty data root with ImageNetV2 and its boxes."""
    make_v2(tmp_path / "data/imagenetv2-threshold0.7-format-val")
    make_v2_metadata(tmp_path / "data/metadata/ILSVRC/val")
    return tmp_path / "data"


def load_all(root, **settings):
    """Index and decode everything, as a run does."""
    splits = imagenet(root, **SIZES, **settings)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


def flat(root, name="ILSVRC"):
    return make_torchvision(root / name, flat=True)


def sorted_val(root, name=""):
    return make_torchvision(root / name)


def without_xml(root):
    shutil.rmtree(make_kaggle(root) / "ILSVRC/Annotations")
    return root


# Every layout, and every place and form of the boxes.
LAYOUTS = {
    "kaggle": make_kaggle,
    "kaggle, ILSVRC renamed to its archive": lambda root: make_kaggle(root / "imagenet-object-localization-challenge"),
    "kaggle, csv alone": without_xml,
    "kaggle, csv inside": lambda root: [
        without_xml(root),
        (root / "LOC_val_solution.csv").rename(root / "ILSVRC/LOC_val_solution.csv"),
    ],
    "kaggle, tar of image-net.org": lambda root: [
        (without_xml(root) / "LOC_val_solution.csv").rename(root / "unused.csv"),
        make_val_tar(root / "ILSVRC2012_bbox_val_v3.tgz"),
    ],
    "root, Annotations": lambda root: make_val_xml(sorted_val(root) / "Annotations/CLS-LOC/val"),
    "root, bbox_val": lambda root: make_val_xml(sorted_val(root) / "bbox_val"),
    "imagenet, val_xml": lambda root: make_val_xml(sorted_val(root, "imagenet") / "val_xml"),
    "ILSVRC2012, v3/val": lambda root: make_val_xml(sorted_val(root, "ILSVRC2012") / "ILSVRC2012_bbox_val_v3/val"),
    "ILSVRC, v3": lambda root: make_val_xml(sorted_val(root, "ILSVRC") / "ILSVRC2012_bbox_val_v3"),
    "ILSVRC, tar": lambda root: make_val_tar(sorted_val(root, "ILSVRC") / "ILSVRC2012_bbox_val_v3.tgz"),
    "ILSVRC, csv": lambda root: make_val_csv(sorted_val(root, "ILSVRC") / "LOC_val_solution.csv"),
    "ILSVRC, csv above": lambda root: [sorted_val(root, "ILSVRC"), make_val_csv(root / "LOC_val_solution.csv")],
    "ILSVRC, the field's boxes": lambda root: [
        sorted_val(root, "ILSVRC"),
        make_field_metadata(root / "metadata/ILSVRC/test"),
    ],
    "flat, devkit, xml": lambda root: [make_devkit(flat(root)), make_val_xml(root / "ILSVRC/bbox_val")],
    "flat, devkit, csv": lambda root: [make_devkit(flat(root)), make_val_csv(root / "LOC_val_solution.csv")],
    "flat, devkit packed": lambda root: [
        make_devkit(flat(root), packed=True),
        make_val_tar(root / "ILSVRC2012_bbox_val_v3.tgz"),
    ],
    "flat, csv": lambda root: make_val_csv(flat(root) / "LOC_val_solution.csv"),
    "flat, xml": lambda root: make_val_xml(flat(root) / "bbox_val"),
    "flat, the field's boxes": lambda root: [flat(root), make_field_metadata(root / "metadata/ILSVRC/test")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_splits(root, layout):
    LAYOUTS[layout](root)
    splits = imagenet(root, **SIZES)
    assert splits.class_names == ("n01440764 tench", "n01751748 sea snake")
    train = [f"train/{wnid}/{wnid}_{index}.JPEG" for wnid in (TENCH, SNAKE) for index in range(PER_CLASS)]
    assert list(splits.train.image_ids) == train
    assert splits.train.class_ids.tolist() == [0] * PER_CLASS + [1] * PER_CLASS
    assert list(splits.test.image_ids) == [f"val/{val_name(number)}.JPEG" for number in (1, 2, 4, 5)]  # 3 is a pot
    assert splits.test.class_ids.tolist() == [1, 0, 0, 1]
    for number, entry in zip((1, 2, 4, 5), splits.test.entries, strict=True):
        np.testing.assert_array_equal(entry.boxes, VAL[number][1])  # edges as they stand in the files
        assert entry.path.is_file()
    assert list(splits.val.image_ids) == [f"val2/{number}/{index}.jpeg" for number in (0, 65) for index in (0, 1)]
    assert splits.val.class_ids.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(splits.val.entries[3].boxes, [[2, 3, 22, 18], [1, 1, 9, 9]])


def test_everything_decodes(root):
    splits = load_all(make_kaggle(root))
    sample = splits.test[1]
    assert sample.image_id == "val/ILSVRC2012_val_00000002.JPEG"
    np.testing.assert_allclose(sample.boxes[0], np.array([4, 4, 39, 16]) * 32 / [40, 30, 40, 30], rtol=1e-6)
    assert splits.train[0].boxes.shape == (0, 4)


def test_the_origin_of_a_box_is_a_line_of_a_file(root):
    make_kaggle(root)
    folder = root / "ILSVRC/Annotations/CLS-LOC/val"
    entry = imagenet(root).test.entries[1]
    assert entry.origin == f"{folder}/ILSVRC2012_val_00000002.xml, line 13"
    assert entry.size == (30, 40)
    entry = imagenet(root, boxes=root / "LOC_val_solution.csv").test.entries[1]
    assert entry.origin == f"{root / 'LOC_val_solution.csv'}, line 5"
    assert entry.size is None  # Kaggle's list has no sizes
    tar = make_val_tar(root / "elsewhere/boxes.tgz")
    assert imagenet(root, boxes=tar).test.entries[1].origin == f"{tar}, val/ILSVRC2012_val_00000002.xml, line 13"


def test_a_size_of_0_is_unknown(root):
    make_kaggle(root)
    path = root / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml"
    write(path, xml("val", val_name(2), TENCH, VAL[2][1], size=(0, 0)))
    entries = imagenet(root).test.entries
    assert [entry.size for entry in entries] == [(30, 40), None, (30, 40), (30, 40)]


@pytest.mark.parametrize("start", ["\ufeff", ""])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_csv_with_a_byte_order_mark_or_windows_line_ends(root, start, end):
    path = make_val_csv(flat(root) / "LOC_val_solution.csv")
    expected = imagenet(root).fingerprint
    write(path, start + path.read_text().replace("\n", end))
    assert imagenet(root).fingerprint == expected


def test_class_names_come_from_timm_where_kaggle_s_list_is_absent(root):
    make_kaggle(root)
    names = imagenet(root).class_names
    (root / "LOC_synset_mapping.txt").unlink()
    assert imagenet(root).class_names == names
    write(root / "LOC_synset_mapping.txt", f"{TENCH} my fish, tench\n")
    assert imagenet(root).class_names == (f"{TENCH} my fish", SNAKE)


def test_a_subset_of_classes(root):
    splits = imagenet(make_kaggle(root), classes=[SNAKE])
    assert splits.class_names == ("n01751748 sea snake",)
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [PER_CLASS, 2, 2]


def test_the_log_says_what_was_found(root, caplog):
    make_kaggle(root)
    with caplog.at_level(logging.INFO, "wsol.data.readers.imagenet"):
        imagenet(root)
    images = root / "ILSVRC/Data/CLS-LOC"
    assert f"2 of 1000 classes have images in {images / 'train'}" in caplog.text
    assert f"Kaggle's layout with val/ flat in {images}, 2 of 1000 classes. train: 12 images." in caplog.text
    assert "val: 4 images with 8 boxes" in caplog.text
    assert "test: 4 images with 5 boxes" in caplog.text


def test_a_val_of_part_of_the_images_is_warned_of(root, caplog):
    make_kaggle(root)
    (root / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000002.JPEG").unlink()
    assert len(imagenet(root).test) == 3
    assert "names 4 images of these classes, but" in caplog.text


# The cache.


@pytest.mark.parametrize("layout", ["kaggle", "ILSVRC, tar", "ILSVRC, csv", "ILSVRC, the field's boxes"])
def test_a_second_read_parses_nothing(root, layout, monkeypatch):
    LAYOUTS[layout](root)
    age(root)
    expected = imagenet(root).fingerprint

    def parse(*_):
        raise AssertionError("parsed again")

    for name in ("parse_voc", "read_lines"):
        monkeypatch.setattr(boxes, name, parse)
    assert imagenet(root).fingerprint == expected


def test_annotations_added_to_an_empty_folder_are_seen(root):
    make_kaggle(root)
    folder = root / "ILSVRC/Annotations/CLS-LOC/val"
    (folder / "more").mkdir()
    path = folder / "ILSVRC2012_val_00000002.xml"
    text = path.read_text()
    path.unlink()
    age(root)
    with pytest.raises(ValueError, match=r"has no box for val/ILSVRC2012_val_00000002.JPEG"):
        imagenet(root)
    (folder / "more" / path.name).write_text(text)
    assert len(imagenet(root).test) == 4


def test_a_new_annotation_is_seen(root):
    make_kaggle(root)
    path = root / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml"
    text = path.read_text()
    path.unlink()
    age(root)
    with pytest.raises(ValueError, match=r"has no box for val/ILSVRC2012_val_00000002.JPEG"):
        imagenet(root)
    path.write_text(text)
    assert len(imagenet(root).test) == 4


def test_a_malformed_annotation_may_be_put_right_in_place(root):
    make_kaggle(root)
    path = root / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml"
    text = path.read_text()
    path.write_text("")
    age(root)
    with pytest.raises(ValueError, match=r"00000002.xml: is empty"):
        imagenet(root)
    path.write_text(text)
    assert len(imagenet(root).test) == 4


# ImageNetV2.


@pytest.mark.parametrize("name", ["imagenetv2-threshold0.7", "val2", "../imagenetv2-threshold0.7-format-val"])
def test_v2_is_found_under_each_of_its_names(root, name):
    make_kaggle(root)
    expected = imagenet(root).fingerprint
    (root / "imagenetv2-threshold0.7-format-val").rename(root / name)
    assert imagenet(root).fingerprint == expected


def test_the_field_s_own_layout(tmp_path):
    """dataset/ILSVRC/{train,val,val2} with metadata/ beside dataset/."""
    root = tmp_path / "code/dataset"
    sorted_val(root, "ILSVRC")
    make_v2(root / "ILSVRC/val2")
    make_field_metadata(tmp_path / "code/metadata/ILSVRC/test")
    make_v2_metadata(tmp_path / "code/metadata/ILSVRC/val")
    splits = imagenet(root, boxes=tmp_path / "code/metadata/ILSVRC/test")
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [12, 4, 4]


@pytest.mark.parametrize("given", ["", "ILSVRC", "ILSVRC/val"])
def test_the_metadata_can_be_given(root, given):
    make_kaggle(root)
    expected = imagenet(root).fingerprint
    (root / "metadata").rename(root / "else")
    assert imagenet(root, metadata=root / "else" / given).fingerprint == expected


def test_without_v2_both_remedies_are_named(root):
    make_kaggle(root)
    shutil.rmtree(root / "imagenetv2-threshold0.7-format-val")
    with pytest.raises(
        FileNotFoundError,
        match=r"No ImageNetV2: looked for .*val2.* `python benchmarks/data.py fetch imagenetv2` .*"
        r"`python benchmarks/data.py fetch imagenetv2_boxes`.* data.val=train",
    ):
        imagenet(root)


def test_without_the_boxes_of_v2_both_remedies_are_named(root):
    make_kaggle(root)
    shutil.rmtree(root / "metadata")
    with pytest.raises(FileNotFoundError, match=r"No boxes of ImageNetV2: .*fetch imagenetv2_boxes.* data.val=train"):
        imagenet(root)


def test_names_of_today_s_archive_need_a_table(root):
    make_kaggle(root)
    shutil.rmtree(root / "imagenetv2-threshold0.7-format-val")
    folder = make_v2(root / "imagenetv2-threshold0.7-format-val", renamed=True)
    with pytest.raises(FileNotFoundError, match=r"today's archive .*issue 42 .* as .*mapping.txt.* data.val=train"):
        imagenet(root)
    make_mapping(root / "mapping.txt")
    splits = imagenet(root)
    assert list(splits.val.image_ids) == [f"val2/{number}/{index}.jpeg" for number in (0, 65) for index in (0, 1)]
    assert splits.val.entries[1].path == folder / "0" / hashed(0, 1)
    edit(root / "mapping.txt", 2, f"0/{hashed(0, 1)},0/1.jpeg")  # either name first
    assert imagenet(root).fingerprint == splits.fingerprint


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, f"0/0.jpeg, 65/{hashed(65, 0)}", r"mapping.txt, line 1: expected .* in the folder of one class"),
        (1, "0/0.jpeg, 0/zero.jpeg", r"mapping.txt, line 1: expected"),
        (2, f"0/0.jpeg, 0/{hashed(0, 1)}", r"mapping.txt, line 2: '0/0.jpeg' is given a second time"),
        (2, f"0/1.jpeg, 0/{hashed(0, 0)}", r"mapping.txt, line 2: '0/0.*' is given a second time"),
        (2, None, r"mapping.txt has no line for 0/1.jpeg"),
        (2, f"0/1.jpeg, 0/{hashed(0, 7)}", r"mapping.txt: 0/1.jpeg is .*, which is missing"),
    ],
)
def test_a_bad_table_of_names(root, line, text, message):
    make_kaggle(root)
    shutil.rmtree(root / "imagenetv2-threshold0.7-format-val")
    make_v2(root / "imagenetv2-threshold0.7-format-val", renamed=True)
    edit(make_mapping(root / "mapping.txt"), line, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        imagenet(root)


def test_images_of_v2_that_the_table_names_and_that_are_missing(root):
    make_kaggle(root)
    folder = root / "imagenetv2-threshold0.7-format-val"
    shutil.rmtree(folder)
    make_v2(folder, renamed=True)
    make_mapping(root / "mapping.txt")
    gone = sorted(folder.rglob("*.jpeg"))[:2]
    for path in gone:
        path.unlink()
    with pytest.raises(MissingFiles, match=r"mapping.txt: .* is missing, and so are 2 of 4 images") as found:
        imagenet(root)
    assert sorted(found.value.paths) == gone


def test_an_image_of_v2_that_is_missing(root):
    make_kaggle(root)
    (root / "imagenetv2-threshold0.7-format-val/65/1.jpeg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lacks 1 of 4 images that have a box, the first is .*65/1.jpeg; unpack"
    ):
        imagenet(root)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("class_labels", "val2/0/1.jpeg,65", r"class 65 of val2/0/1.jpeg is not the number of its folder"),
        ("class_labels", "val2/0/1.jpeg,1000", r"class_labels.txt, line 2: expected a class id in 0 ... 999"),
        ("class_labels", None, r"class_labels.txt says nothing of image 'val2/0/1.jpeg'"),
        ("image_sizes", "val2/0/1.jpeg,0,30", r"image_sizes.txt, line 2: expected width and height"),
        ("image_ids", "val2/0/0.jpeg", r"image_ids.txt, line 2: 'val2/0/0.jpeg' is given a second time"),
        ("image_ids", "0/0.jpeg", r"class_labels.txt says nothing of image '0/0.jpeg'"),
        ("localization", "val2/0/9.jpeg,1,2,3,4", r"localization.txt, line 2: image .* is not in image_ids.txt"),
        ("localization", "val2/0/0.jpeg,9,2,3,4", r"localization.txt, line 2: expected x0,y0,x1,y1 with x0 <= x1"),
        ("localization", "val2/0/0.jpeg,9,2,3", r"localization.txt, line 2: expected 5 fields, got 4"),
    ],
)
def test_bad_metadata(root, name, text, message):
    make_kaggle(root)
    edit(root / f"metadata/ILSVRC/val/{name}.txt", 2, text)
    with pytest.raises(ValueError, match=message):
        imagenet(root)


# Held out of train.

TRAIN_BOXES = {
    "xml": lambda folder: make_train_xml(folder / "Annotations/CLS-LOC/train"),
    "unpacked": lambda folder: make_train_xml(folder / "ILSVRC2012_bbox_train_v2"),
    "tar": lambda folder: make_train_tar(folder / "ILSVRC2012_bbox_train_v2.tar.gz"),
    "csv": lambda folder: make_train_csv(folder / "LOC_train_solution.csv"),
}


@pytest.mark.parametrize("boxes", TRAIN_BOXES)
def test_val_held_out_of_the_training_images_with_boxes(tmp_path, boxes):
    root = make_torchvision(tmp_path / "data")
    make_val_csv(root / "LOC_val_solution.csv")
    TRAIN_BOXES[boxes](root)
    splits = imagenet(root, val="train", val_fraction=0.5, **SIZES)
    held = list(splits.val.image_ids)
    assert splits.val.class_ids.tolist() == [0, 0, 1, 1]  # half of four each
    assert all(int(one[-6]) < 4 for one in held)  # only the first four of a class have boxes
    assert all(entry.boxes.tolist() == [list(TRAIN_BOX)] for entry in splits.val.entries)
    everything = {f"train/{wnid}/{wnid}_{index}.JPEG" for wnid in (TENCH, SNAKE) for index in range(PER_CLASS)}
    assert set(splits.train.image_ids) == everything - set(held)
    again = imagenet(root, val="train", val_fraction=0.5, **SIZES)
    assert again.fingerprint == splits.fingerprint
    seeds = {imagenet(root, val="train", val_fraction=0.5, split_seed=one, **SIZES).fingerprint for one in range(5)}
    assert len(seeds) > 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        xml(TENCH, "x", POT, [TRAIN_BOX]),  # another wnid: some files of the real set have one
        xml(TENCH, "x", TENCH, [TRAIN_BOX, (5, 5, 5, 9)]),
        xml(TENCH, "x", TENCH, [(40, 5, 42, 9)]),
        xml(TENCH, "x", TENCH, []),
        xml(TENCH, "x", TENCH, [(9, 5, 5, 9)]),
    ],
    ids=["empty file", "other class", "no area", "outside", "no object", "turned"],
)
def test_training_images_with_unsound_boxes_stay_in_train(root, text, caplog):
    make_kaggle(root)
    bad = [root / f"ILSVRC/Annotations/CLS-LOC/train/{TENCH}/{TENCH}_{index}.xml" for index in (0, 1)]
    for path in bad:
        path.write_text(text)
    splits = load_all(root, val="train", val_fraction=0.5)
    assert [int(one[-6]) in (2, 3) for one in splits.val.image_ids if TENCH in one] == [True]
    assert "2 of 8 training images with boxes cannot be held out" in caplog.text
    assert str(bad[0]) in caplog.text


def test_a_name_that_is_no_wnid_does_no_harm_in_train(root, caplog):
    make_kaggle(root)
    for index in range(4):
        path = root / f"ILSVRC/Annotations/CLS-LOC/train/{TENCH}/{TENCH}_{index}.xml"
        path.write_text(xml(TENCH, "%s", "Scottish_deerhound", [TRAIN_BOX]))  # both are slips of the real set
    assert len(imagenet(root, val="train", val_fraction=0.5).val) == 4
    assert "cannot be held out" not in caplog.text


def test_without_boxes_of_train(root):
    make_val_csv(make_torchvision(root) / "LOC_val_solution.csv")
    with pytest.raises(FileNotFoundError, match=r"No boxes of ImageNet's train: looked for .* data.val=imagenetv2"):
        imagenet(root, val="train")


def test_boxes_of_other_images_alone(root):
    make_val_csv(make_torchvision(root) / "LOC_val_solution.csv")
    write(root / "LOC_train_solution.csv", f"ImageId,PredictionString\n{POT}_1,{POT} 1 2 3 4 \n")
    with pytest.raises(ValueError, match=r"LOC_train_solution.csv has no sound box for any image of train"):
        imagenet(root, val="train")


def test_an_unknown_val(root):
    with pytest.raises(ValueError, match=r"data.val must be imagenetv2, train or test:FRACTION, got 'test'"):
        imagenet(make_kaggle(root), val="test")


# What is missing.


def test_a_missing_root_says_where_to_get_it_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No ImageNet at .*nowhere: looked .*kaggle.*machine.data_root=FOLDER"):
        imagenet(tmp_path / "nowhere")


@pytest.mark.parametrize(("gone", "there"), [("train", "val"), ("val", "train")])
@pytest.mark.parametrize("make", [make_kaggle, make_torchvision])
def test_half_of_it_says_which_half_is_missing(root, make, gone, there):
    make(root)
    folder = root / "ILSVRC/Data/CLS-LOC" if make is make_kaggle else root
    shutil.rmtree(folder / gone)
    with pytest.raises(FileNotFoundError, match=rf"ImageNet is not whole: {folder} holds {there}/ but no {gone}/"):
        imagenet(root)


def test_the_train_and_val_of_another_data_set_are_not_taken(root):
    write_image(root / "train/cats/1.png")
    write_image(root / "val/cats/1.png")
    make_val_xml(sorted_val(root, "imagenet") / "val_xml")
    assert len(imagenet(root).test) == 4


def test_without_boxes_of_val(root):
    make_torchvision(root)
    with pytest.raises(
        FileNotFoundError,
        match=r"No boxes of ImageNet's val: looked for .*Annotations/CLS-LOC/val, .*LOC_val_solution.csv, .*"
        r"ILSVRC2012_bbox_val_v3.tgz of https://image-net.org/download .*data.boxes=PATH",
    ):
        imagenet(root)


def test_boxes_that_are_given_but_not_there(root):
    make_kaggle(root)
    (root / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"data.boxes=.*empty is no folder of .xml files"):
        imagenet(root, boxes=root / "empty")


def test_an_image_without_annotation_is_named(root):
    make_kaggle(root)
    folder = root / "ILSVRC/Annotations/CLS-LOC/val"
    (folder / "ILSVRC2012_val_00000004.xml").unlink()
    with pytest.raises(ValueError, match=rf"{folder} has no box for val/ILSVRC2012_val_00000004.JPEG and 0 other"):
        imagenet(root)


# What is malformed.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (None, "", r"00000002.xml: is empty"),
        (None, "<annotation><object>", r"00000002.xml, line 1: is not XML"),
        (None, xml("val", "x", TENCH, []), r"00000002.xml: holds no <object>, so no box"),
        ("<xmax>39</xmax>", "<xmax>3</xmax>", r"00000002.xml, line 13, <object>: expected xmin <= xmax"),
        ("<annotation>", "<!DOCTYPE a><annotation>", r"00000002.xml: has a document type"),
        (TENCH, "tench", r"00000002.xml, line 13: 'tench', of .*00000002.JPEG, is no wnid of ILSVRC2012"),
    ],
)
def test_a_bad_annotation_is_named(root, old, new, message):
    make_kaggle(root)
    path = root / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml"
    path.write_text(new if old is None else path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        imagenet(root)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "id,boxes", r"line 1: expected the header ImageId,PredictionString, got id,boxes"),
        (3, f"{val_name(4)},", r"line 3: expected wnid x0 y0 x1 y1, once or more"),
        (3, f"{val_name(4)},{TENCH} 1 2 3 ", r"line 3: expected wnid x0 y0 x1 y1, once or more"),
        (3, f"{val_name(4)},{TENCH} 1 2 3 four ", r"line 3: expected numbers"),
        (3, f"{val_name(4)},{TENCH} 9 2 3 4 ", r"line 3: expected x0 <= x1 and y0 <= y1, got n01440764 9 2 3 4"),
        (3, f"{val_name(5)},{TENCH} 1 2 3 4 ", r"line 3: 'ILSVRC2012_val_00000005' is given a second time"),
        (3, f"{val_name(4)}", r"line 3: expected 2 fields, got 1"),
        (3, f"{val_name(4)},{TENCH} 1 2 3 4 {SNAKE} 1 2 3 4 ", r"line 3: an object has another class than its image"),
        (3, f"{val_name(4)},n00000000 1 2 3 4 ", r"line 3: 'n00000000', of .*04.JPEG, is no wnid"),
    ],
)
def test_a_bad_line_of_the_csv_is_named(root, line, text, message):
    edit(make_val_csv(flat(root) / "LOC_val_solution.csv"), line, text)
    with pytest.raises(ValueError, match=f"LOC_val_solution.csv, {message}"):
        imagenet(root)


def test_bad_annotations_of_absent_classes_do_no_harm(root):
    sorted_val(root)
    make_val_xml(root / "bbox_val")
    write(root / "bbox_val" / f"{val_name(3)}.xml", "")
    assert len(imagenet(root).test) == 4


def test_boxes_as_fractions_are_refused(root):
    path = make_val_csv(flat(root) / "LOC_val_solution.csv")
    rows = [f"{val_name(number)},{wnid} 0.1 0.2 0.9 1 \n" for number, (wnid, _) in VAL.items()]
    write(path, "ImageId,PredictionString\n" + "".join(rows))
    with pytest.raises(ValueError, match=r"LOC_val_solution.csv: all coordinates of all \d+ boxes lie in"):
        imagenet(root)


def test_an_image_that_is_annotated_twice(root):
    folder = make_val_xml(sorted_val(root) / "bbox_val")
    shutil.copytree(folder, folder / "copy")
    with pytest.raises(ValueError, match=r"bbox_val annotates ILSVRC2012_val_00000001 twice, in ILSVRC.* and copy/"):
        imagenet(root)


def test_a_truncated_tar(root):
    path = make_val_tar(sorted_val(root) / "ILSVRC2012_bbox_val_v3.tgz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"ILSVRC2012_bbox_val_v3.tgz cannot be read .*; download it again"):
        imagenet(root)


def test_a_tar_with_a_member_that_is_too_large(root):
    make_tar(sorted_val(root) / "ILSVRC2012_bbox_val_v3.tgz", {f"val/{val_name(1)}.xml": b" " * 2**21})
    with pytest.raises(ValueError, match=r"has 2097152 bytes, too many for an annotation"):
        imagenet(root)


def test_a_val_that_is_sorted_wrongly(root):
    make_val_xml(sorted_val(root) / "bbox_val")
    name = "ILSVRC2012_val_00000002.JPEG"
    (root / "val" / TENCH / name).rename(root / "val" / SNAKE / name)
    with pytest.raises(ValueError, match=rf"00000002.xml, line 13: .* {name}, which is {SNAKE} by its folder"):
        imagenet(root)


def test_a_devkit_that_disagrees_with_the_boxes(root):
    make_val_xml(flat(root) / "bbox_val")
    edit(make_devkit(root) / "data/ILSVRC2012_validation_ground_truth.txt", 2, "490")
    with pytest.raises(ValueError, match=rf"00000002.xml, line 13: .*, which is {SNAKE} by .*devkit_t12"):
        imagenet(root)


def test_labels_of_the_devkit_go_by_the_number_in_the_name(root):
    make_val_xml(flat(root) / "bbox_val")
    make_devkit(root)
    (root / "ILSVRC/val/ILSVRC2012_val_00000001.JPEG").unlink()
    assert imagenet(root).test.class_ids.tolist() == [0, 0, 1]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("490\n449\n3\n", r"gives .*00000004.JPEG no label of ILSVRC2012; download the development kit"),
        ("490\n449\nfish\n449\n490\n", r"ground_truth.txt, line 3: ILSVRC2012_ID 'fish' is not in meta.mat"),
        ("", r"ground_truth.txt is empty"),
        ("490\n1001\n3\n449\n490\n", r"gives .*00000002.JPEG no label of ILSVRC2012"),
    ],
)
def test_a_bad_devkit(root, monkeypatch, packed, truth, message):
    import imagenet_trees

    files = imagenet_trees.devkit_files()
    files["ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"] = truth.encode()
    monkeypatch.setattr(imagenet_trees, "devkit_files", lambda: files)
    make_val_xml(flat(root) / "bbox_val")
    make_devkit(root, packed)
    with pytest.raises(ValueError, match=message):
        imagenet(root)


def test_a_damaged_devkit(root):
    make_val_xml(flat(root) / "bbox_val")
    devkit = make_devkit(root)
    path = devkit / "data/meta.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"meta.mat cannot be read"):
        imagenet(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"meta.mat is missing"):
        imagenet(root)
    shutil.rmtree(devkit)
    packed = make_tar(root / "ILSVRC2012_devkit_t12.tar.gz", {"ILSVRC2012_devkit_t12/data/other.txt": b""})
    with pytest.raises(FileNotFoundError, match=r"holds no data/meta.mat"):
        imagenet(root)
    packed.write_bytes(packed.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"ILSVRC2012_devkit_t12.tar.gz cannot be read"):
        imagenet(root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_that_is_no_wnid(root, split):
    make_val_xml(sorted_val(root) / "bbox_val")
    write_image(root / split / "n00000000" / "a.JPEG")
    with pytest.raises(ValueError, match=rf"{split} holds (the )?folder 'n00000000', which is no wnid"):
        imagenet(root)


def test_images_outside_of_class_folders(root):
    make_val_xml(sorted_val(root) / "bbox_val")
    write_image(root / "val" / "ILSVRC2012_val_00000009.JPEG")
    with pytest.raises(ValueError, match=r"val holds images both in class folders and outside"):
        imagenet(root)
    write_image(root / "train" / f"{TENCH}_99.JPEG")
    with pytest.raises(ValueError, match=r"train holds images outside of class folders; move it elsewhere"):
        imagenet(root)


def test_a_val_without_any_class_of_train(root):
    make_val_xml(sorted_val(root) / "bbox_val")
    for wnid in (TENCH, SNAKE):
        shutil.rmtree(root / "val" / wnid)
    with pytest.raises(ValueError, match=r"val holds no image of a class that has images in train/"):
        imagenet(root)


class TestWithoutTraining:
    """A network that is scored as it is needs the validation images alone."""

    def test_val_alone_gives_its_classes(self, tmp_path):
        make_val(tmp_path / "ILSVRC", flat=True)
        make_field_metadata(tmp_path / "metadata/ILSVRC/test")
        with pytest.raises(FileNotFoundError, match=r"holds val/ but no train/"):
            imagenet(tmp_path, val="test:0.5", **SIZES)
        splits = imagenet(tmp_path, val="test:0.5", with_train=False, **SIZES)
        assert [name.split()[0] for name in splits.class_names] == [TENCH, SNAKE, POT]
        assert len(splits.train) == 0
        scored, held = list(splits.test.image_ids), list(splits.val.image_ids)
        assert sorted(scored + held) == [f"val/{val_name(number)}.JPEG" for number in VAL]
        assert scored
        assert held
        for index in range(len(splits.test)):
            sample = splits.test[index]
            wnid = VAL[int(sample.image_id.split("_")[-1].split(".")[0])][0]
            assert splits.class_names[sample.class_id].startswith(wnid)

    def test_v2_chooses_thresholds_where_it_is(self, root):
        make_val(root / "ILSVRC", flat=False)
        make_val_csv(root / "LOC_val_solution.csv")
        splits = imagenet(root, with_train=False, **SIZES)
        assert len(splits.val) == 2 * 3
        assert len(splits.test) == len(VAL)
        assert splits.val[0].class_id == 0

    def test_a_wrong_val(self, root):
        with pytest.raises(ValueError, match=r"data.val must be test:FRACTION, like test:0.2, got 'test:half'"):
            imagenet(root, val="test:half", **SIZES)
