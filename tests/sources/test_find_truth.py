import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trees import make_cub, make_tiny_imagenet

from wsol.decode import read_size
from wsol.sources.find_truth import find_truth
from wsol.truth import OBJECT


def test_cubs_own_files(tmp_path):
    folder = make_cub(tmp_path)
    for source in (tmp_path, folder):
        truth = find_truth(source, "test")
        assert len(truth) == 4
        assert truth.sizes.tolist() == [[30, 40]] * 4
        assert truth.boxes[0].tolist() == [[10, 5, 30, 25]]
        assert truth.class_names == ("001.Albatross", "002.Auklet")
    assert truth.image_ids[0].startswith("001.Albatross/")
    assert (truth.read_mask(0, (30, 40)) == OBJECT).sum() == 20 * 20


def test_without_every_segmentation_there_are_no_masks(tmp_path):
    folder = make_cub(tmp_path)
    image_id = find_truth(folder, "test").image_ids[2]
    (folder / "segmentations" / image_id).with_suffix(".png").unlink()
    assert find_truth(folder, "test").read_mask is None


def test_tiny_imagenet(tmp_path):
    truth = find_truth(make_tiny_imagenet(tmp_path), "test")
    assert truth.sizes.tolist() == [[64, 64]] * len(truth)
    assert truth.has_boxes


def test_a_split_for_training_has_no_boxes(tmp_path):
    with pytest.raises(ValueError, match="'train' of cub is for training"):
        find_truth(make_cub(tmp_path), "train")


def test_predictions_of_a_run(tmp_path):
    frame = pd.DataFrame({"image_id": ["a"], "class_id": [3], "boxes": [np.float32([0, 0, 5, 6])]})
    frame.attrs = {"size": [8, 9]}
    frame.to_parquet(tmp_path / "predictions-test.parquet")
    truth = find_truth(tmp_path / "predictions-test.parquet", "test")
    assert truth.size(0) == (8, 9)
    assert truth.boxes[0].tolist() == [[0, 0, 5, 6]]
    with pytest.raises(ValueError, match="say --split test"):
        find_truth(tmp_path / "predictions-test.parquet", "val")


@pytest.mark.parametrize("source", ["", "nothing", "nothing.csv", "nothing.parquet"])
def test_nothing_there_says_so(tmp_path, source):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        find_truth(tmp_path / source, "test")


def test_sizes_come_from_the_heads_of_images_as_they_are_shown(tmp_path):
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "upright.jpg")
    assert read_size(tmp_path / "turned.jpg") == (40, 30)
    assert read_size(tmp_path / "upright.jpg") == (30, 40)
    (tmp_path / "none.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"none\.jpg cannot be read"):
        read_size(tmp_path / "none.jpg")
