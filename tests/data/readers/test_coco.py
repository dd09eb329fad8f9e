import json
import logging

import numpy as np
import pytest

from trees import write_image
from wsol.data.readers.coco import coco

CAT, DOG = 7, 3  # any ids


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


def document(root, prefix="", count=4):
    """Images of 40 x 30 pixels, cats and dogs by turns, with a box each; and their files."""
    images, annotations = [], []
    for place in range(2 * count):
        name = f"deep/{prefix}{place} \u00fc.png"
        write_image(root / "images" / name, 40, 30, seed=place)
        images.append({"id": 100 + place, "file_name": name, "width": 40, "height": 30})
        annotations.append(
            {"id": place, "image_id": 100 + place, "category_id": (CAT, DOG)[place % 2], "bbox": [4, 6, 16, 9]}
        )
    categories = [{"id": DOG, "name": "dog"}, {"id": CAT, "name": "cat"}, {"id": 9, "name": "unused"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(root, content, name="all"):
    path = root / f"{name}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(root, content=None, **settings):
    if content is not None:
        settings["annotations"] = write(root, content)
    splits = coco(root / "images", **settings, image_size=32, train_size=36)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


def sizes(splits):
    return [len(one) for one in (splits.train, splits.val, splits.test)]


def test_one_file_is_split_by_seed(tmp_path):
    splits = read(tmp_path, document(tmp_path))
    assert splits.name == "coco"
    assert splits.class_names == ("cat", "dog")  # a category without box is no class
    assert sizes(splits) == [4, 2, 2]
    entry = splits.test.entries[0]
    assert entry.boxes.tolist() == [[4, 6, 20, 15]]
    assert entry.size == (30, 40)
    assert entry.image_id.startswith("deep/")
    assert "all.json, image 10" in entry.origin
    np.testing.assert_allclose(splits.test[0].boxes, [[4 * 0.8, 6 * 32 / 30, 20 * 0.8, 15 * 32 / 30]], rtol=1e-6)


def test_a_file_a_split_with_ids_of_its_own(tmp_path):
    test = document(tmp_path, "t")
    for one, new in (("images", None), ("categories", {"cat": 0, "dog": 1, "unused": 2})):
        for record in test[one]:
            record["id"] = f"x{record['id']}" if new is None else new[record["name"]]
    for annotation in test["annotations"]:
        annotation["image_id"] = f"x{annotation['image_id']}"
        annotation["category_id"] = int(annotation["category_id"] == DOG)
    files = {
        "train": write(tmp_path, document(tmp_path, "r"), "train"),
        "test": write(tmp_path, test, "test"),
    }
    splits = read(tmp_path, **files)
    assert sizes(splits) == [6, 2, 8]
    assert splits.test.class_ids.tolist() == [0, 1] * 4
    files["val"] = write(tmp_path, document(tmp_path, "v"), "val")
    assert sizes(read(tmp_path, **files)) == [8, 8, 8]


def test_a_folder_a_split(tmp_path):
    files = {split: write(tmp_path / split, document(tmp_path / split), split) for split in ("train", "test")}
    folders = {split: tmp_path / split / "images" for split in files}
    splits = coco(folders, **files, image_size=32, train_size=36)
    assert sizes(splits) == [6, 2, 8]  # files of the same names in both
    assert splits.test.image_ids[0].startswith("test/deep/0")
    with pytest.raises(ValueError, match="images names a folder for train, but none for test"):
        coco({"train": folders["train"]}, **files)
    with pytest.raises(ValueError, match="images: expected the split train, val or test, got 'valid'"):
        coco({"valid": folders["train"]}, **files)


def test_an_image_of_two_splits_is_named(tmp_path):
    files = {split: write(tmp_path, document(tmp_path), split) for split in ("train", "test")}
    with pytest.raises(ValueError, match=r"0 \u00fc.png is an image of both .*train.json and .*test.json"):
        read(tmp_path, **files)


def test_crowds_flat_boxes_and_images_without_annotation_are_left_out_and_said(tmp_path, caplog):
    content = document(tmp_path, count=5)
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["bbox"] = [4, 6, 16, 0]
    with caplog.at_level(logging.INFO):
        splits = read(tmp_path, content)
    assert sum(sizes(splits)) == 8
    assert "1 annotations of crowds (iscrowd=1) are left out" in caplog.text
    assert "1 boxes without area are left out, the first is that of" in caplog.text
    assert "all.json, annotation 1" in caplog.text
    assert "2 images without annotation have no label and are left out" in caplog.text
    assert "10 images, 8 boxes of 2 categories; 8 images have a label" in caplog.text


def test_images_of_several_categories(tmp_path):
    content = document(tmp_path)
    content["annotations"].append({"id": 50, "image_id": 100, "category_id": DOG, "bbox": [0, 0, 40, 30]})
    with pytest.raises(
        ValueError, match=r"all.json: 1 of 8 images have boxes of several classes, first deep/0 .*several="
    ):
        read(tmp_path, content)
    entries = [*(splits := read(tmp_path, content, several="largest")).annotated_train]
    entries += [*splits.val.entries, *splits.test.entries]
    (entry,) = [one for one in entries if one.image_id.startswith("deep/0")]
    assert (entry.class_id, entry.boxes.tolist()) == (1, [[0, 0, 40, 30]])
    assert sum(sizes(read(tmp_path, content, several="skip"))) == 7


def test_polygons_are_passed_over(tmp_path):
    content = document(tmp_path)
    for annotation in content["annotations"]:
        annotation |= {"segmentation": [[1, 2, 3, 4, 5, 6]], "iscrowd": 0, "area": 9}
    assert sum(sizes(read(tmp_path, content))) == 8


def broken(key, place, **values):
    def change(content):
        content[key][place] |= values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken("annotations", 2, image_id=55), r"annotation 2: its image_id 55 is not among the images"),
        (broken("annotations", 2, category_id=55), r"annotation 2: its category_id 55 is not among the categories"),
        (broken("annotations", 2, id=1), r"annotation 1: the id is given a second time"),
        (broken("annotations", 2, bbox=[1, 2, 3]), r"annotation 2: expected bbox \[x, y, width, height\]"),
        (broken("annotations", 2, bbox=[1, 2, "3", 4]), r"annotation 2: expected bbox"),
        (broken("annotations", 2, bbox=[1, 2, float("nan"), 4]), r"annotation 2: expected bbox"),
        (broken("annotations", 2, bbox=None), r"annotation 2: expected bbox"),
        (broken("annotations", 2, bbox=[9, 9, -3, 4]), r"annotation 2: its bbox .* has a negative side"),
        (broken("images", 2, id=101), r"image 101: the id is given a second time"),
        (broken("images", 2, id=None), r"image None: expected an id"),
        (broken("images", 2, file_name="deep/0 \u00fc.png"), r"image 102: has the file_name .* of another image"),
        (broken("images", 2, file_name=""), r"image 102: has no file_name"),
        (broken("images", 2, file_name="../0.png"), r"image 102: the path '../0.png' leaves the folder"),
        (broken("images", 2, width=0), r"image 102: expected width and height in whole pixels, got 0 and 30"),
        (broken("categories", 1, id=DOG), r"category 3: the id is given a second time"),
        (broken("categories", 1, name="dog"), r"category 7: has the name 'dog' of another category"),
        (broken("categories", 1, name=None), r"category 7: has no name"),
        (lambda content: content["images"].clear(), r"the list 'images' is empty"),
        (lambda content: content["annotations"].clear(), r"the list 'annotations' is empty"),
        (lambda content: content["categories"].clear(), r"the list 'categories' is empty"),
        (lambda content: content.pop("images"), r"the list 'images' is missing"),
        (lambda content: content["images"].append(5), r"number 9 of 'images' is no object, but 5"),
        (
            lambda content: [one.update(bbox=[0.1, 0.1, 0.5, 0.5]) for one in content["annotations"]],
            r"all coordinates of all 8 boxes lie in \[0, 1\], but are read as pixels",
        ),
    ],
)
def test_what_is_malformed_is_named_with_file_and_id(tmp_path, change, message):
    content = document(tmp_path)
    change(content)
    with pytest.raises(ValueError, match=r"all\.json.*" + message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "message"), [("{", r"all.json is not JSON \("), ("[]", "a list of boxes alone is a file of results")]
)
def test_what_is_no_coco_file_is_named(tmp_path, text, message):
    document(tmp_path)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_missing_images_are_counted(tmp_path):
    content = document(tmp_path)
    (tmp_path / "images" / content["images"][3]["file_name"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"all.json: 1 of 8 images are not in .*image 103\)"):
        read(tmp_path, content)


def test_an_image_of_another_size_is_named(tmp_path):
    content = document(tmp_path)
    for one in content["images"]:
        one["width"] = 50
    with pytest.raises(ValueError, match=r"the annotations state that .* has 50 x 30 pixels"):
        read(tmp_path, content)


def test_what_is_not_given_or_missing_says_what_to_do(tmp_path):
    path = write(tmp_path, document(tmp_path))
    with pytest.raises(ValueError, match=r"but neither is given\. Name the folder .*data.annotations=FILE.json"):
        read(tmp_path)
    with pytest.raises(ValueError, match="but both is given"):
        read(tmp_path, annotations=path, train=path)
    with pytest.raises(FileNotFoundError, match=r"Nothing is at .*none\.json\. Name the folder"):
        read(tmp_path, annotations=tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"Nothing is at .*nowhere\. Name the folder"):
        coco(tmp_path / "nowhere", path)
    with pytest.raises(ValueError, match="has train, but no test"):
        read(tmp_path, train=path)
