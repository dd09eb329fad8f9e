import logging

import numpy as np
import pytest
from PIL import Image

from metadata_trees import make_boxes, make_masks, write_mask
from wsol.data.ground_truth import IGNORED, OBJECT
from wsol.data.masks import MaskFiles
from wsol.data.readers.openimages import openimages


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    make_masks(tmp_path / "data")
    return tmp_path / "data"


def load_all(root, **settings):
    splits = openimages(root, image_size=20, train_size=24, **settings)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


def test_masks_and_no_boxes(root):
    splits = load_all(root)
    assert splits.name == "openimages"
    assert splits.class_names == ("01226z", "0bt_c3")
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [4, 2, 2]
    assert splits.val.image_ids == ["val/01226z/val0.jpg", "val/0bt_c3/val0.jpg"]
    entry = splits.test.entries[0]
    assert entry.boxes.shape == (0, 4)
    assert [path.name for path in entry.mask_paths] == ["test0_m01226z_a.png", "test0_m01226z_b.png"]
    assert entry.ignore_path == root / "OpenImages" / "test" / "01226z" / "test0_ignore.png"
    assert entry.mask_above == 0.5
    assert splits.test.entries[1].ignore_path is None
    assert splits.train[0].mask is None


def test_objects_are_joined_in_one_mask(root):
    mask = load_all(root).test[0].mask
    assert mask.shape == (20, 20)
    # (0, 0, 10, 10) and (20, 10, 40, 30) of 40 x 30 on 20 x 20: columns by 1/2, rows by 2/3
    assert mask[:6, :5].all()
    assert mask[7:, 10:].all()
    assert not mask[:6, 6:].any()
    assert not mask[8:, :9].any()


def test_masks_of_0_and_1_and_of_twice_the_resolution_are_read(root):
    mask = load_all(root).test[1].mask
    # (20, 20, 60, 40) of 80 x 60 on 20 x 20: 5 ... 15 by 20/3 ... 40/3
    assert mask[8:13, 5:15].all()
    assert mask.sum() == mask[6:14, 5:15].sum()


def test_the_files_give_objects_and_ignored_regions_to_scores(root):
    entry = load_all(root).val.entries[0]
    mask = MaskFiles([entry.mask_paths], [entry.ignore_path], entry.mask_above).read(0, (30, 40))
    assert (mask == OBJECT).sum() == 10 * 10 + 20 * 20
    assert (mask == IGNORED).sum() == 15 * 15 - 5 * 5  # what is on the object is not ignored
    assert (mask[5:20, 10:20] == IGNORED).all()


def test_the_log_says_where_masks_come_from(root, caplog):
    caplog.set_level(logging.INFO)
    openimages(root)
    listed = root / "metadata" / "OpenImages" / "val" / "localization.txt"
    assert f"2 images, 3 masks in {root / 'OpenImages'} and 1 ignored regions, listed in {listed}" in caplog.text


def test_a_mask_that_is_not_in_its_images_proportion_is_named(root):
    write_mask(root / "OpenImages" / "test" / "01226z" / "test0_m01226z_b.png", (0, 0, 5, 5), 30, 40)
    with pytest.raises(ValueError, match=r"test0_m01226z_b.png has 30 x 40 pixels, .* its image's 40 x 30"):
        load_all(root)


def test_sides_that_were_rounded_are_in_proportion(root):
    """As those of Open Images' 00802057aa93bcae: the image has 1024 x 684 pixels, its mask 1600 x 1068."""
    Image.new("RGB", (1024, 684)).save(root / "OpenImages" / "test" / "0bt_c3" / "test0.jpg")
    write_mask(root / "OpenImages" / "test" / "0bt_c3" / "test0_m0bt_c3_c.png", (0, 0, 800, 1068), 1600, 1068)
    mask = load_all(root).test[1].mask
    np.testing.assert_array_equal(mask.mean(axis=0), [1.0] * 10 + [0.0] * 10)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("val/01226z/val0_m01226z_a.png", r"1 of the 4 masks of OpenImages's val are missing .*val0_m01226z_a.png"),
        ("val/01226z/val0_m01226z_b.png", r"1 of the 4 masks of OpenImages's val are missing .*val0_m01226z_b.png"),
        ("val/01226z/val0_ignore.png", r"1 of the 4 masks of OpenImages's val are missing .*val0_ignore.png"),
        ("test/0bt_c3/test0.jpg", r"1 of the 2 images of OpenImages's test are missing"),
        ("train/0bt_c3/train0.jpg", r"1 of the 4 images of OpenImages's train are missing"),
    ],
)
def test_missing_files_are_counted_and_the_first_is_named(root, file, message):
    (root / "OpenImages" / file).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        openimages(root)


def test_boxes_are_not_taken_for_masks(tmp_path):
    make_boxes(tmp_path, "OpenImages")
    with pytest.raises(
        ValueError, match=r"val/localization.txt, line 1: val of OpenImages has boxes, .* data=metadata"
    ):
        openimages(tmp_path)


def test_a_missing_root_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No text files of OpenImages in .*nowhere"):
        openimages(tmp_path / "nowhere")
