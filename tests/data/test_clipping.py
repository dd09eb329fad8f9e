"""Boxes against the sizes of their images, in every reader: clipped and counted, or refused before training starts."""

import json
import logging

import numpy as np
import pytest

from imagenet_trees import (
    TENCH,
    VAL,
    make_kaggle,
    make_torchvision,
    make_train_csv,
    make_val_csv,
    val_name,
    write,
    xml,
)
from metadata_trees import make_boxes, make_cubv2
from trees import REAL, edit, make_cub, make_tiny_imagenet, write_image
from wsol.data.annotations.find import find_truth
from wsol.data.clipping import clip, clip_split, reach_out
from wsol.data.readers.coco import coco
from wsol.data.readers.cub import cub
from wsol.data.readers.folder import folder
from wsol.data.readers.imagenet import imagenet
from wsol.data.readers.metadata import metadata
from wsol.data.readers.synthetic import synthetic
from wsol.data.readers.tiny_imagenet import tiny_imagenet
from wsol.data.readers.voc import voc
from wsol.geometry import clip_boxes, overhangs
from wsol.machine import Machine
from wsol.maps.methods.cam import CAM
from wsol.networks.pooling.gap import GAP
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.pipeline import run_experiment
from wsol.scoring.boxes.largest import largest
from wsol.scoring.score import Score
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.training.train import TrainSettings

SIZES = {"image_size": 16, "train_size": 16}
EVALUATION = Evaluation(
    maps={"cam": CAM()},
    boxes={"largest": largest},
    scores={"max_box_acc": Score(max_box_acc, "largest", "oracle")},
    thresholds=(0.2, 0.5),
)


class TestClip:
    BOXES = ((2, 3, 20, 15), (-3, 5, 45, 31.5), (0, 0, 40, 30))

    def test_edges_end_at_width_and_height(self):
        assert clip_boxes(self.BOXES, (30, 40)).tolist() == [[2, 3, 20, 15], [0, 5, 40, 30], [0, 0, 40, 30]]
        assert overhangs(self.BOXES, (30, 40)).tolist() == [0, 5, 0]
        assert clip_boxes([], (30, 40)).shape == (0, 4)
        assert overhangs([], (30, 40)).shape == (0,)

    def test_every_box_may_have_a_size_of_its_own(self):
        sizes = np.array([[10, 10], [30, 44], [29, 40]])
        assert clip_boxes(self.BOXES, sizes).tolist() == [[2, 3, 10, 10], [0, 5, 44, 30], [0, 0, 40, 29]]
        assert overhangs(self.BOXES, sizes).tolist() == [10, 3, 1]

    def test_the_same_pixels_as_inclusive_coordinates_clipped_to_the_last_pixel(self):
        generator = np.random.default_rng(0)
        for _ in range(100):
            (x0, y0), (width, height) = generator.integers(-5, 12, 2), generator.integers(1, 20, 2)
            columns, rows = np.arange(x0, x0 + width), np.arange(y0, y0 + height)
            inside = columns[(columns >= 0) & (columns <= 11)], rows[(rows >= 0) & (rows <= 8)]
            if not all(map(len, inside)):
                continue
            expected = [inside[0][0], inside[1][0], inside[0][-1] + 1, inside[1][-1] + 1]
            assert clip_boxes([[x0, y0, x0 + width, y0 + height]], (9, 12)).tolist() == [expected]

    def test_rounding_does_not_count(self):
        assert reach_out([[0, 0, 40.001, 30], [0, 0, 40.5, 30]], (30, 40)).tolist() == [False, True]

    @pytest.mark.parametrize(
        ("box", "what"),
        [
            ((40, 0, 45, 9), "has nothing inside the image"),
            ((-5, 0, 0, 9), "has nothing inside the image"),
            ((9, 31, 12, 33), "has nothing inside the image"),
            ((9, 9, 9, 12), "is empty"),
            ((9, 9, 12, 8), "is empty"),
        ],
    )
    def test_a_box_with_nothing_inside_is_named(self, box, what):
        boxes = [[0, 0, 5, 5], box, box]
        with pytest.raises(
            ValueError, match=rf"line 1: the box .* of image a1 {what}, which is 40 x 30, as 2 of 3 box"
        ):
            clip(boxes, (30, 40), "line {}".format, "a{}".format)


class TestLog:
    ENDS, IMAGES = np.array([0, 2, 2, 3]), np.array([[30, 40], [5, 5], [30, 40]])

    def log(self, caplog, boxes, ends=ENDS, sizes=IMAGES):
        with caplog.at_level(logging.INFO):
            clip_split("birds test", boxes, ends, sizes, "line {}".format, "image {}".format)
        return [(one.levelname, one.getMessage()) for one in caplog.records]

    def test_says_nothing_of_boxes_inside(self, caplog):
        assert self.log(caplog, [[0, 0, 40, 30]] * 3) == []

    def test_counts_boxes_and_images_in_one_line(self, caplog):
        boxes, ends = [[0, 0, 40, 30]] * 3000, np.arange(0, 3001, 2)
        boxes[6], boxes[7], boxes[100] = [0, 0, 41, 30], [-1, 0, 4, 30], [0, -7, 4, 30]
        counts = "3 of 3,000, in 2 images, by at most 7 pixels."
        expected = f"birds test: boxes that reach out of their image are clipped to it: {counts}"
        ((level, message),) = self.log(caplog, boxes, ends, np.array([[30, 40]] * 1500))
        assert (level, message) == ("INFO", expected)

    def test_warns_of_many(self, caplog):
        ((level, message),) = self.log(caplog, [[0, 0, 44, 30], [0, 0, 42, 30], [0, 0, 4, 30]])
        assert level == "WARNING"
        assert "clipped to it: 2 of 3, in 1 image, by at most 4 pixels. These are many" in message
        assert "check which convention the boxes follow" in message


# A box of an image of the test split, as edges, in each kind of annotation; and what names it.


def in_cub(root, box):
    x0, y0, x1, y1 = box
    edit(make_cub(root) / "bounding_boxes.txt", 3, f"3 {x0} {y0} {x1 - x0} {y1 - y0}")
    return cub(root, **SIZES), r"bounding_boxes.txt, line 3: .* of image 001.Albatross/bird_0003.jpg "


def in_cubv2(root, box):
    make_cub(root)
    edit(make_cubv2(root) / "localization.txt", 2, f"001.Albatross/1.jpg,{','.join(map(str, box))}")
    return cub(root, val="cubv2", **SIZES), r"val/localization.txt, line 2: .* of image 001.Albatross/1.jpg "


def in_tiny_imagenet(root, box):
    x0, y0, x1, y1 = box
    path = make_tiny_imagenet(root) / "val" / "val_annotations.txt"
    edit(path, 1, f"val_0.JPEG\tn01\t{x0}\t{y0}\t{x1 - 1}\t{y1 - 1}")
    return tiny_imagenet(root, **SIZES), r"val_annotations.txt, line 1: .* of image val/images/val_0.JPEG "


def in_metadata(root, box, sized=True):
    test = make_boxes(root) / "test"
    edit(test / "localization.txt", 2, f"001.Albatross/test_0.jpg,{','.join(map(str, box))}")
    if not sized:
        (test / "image_sizes.txt").write_text("")
    return metadata(root, "CUB", **SIZES), r"test/localization.txt, line 2: .* of image 001.Albatross/test_0.jpg "


def in_metadata_without_sizes(root, box):
    return in_metadata(root, box, sized=False)


def in_imagenet_xml(root, box):
    name, (wnid, boxes) = val_name(2), VAL[2]
    text = xml("val", name, wnid, [boxes[0], box])
    make_kaggle(root)
    write(root / f"ILSVRC/Annotations/CLS-LOC/val/{name}.xml", text)
    line = text[: text.rindex("<object>")].count("\n") + 1
    return imagenet(root, val="train", **SIZES), rf"{name}.xml, line {line}: .* of image val/{name}.JPEG "


def in_imagenet_csv(root, box):
    make_torchvision(root)
    make_train_csv(root / "LOC_train_solution.csv")
    path = make_val_csv(root / "LOC_val_solution.csv")
    edit(path, 5, f"{val_name(2)},{TENCH} 4 4 39 16 {TENCH} {' '.join(map(str, box))} ")
    return imagenet(root, val="train", **SIZES), rf"LOC_val_solution.csv, line 5: .* of image val/{val_name(2)}.JPEG "


def write_images(root, count=10):
    names = [f"{place}.png" for place in range(count)]
    for place, name in enumerate(names):
        write_image(root / "images" / name, 40, 30, seed=place)
    return names


def in_folder(root, box, size=""):
    rows = ["image,label,x0,y0,x1,y1,split" + (",width,height" if size else "")]
    for place, name in enumerate(write_images(root)):
        split = ("train", "train", "val", "test", "test")[place // 2]
        rows += [f"{name},{'ab'[place % 2]},4,6,20,15,{split}{size}"] * 2
    rows[-1] = f"9.png,b,{','.join(map(str, box))},test{size}"
    write(root / "boxes.csv", "".join(f"{row}\n" for row in rows))
    return folder(root / "images", root / "boxes.csv", **SIZES), r"boxes.csv, line 21: .* of image 9.png "


def in_folder_with_sizes(root, box):
    return in_folder(root, box, ",40,30")


def in_coco(root, box, sized=True):
    names, (x0, y0, x1, y1) = write_images(root), box
    size = {"width": 40, "height": 30} if sized else {}
    files = {}
    for split, places in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 10))):
        boxes = [(place, [4, 6, 16, 9]) for place in places]
        if split == "test":
            boxes.append((6, [x0, y0, x1 - x0, y1 - y0]))
        document = {
            "images": [{"id": place, "file_name": names[place], **size} for place in places],
            "annotations": [
                {"id": number, "image_id": place, "category_id": place % 2, "bbox": one}
                for number, (place, one) in enumerate(boxes)
            ],
            "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        }
        files[split] = write(root / f"{split}.json", json.dumps(document))
    return coco(root / "images", **files, **SIZES), r"test.json, annotation 4: .* of image 6.png "


def in_coco_without_sizes(root, box):
    return in_coco(root, box, sized=False)


def in_voc(root, box):
    x0, y0, x1, y1 = box
    for place, name in enumerate(write_images(root)):
        split = ("train", "train", "val", "test", "test")[place // 2]
        (root / split).mkdir(exist_ok=True)
        (root / "images" / name).rename(root / split / name)
        boxes = [(5, 7, 20, 15)] + ([(x0 + 1, y0 + 1, x1, y1)] if place == 6 else [])
        write(root / split / f"{place}.xml", xml(split, name, "ab"[place % 2], boxes))
    (root / "images").rmdir()
    return voc(root, **SIZES), r"test/6.xml, line 25: .* of image test/6.png "


READERS = {
    one.__name__.removeprefix("in_"): one
    for one in (
        in_cub,
        in_cubv2,
        in_tiny_imagenet,
        in_metadata,
        in_metadata_without_sizes,
        in_imagenet_xml,
        in_imagenet_csv,
        in_folder,
        in_folder_with_sizes,
        in_coco,
        in_coco_without_sizes,
        in_voc,
    )
}
SCORED_SCALE = {"tiny_imagenet": (64, 64), "cubv2": (50, 20)}  # width and height where they are not 40 x 30


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


def run(splits, results):
    """A run that may not come as far as its network."""

    def build():
        raise AssertionError("The network is built before the boxes are checked.")

    experiment = Experiment(
        data=splits.name,
        backbone="tiny",
        pooling="gap",
        seed=0,
        settings={"data": {}, "backbone": {}, "pooling": {}},
        train=TrainSettings(epochs=1, batch_size=4),
        image_size=16,
        pooling_layer=GAP(),
    )
    machine = Machine(results, accelerator="cpu", progress=False)
    return run_experiment(experiment, splits, build, EVALUATION, machine, command="test")


@pytest.mark.parametrize("reader", READERS)
def test_a_box_outside_its_image_ends_a_run_before_training(reader, tmp_path):
    width, height = SCORED_SCALE.get(reader, (40, 30))
    splits, place = READERS[reader](tmp_path / "data", (width, 3, width + 9, height))
    with pytest.raises(
        ValueError, match=rf"{place}has nothing inside the image, which is {width} x {height}; correct it"
    ):
        run(splits, tmp_path / "results")


@pytest.mark.parametrize("reader", READERS)
def test_a_box_that_reaches_out_is_clipped_and_counted_before_training(reader, tmp_path, caplog):
    width, height = SCORED_SCALE.get(reader, (40, 30))
    splits, _ = READERS[reader](tmp_path / "data", (5, 3, width + 9, height))
    with caplog.at_level(logging.INFO), pytest.raises(AssertionError, match="The network is built"):
        run(splits, tmp_path / "results")
    (message,) = [one.getMessage() for one in caplog.records if "reach out" in one.getMessage()]
    split = splits.val if reader == "cubv2" else splits.test
    assert message.startswith(f"{split.name}: boxes that reach out of their image are clipped to it: ")
    assert f": 1 of {len(split.entries.boxes)}, in 1 image, by at most 9 pixels." in message
    loaded = np.concatenate([split[place].boxes for place in range(len(split))])
    np.testing.assert_allclose(loaded[np.argmax(loaded[:, 2])], [5 * 16 / width, 3 * 16 / height, 16, 16], rtol=1e-6)


def test_a_hugging_face_row_is_clipped_and_refused_before_training(tmp_path, caplog):
    datasets = pytest.importorskip("datasets")
    from wsol.data.readers.hugging_face import hugging_face

    datasets.disable_progress_bars()
    images = [{"bytes": (tmp_path / "images" / name).read_bytes(), "path": None} for name in write_images(tmp_path)]

    def save(name, box):
        parts = {}
        for split, count in (("train", 8), ("test", 2)):
            rows = {
                "image": images[:count],
                "label": [n % 2 for n in range(count)],
                "boxes": [[[10, 5, 30, 25]] for _ in range(count)],
            }
            if split == "test":
                rows["boxes"][1] = [[10, 5, 30, 25], box]
            parts[split] = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        datasets.DatasetDict(parts).save_to_disk(str(tmp_path / name))
        return hugging_face(tmp_path / name, boxes_column="boxes", **SIZES)

    with caplog.at_level(logging.INFO), pytest.raises(AssertionError, match="The network is built"):
        run(save("out", [5, 3, 49, 30]), tmp_path / "results")
    assert "clipped to it: 1 of 3, in 1 image, by at most 9 pixels." in caplog.text
    with pytest.raises(ValueError, match=r"split 'test', row 1: the box \(40, .* of image test/1 has nothing inside"):
        run(save("outside", [40, 3, 49, 30]), tmp_path / "results")


def test_generated_birds_need_no_files(tmp_path, caplog):
    splits = synthetic(16, num_classes=2, train_images=2, val_images=2, test_images=2, cache_dir=tmp_path)
    splits.test.check_boxes()
    assert splits.test.sizes.tolist() == [[16, 16]] * 2
    assert "reach out" not in caplog.text


def test_boxes_are_checked_once_and_no_image_is_decoded(tmp_path, monkeypatch):
    splits, _ = in_cub(tmp_path, (10, 5, 30, 25))
    monkeypatch.setattr("wsol.data.image_set.read_image", None)
    splits.test.check_boxes()
    monkeypatch.setattr("wsol.data.image_set.read_size", None)
    splits.test.check_boxes()
    assert splits.test.sizes.tolist() == [[30, 40]] * 4


def test_boxes_of_training_images_are_not_even_read(tmp_path):
    path = make_cub(tmp_path) / "bounding_boxes.txt"
    for number in (1, 2, 4, 5):
        edit(path, number, f"{number} 50 5 20 20")
    splits = cub(tmp_path, val_fraction=0.1, **SIZES)
    splits.train.check_boxes()
    with pytest.raises(ValueError, match="nothing inside the image"):
        splits.val.check_boxes()


def test_clipping_leaves_the_fingerprint_as_it_was(tmp_path):
    first, _ = in_cub(tmp_path / "a", (10, 5, 44, 25))
    before = first.fingerprint
    first.test.check_boxes()
    assert first.fingerprint == before
    assert first.test.entries[0].boxes.tolist() == [[10, 5, 44, 25]]


# What score.py reads.


def csv_truth(root, box):
    rows = f"image,x0,y0,x1,y1,width,height\na,1,1,9,9,40,30\na,{','.join(map(str, box))},40,30\n"
    return write(root / "boxes.csv", rows), "boxes.csv, line 3: .* of image a "


def coco_truth(root, box):
    in_coco(root, box)
    return root / "test.json", "test.json, annotation 4: .* of image 6.png "


def metadata_truth(root, box):
    in_metadata(root, box)
    return root / "metadata" / "CUB", "test/localization.txt, line 2: .* of image 001.Albatross/test_0.jpg "


def xml_truth(root, box):
    _, place = in_imagenet_xml(root, box)
    return root / "ILSVRC/Annotations/CLS-LOC/val", place.replace("val/", "").replace(".JPEG", "")


def cub_truth(root, box):
    return root, in_cub(root, box)[1]


@pytest.mark.parametrize("make", [csv_truth, coco_truth, metadata_truth, xml_truth, cub_truth])
def test_ground_truth_is_clipped_and_counted(make, tmp_path, caplog):
    source, _ = make(tmp_path / "data", (5, 3, 49, 30))
    with caplog.at_level(logging.INFO):
        truth = find_truth(source, "test")
    assert [5, 3, 40, 30] in [box for boxes in truth.boxes for box in boxes.tolist()]
    (message,) = [one.getMessage() for one in caplog.records if "reach out" in one.getMessage()]
    assert ": 1 of " in message
    assert "in 1 image, by at most 9 pixels." in message


@pytest.mark.parametrize("make", [csv_truth, coco_truth, metadata_truth, xml_truth, cub_truth])
def test_ground_truth_outside_its_image_is_named(make, tmp_path):
    source, place = make(tmp_path / "data", (40, 3, 49, 30))
    with pytest.raises(ValueError, match=f"{place}has nothing inside the image, which is 40 x 30"):
        find_truth(source, "test")


@pytest.mark.data
@pytest.mark.skipif(not (REAL / "CUB_200_2011").is_dir(), reason="no CUB-200-2011 under WSOL_DATA_ROOT")
def test_the_five_real_boxes_of_cub_come_out_as_the_field_has_them():
    splits = cub(REAL)
    # x0, y0, x1, y1 of the field's metadata (github.com/clovaai/wsolevaluation), whose last pixel counts where it clips
    field = {
        "001.Black_footed_Albatross/Black_Footed_Albatross_0050_796125.jpg": (5, 127, 500, 258),
        "014.Indigo_Bunting/Indigo_Bunting_0058_12207.jpg": (58, 70, 274, 375),
        "018.Spotted_Catbird/Spotted_Catbird_0041_796807.jpg": (27, 6, 175, 131),
        "018.Spotted_Catbird/Spotted_Catbird_0002_796827.jpg": (4, 4, 146, 238),
        "019.Gray_Catbird/Gray_Catbird_0032_21551.jpg": (2, 69, 459, 375),
    }
    clipped = {}
    for entry in (*splits.annotated_train, *splits.val.entries, *splits.test.entries):
        sample = splits.test.load(entry)
        if reach_out(entry.boxes, sample.size).any():
            clipped[entry.image_id] = tuple(sample.boxes[0].tolist())
    assert clipped == field


@pytest.mark.data
@pytest.mark.skipif(not (REAL / "metadata/ILSVRC/test").is_dir(), reason="no metadata/ILSVRC under WSOL_DATA_ROOT")
def test_the_fields_boxes_of_imagenet_lie_in_their_images(caplog):
    with caplog.at_level(logging.INFO):
        truth = find_truth(REAL / "metadata" / "ILSVRC", "test")
    assert "reach out" not in caplog.text
    assert max(boxes[:, 2].max() - size[1] for boxes, size in zip(truth.boxes, truth.sizes, strict=True)) == -1
