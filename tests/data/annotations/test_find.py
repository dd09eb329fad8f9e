import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imagenet_trees import HEIGHT, SNAKE, TENCH, VAL, WIDTH, make_val_tar, make_val_xml, val_name
from trees import make_cub, make_tiny_imagenet
from wsol.data.annotations.find import find_truth
from wsol.data.decode import read_size
from wsol.data.ground_truth import OBJECT


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
    with pytest.raises(ValueError, match="set --split test"):
        find_truth(tmp_path / "predictions-test.parquet", "val")


def test_coco_boxes_alone(tmp_path):
    images = [
        {"id": 1, "file_name": "a/one.jpg", "width": 40, "height": 30},
        {"id": 2, "file_name": "two.jpg", "width": 20, "height": 10},
        {"id": 3, "file_name": "bare.jpg", "width": 20, "height": 10},
    ]
    boxes = [(1, 7, [4, 6, 20, 10]), (1, 7, [0, 0, 2, 2]), (2, 7, [1, 1, 3, 3]), (2, 9, [5, 5, 3, 3])]
    document = {
        "images": images,
        "categories": [{"id": 7, "name": "dog"}, {"id": 9, "name": "cat"}],
        "annotations": [
            {"id": place, "image_id": image, "category_id": category, "bbox": box}
            for place, (image, category, box) in enumerate(boxes)
        ],
    }
    path = tmp_path / "all.json"
    path.write_text(json.dumps(document))
    truth = find_truth(path, "test")
    assert truth.image_ids.tolist() == ["a/one.jpg", "two.jpg"]
    assert truth.class_names == ("cat", "dog")
    assert truth.class_ids.tolist() == [1, -1]  # boxes of two categories tell no class
    assert truth.boxes[0].tolist() == [[4, 6, 24, 16], [0, 0, 2, 2]]
    assert truth.sizes.tolist() == [[30, 40], [10, 20]]
    del images[1]["width"], images[1]["height"]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"has no width and height; add them, or give --images"):
        find_truth(path, "test")
    crowds = [{**one, "iscrowd": 1} for one in document["annotations"]]
    (tmp_path / "none.json").write_text(json.dumps({**document, "annotations": crowds}))
    with pytest.raises(ValueError, match=r"none\.json holds no box"):
        find_truth(tmp_path / "none.json", "test")


@pytest.mark.parametrize("make", [make_val_xml, make_val_tar])
def test_ilsvrcs_xml_alone(tmp_path, monkeypatch, make):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    truth = find_truth(make(tmp_path / ("xml" if make is make_val_xml else "bbox_val.tgz")), "test")
    assert truth.image_ids.tolist() == [val_name(number) for number in sorted(VAL)]
    wnid, boxes = VAL[min(VAL)]
    assert truth.class_names[truth.class_ids[0]].startswith(wnid)
    assert truth.boxes[0].tolist() == [list(box) for box in boxes]
    assert truth.size(0) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("number", "text", "other", "message"),
    [
        (1, SNAKE, "n00000000", r"00000001\.xml, line 13: the object 'n00000000' is no wnid of ILSVRC2012"),
        (2, TENCH, SNAKE, r"00000002\.xml, line 13: the objects are of several classes"),
        (3, "<width>40</width>", "<width>0</width>", r"00000003\.xml, line 13: the size of the image is missing"),
        (4, "<xmax>39</xmax>", "<xmax>-2</xmax>", r"00000004\.xml"),
    ],
)
def test_ilsvrcs_xml_that_cannot_be_is_named(tmp_path, monkeypatch, number, text, other, message):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    folder = make_val_xml(tmp_path / "xml")
    path = folder / f"{val_name(number)}.xml"
    path.write_text(path.read_text().replace(text, other, 1))
    with pytest.raises(ValueError, match=message):
        find_truth(folder, "test")


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
