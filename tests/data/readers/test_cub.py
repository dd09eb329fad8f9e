import logging

import numpy as np
import pytest

from metadata_trees import make_cubv2, write_split
from trees import REAL, edit, make_cub
from wsol.data.missing_files import MissingFiles
from wsol.data.readers.cub import cub


def load_all(root, **settings):
    """Index and decode everything, as a run does."""
    splits = cub(root, image_size=32, train_size=36, **settings)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


@pytest.fixture
def folder(tmp_path):
    return make_cub(tmp_path)


def test_reads_the_official_layout(folder):
    splits = load_all(folder.parent, val_fraction=0.25)
    assert splits.class_names == ("001.Albatross", "002.Auklet")  # the absent species is left out
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [6, 2, 4]
    sample = splits.test[0]
    assert sample.image_id == "001.Albatross/bird_0003.jpg"
    assert sample.image.shape == (32, 32, 3)
    # 10, 5, 20 x 20 in 40 x 30 pixels, as edges, on 32 x 32
    np.testing.assert_allclose(sample.boxes, [[8, 5 * 32 / 30, 24, 25 * 32 / 30]], rtol=1e-6)
    assert sample.mask[16, 16]
    assert not sample.mask[1, 1]
    assert list(sample.part_points) == ["left eye"]  # the tail is marked invisible
    np.testing.assert_allclose(sample.part_points["left eye"], [12 * 32 / 40, 8 * 32 / 30], rtol=1e-6)


def test_the_folder_itself_is_a_root_too(folder):
    assert cub(folder, image_size=32).fingerprint == cub(folder.parent, image_size=32).fingerprint


def test_training_sees_labels_alone(folder):
    sample = load_all(folder.parent).train[0]
    assert sample.image.shape == (36, 36, 3)
    assert sample.boxes.shape == (0, 4)
    assert sample.mask is None
    assert not sample.part_points


def test_works_without_masks_and_parts(folder):
    for path in [*folder.glob("segmentations/*/*.png"), *folder.glob("parts/*.txt")]:
        path.unlink()
    sample = load_all(folder.parent).test[0]
    assert sample.mask is None
    assert not sample.part_points


def test_a_missing_root_says_what_to_download_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No CUB-200-2011 at .*nowhere.*Download .*machine.data_root=FOLDER"):
        cub(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["images", "image_class_labels", "train_test_split", "bounding_boxes", "classes"])
def test_a_missing_list_is_named(folder, name):
    (folder / f"{name}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=name if name != "images" else "images.txt"):
        cub(folder)


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("bounding_boxes", 2, "2 10.0 5.0 20.0", r"bounding_boxes.txt, line 2: expected 5 fields, got 4"),
        ("bounding_boxes", 2, "2 ten 5 20 20", r"bounding_boxes.txt, line 2: expected numbers"),
        ("bounding_boxes", 2, "2 nan 5 20 20", r"bounding_boxes.txt, line 2: expected finite numbers"),
        ("bounding_boxes", 2, "1 10 5 20 20", r"bounding_boxes.txt, line 2: '1' is given a second time"),
        ("bounding_boxes", 2, None, r"images.txt, line 2: image 2 is missing from bounding_boxes.txt"),
        ("bounding_boxes", 2, "2 10.0 5.0 0.0 20.0", r"bounding_boxes.txt, line 2: the box .* is empty"),
        ("bounding_boxes", 2, "2 45.0 5.0 20.0 20.0", r"bounding_boxes.txt, line 2: .* nothing inside the image"),
        ("train_test_split", 2, "2 yes", r"train_test_split.txt, line 2: expected 1 \(train\) or 0 \(test\)"),
        ("image_class_labels", 2, "2 77", r"image_class_labels.txt, line 2: class '77' is not in classes.txt"),
        ("images", 2, "2", r"images.txt, line 2: expected 2 fields, got 1"),
        ("images", 2, "2 001.Albatross/gone.jpg", r"images.txt: 1 of 12 images is missing: .*gone.jpg; unpack"),
        ("images", 2, "2 001.Albatross/bird_0001.jpg", r"'001.Albatross/bird_0001.jpg' occurs twice"),
        ("parts/part_locs", 1, "1 9 12.0 8.0 1", r"part_locs.txt, line 1: part '9' is not in parts.txt"),
    ],
)
def test_a_bad_line_is_named_with_file_and_remedy(folder, name, line, text, message):
    edit(folder / f"{name}.txt", line, text)
    if name == "bounding_boxes" and text and ("0.0 20.0" in text or text.startswith("2 45")):
        edit(folder / "train_test_split.txt", 2, "2 0")  # boxes of training images are not even read
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_all(folder)


def test_a_truncated_image_is_named(folder):
    path = folder / "images" / "001.Albatross" / "bird_0001.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"bird_0001.jpg cannot be decoded .* unpack its archive again"):
        load_all(folder)


def test_a_mask_of_another_size_is_named(folder):
    from PIL import Image

    Image.new("L", (7, 7)).save(folder / "segmentations" / "001.Albatross" / "bird_0003.png")
    with pytest.raises(ValueError, match=r"bird_0003.png is \(7, 7\), its image \(30, 40\)"):
        load_all(folder)


def test_a_class_without_training_image_is_named(folder):
    for number in range(1, 7):
        edit(folder / "train_test_split.txt", number, f"{number} 0")
    with pytest.raises(ValueError, match=r"1 of 2 classes have no training image, first '001.Albatross'"):
        cub(folder)


@pytest.mark.data
@pytest.mark.skipif(not (REAL / "CUB_200_2011").is_dir(), reason="no CUB-200-2011 under WSOL_DATA_ROOT")
def test_the_real_set():
    splits = cub(REAL)
    splits.test.preload()
    boxes = np.concatenate([sample.boxes for sample in (splits.test[i] for i in range(len(splits.test)))])
    assert len(boxes) == len(splits.test)
    assert (boxes[:, 2:] - boxes[:, :2] > 5).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 224


class TestCubv2:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))

    @pytest.mark.parametrize("images", ["CUBV2", "CUB", "CUB_200_2011/images"])
    def test_is_val_and_nothing_is_held_out_of_train(self, folder, images):
        make_cubv2(folder.parent, images)
        splits = load_all(folder.parent, val="cubv2")
        assert [len(one) for one in (splits.train, splits.val, splits.test)] == [8, 4, 4]
        assert splits.val.image_ids[2:] == ["002.Auklet/10.jpg", "002.Auklet/11.jpg"]  # the absent species is left out
        assert splits.val.class_ids.tolist() == [0, 0, 1, 1]
        # 5, 4, 25, 16 as edges in 50 x 20 pixels, on 32 x 32
        np.testing.assert_allclose(splits.val[0].boxes, [[3.2, 6.4, 16, 25.6]], rtol=1e-6)
        assert splits.val.entries[3].origin.endswith("metadata/CUB/val/localization.txt, line 4")
        assert splits.val.entries[3].size == (20, 50)

    def test_without_it_val_is_as_ever(self, folder):
        before = cub(folder.parent, image_size=32).fingerprint
        make_cubv2(folder.parent)
        assert cub(folder.parent, image_size=32).fingerprint == before

    def test_the_folder_of_cub_is_a_root_too(self, folder):
        make_cubv2(folder.parent)
        assert len(load_all(folder, val="cubv2").val) == 4

    @pytest.mark.parametrize("given", ["texts", "texts/CUB", "texts/CUB/val"])
    def test_its_texts_may_be_elsewhere(self, folder, given):
        make_cubv2(folder.parent)
        (folder.parent / "metadata").rename(folder.parent / "texts")
        assert len(load_all(folder.parent, val="cubv2", metadata=folder.parent / given).val) == 4
        assert len(load_all(folder.parent, val="cubv2", metadata=given).val) == 4

    def test_species_can_be_chosen(self, folder):
        make_cubv2(folder.parent)
        splits = load_all(folder.parent, val="cubv2", classes=["Auklet"])
        assert splits.val.image_ids == ["002.Auklet/10.jpg", "002.Auklet/11.jpg"]

    def test_the_log_says_where_boxes_come_from(self, folder, caplog):
        caplog.set_level(logging.INFO)
        texts = make_cubv2(folder.parent)
        cub(folder.parent, val="cubv2")
        assert f"boxes of test are those of {folder / 'bounding_boxes.txt'}" in caplog.text
        assert f"4 images in {folder.parent / 'CUBV2'} of 2 species" in caplog.text
        assert f"its boxes are those of {texts / 'localization.txt'}" in caplog.text

    def test_missing_boxes_say_how_to_get_them(self, folder):
        with pytest.raises(FileNotFoundError, match=r"No boxes of CUBV2 in .*data.py fetch cubv2_boxes"):
            cub(folder.parent, val="cubv2")

    def test_missing_images_say_how_to_get_them(self, folder):
        make_cubv2(folder.parent, None)
        with pytest.raises(FileNotFoundError, match=r"001.Albatross/0.jpg of CUBV2 is not in .* Download CUBV2.tar"):
            cub(folder.parent, val="cubv2")

    def test_a_missing_image_is_counted(self, folder):
        make_cubv2(folder.parent)
        (folder.parent / "CUBV2" / "002.Auklet" / "11.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of the 4 images of CUBV2 are missing .* 002.Auklet/11.jpg"):
            cub(folder.parent, val="cubv2")

    def test_the_first_image_may_be_among_the_missing(self, folder):
        make_cubv2(folder.parent)
        gone = sorted((folder.parent / "CUBV2").rglob("*.jpg"))[:2]
        for path in gone:
            path.unlink()
        with pytest.raises(MissingFiles, match=r"2 of the 4 images of CUBV2 are missing") as found:
            cub(folder.parent, val="cubv2")
        assert found.value.paths == gone

    def test_a_label_of_two_species_is_named(self, folder):
        texts = make_cubv2(folder.parent)
        edit(texts / "class_labels.txt", 3, "002.Auklet/10.jpg,0")
        with pytest.raises(ValueError, match=r"class 0 has images of 001.Albatross and of 002.Auklet"):
            cub(folder.parent, val="cubv2")

    def test_other_species_alone_are_no_val(self, folder):
        write_split(folder.parent / "metadata" / "CUB" / "val", {"009.Crow/1.jpg": 0}, None, ["009.Crow/1.jpg,1,1,9,9"])
        with pytest.raises(ValueError, match=r"no image of the 2 species"):
            cub(folder.parent, val="cubv2")

    def test_another_val_is_refused(self, folder):
        with pytest.raises(ValueError, match=r"data.val must be null .* cubv2 or test:FRACTION, got 'cubv3'"):
            cub(folder.parent, val="cubv3")


def test_training_images_may_be_missing_where_nothing_trains(folder):
    for line in (folder / "train_test_split.txt").read_text().splitlines():
        number, is_train = line.split()
        for image in (folder / "images").rglob(f"bird_{int(number):04d}.jpg") if is_train == "1" else ():
            image.unlink()
    with pytest.raises(MissingFiles):
        load_all(folder.parent)
    splits = load_all(folder.parent, val="test:0.4", with_train=False)
    assert len(splits.train) == 0
    assert len(splits.val) + len(splits.test) == 4
