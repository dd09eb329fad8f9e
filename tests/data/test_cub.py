import numpy as np
import pytest
from trees import REAL, edit, make_cub

from wsol.data.cub import cub


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
        ("bounding_boxes", 2, "2 30.0 5.0 20.0 20.0", r"bounding_boxes.txt, line 2: .* reaches 10 pixels out"),
        ("train_test_split", 2, "2 yes", r"train_test_split.txt, line 2: expected 1 \(train\) or 0 \(test\)"),
        ("image_class_labels", 2, "2 77", r"image_class_labels.txt, line 2: class '77' is not in classes.txt"),
        ("images", 2, "2", r"images.txt, line 2: expected 2 fields, got 1"),
        ("images", 2, "2 001.Albatross/gone.jpg", r"images.txt, line 2: image .*gone.jpg is missing"),
        ("images", 2, "2 001.Albatross/bird_0001.jpg", r"'001.Albatross/bird_0001.jpg' comes twice"),
        ("parts/part_locs", 1, "1 9 12.0 8.0 1", r"part_locs.txt, line 1: part '9' is not in parts.txt"),
    ],
)
def test_a_bad_line_is_named_with_file_and_remedy(folder, name, line, text, message):
    edit(folder / f"{name}.txt", line, text)
    if name == "bounding_boxes" and text and ("0.0 20.0" in text or text.startswith("2 30")):
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
    with pytest.raises(ValueError, match=r"class '001.Albatross' has no training image"):
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
