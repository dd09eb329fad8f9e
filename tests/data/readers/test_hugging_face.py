import io
import json
import logging
import os
import pickle
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the first import: nothing is asked of the hub here
datasets = pytest.importorskip("datasets")

from wsol.data.decode import read_image, read_size  # noqa: E402
from wsol.data.hugging_face import streams  # noqa: E402
from wsol.data.hugging_face.arrow_columns import read_boxes  # noqa: E402
from wsol.data.hugging_face.rows import EncodedImages  # noqa: E402
from wsol.data.hugging_face.splits import HubSource  # noqa: E402
from wsol.data.hugging_face.streams import _with_bytes, stored_stream  # noqa: E402
from wsol.data.readers.hugging_face import hugging_face  # noqa: E402

SIZE: dict[str, Any] = {"image_size": 32, "train_size": 36}


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Nothing is written outside tmp_path, nothing asked of the network, no progress bar drawn."""
    import huggingface_hub

    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "wsol-cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def encoded(seed, width=40, height=30, kind="PNG", mode="RGB", exif=None):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    extra = {} if exif is None else {"exif": exif}
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **extra)
    return buffer.getvalue()


def row(seed, **changes):
    boxes = changes.pop("boxes", [[10, 5, 30, 25]])
    image = changes.pop("image", {"bytes": encoded(seed), "path": None})
    return {
        "image": image,
        "label": seed % 2,
        "objects": {"bbox": boxes, "category": [0] * len(boxes or [])},
        "name": f"photo {seed}",
        **changes,
    }


FEATURES = {
    "image": datasets.Image(),
    "label": datasets.ClassLabel(names=["auk", "wren"]),
    "objects": {
        "bbox": datasets.List(datasets.List(datasets.Value("float32"))),
        "category": datasets.List(datasets.Value("int64")),
    },
    "name": datasets.Value("string"),
}


def table(rows, **features):
    return datasets.Dataset.from_list(rows, features=datasets.Features({**FEATURES, **features}))


def bird_rows():
    """Six rows to train, four to test; seeds tell the images apart."""
    return {"train": [row(seed) for seed in range(6)], "test": [row(seed) for seed in range(10, 14)]}


def save(folder, splits, **features):
    made = {name: table(rows, **features) for name, rows in splits.items()}
    datasets.DatasetDict(made).save_to_disk(str(folder))
    return folder


def read(path, **options):
    """Index and decode everything, as a run does."""
    splits = hugging_face(path, **{**SIZE, **options})
    for one in (splits.train, splits.val, splits.test):
        one.preload()
    return splits


@pytest.fixture
def saved(tmp_path):
    return save(tmp_path / "birds", bird_rows())


@pytest.fixture
def parquet(tmp_path):
    folder = tmp_path / "pieces"
    folder.mkdir()
    for name, rows in bird_rows().items():
        half = len(rows) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            table(part).to_parquet(folder / f"{name}-{number:05d}-of-00002.parquet")
    return folder


class TestLayouts:
    def test_what_save_to_disk_made(self, saved):
        splits = read(saved, val_fraction=0.34)
        assert splits.name == "birds"
        assert splits.class_names == ("auk", "wren")
        assert [len(one) for one in (splits.train, splits.val, splits.test)] == [4, 2, 4]
        sample = splits.test[1]
        assert sample.image_id == "test/1"
        assert sample.class_id == 1
        # 10, 5 to 30, 25 in 40 x 30 pixels, on 32 x 32
        np.testing.assert_allclose(sample.boxes, [[8, 5 * 32 / 30, 24, 25 * 32 / 30]], rtol=1e-6)
        expected = Image.open(io.BytesIO(encoded(11))).resize((32, 32), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(sample.image, np.asarray(expected))

    def test_val_is_taken_out_of_train(self, saved):
        splits = read(saved)
        train, val = set(splits.train.image_ids), set(splits.val.image_ids)
        assert not train & val
        assert train | val == {f"train/{number}" for number in range(6)}
        assert splits.val[0].boxes.shape == (1, 4)
        assert splits.train[0].boxes.shape == (0, 4)

    def test_folders_of_splits_side_by_side(self, saved, tmp_path):
        for name, rows in bird_rows().items():
            table(rows).save_to_disk(str(tmp_path / "apart" / name))
        assert read(tmp_path / "apart").fingerprint == read(saved).fingerprint

    def test_a_folder_of_parquet(self, saved, parquet):
        assert read(parquet).fingerprint == read(saved).fingerprint

    def test_a_glob_of_parquet(self, saved, parquet):
        splits = read(f"{parquet}/*.parquet")
        assert splits.fingerprint == read(saved).fingerprint
        assert splits.name == "pieces"

    def test_a_glob_tells_splits_apart_by_folders_too(self, saved, tmp_path):
        for name, rows in bird_rows().items():
            (tmp_path / "train" / name).mkdir(parents=True)  # a folder above the pattern tells nothing
            table(rows).to_parquet(tmp_path / "train" / name / "part.parquet")
        assert read(f"{tmp_path}/train/**/*.parquet").fingerprint == read(saved).fingerprint

    def test_files_of_another_split_stay_away_though_its_name_begins_alike(self, parquet):
        table([row(seed) for seed in range(20, 26)]).to_parquet(parquet / "train_small-0.parquet")
        assert len(read(f"{parquet}/*.parquet").annotated_train) < 6

    def test_a_folder_of_images(self, tmp_path):
        folder = tmp_path / "pictures"
        for split, count in (("train", 4), ("test", 2)):
            (folder / split).mkdir(parents=True)
            lines = []
            for number in range(count):
                (folder / split / f"{number}.png").write_bytes(encoded(number))
                line = {"file_name": f"{number}.png", "label": "ab"[number % 2], "objects": {"bbox": [[1, 2, 3, 4]]}}
                lines.append(json.dumps(line))
            (folder / split / "metadata.jsonl").write_text("\n".join(lines))
        splits = read(folder, box_format="xywh")
        assert splits.class_names == ("a", "b")
        assert splits.test.entries[0].boxes.tolist() == [[1, 2, 4, 6]]

    def test_a_val_split_by_name(self, tmp_path):
        rows = bird_rows()
        folder = save(tmp_path / "three", {**rows, "validation": [row(20), row(21)]})
        splits = read(folder, val_split="validation")
        assert [len(one) for one in (splits.train, splits.val, splits.test)] == [6, 2, 4]
        assert splits.val.image_ids == ["validation/0", "validation/1"]

    def test_train_without_boxes_gives_up_no_image_for_val(self, tmp_path, caplog):
        rows = bird_rows()
        rows["train"] = [row(seed, boxes=[]) for seed in range(6)]
        with caplog.at_level(logging.INFO):
            splits = read(save(tmp_path / "weak", rows))
        assert [len(one) for one in (splits.train, splits.val, splits.test)] == [6, 2, 2]
        assert "no training image has boxes, so val is held out of split test" in caplog.text
        assert set(splits.val.image_ids) | set(splits.test.image_ids) == {f"test/{number}" for number in range(4)}

    def test_val_is_made_of_training_images_that_have_boxes(self, tmp_path):
        rows = bird_rows()
        rows["train"] = [row(seed, boxes=[[1, 1, 9, 9]] if seed in (1, 2, 3, 4) else []) for seed in range(6)]
        splits = read(save(tmp_path / "some", rows), val_fraction=0.5)
        assert set(splits.val.image_ids) < {"train/1", "train/2", "train/3", "train/4"}
        assert len(splits.train) == 4

    def test_some_of_the_classes(self, tmp_path):
        names = datasets.ClassLabel(names=["absent", "auk", "wren"])
        rows = {name: [{**one, "label": one["label"] + 1} for one in some] for name, some in bird_rows().items()}
        folder = save(tmp_path / "three", rows, label=names)
        assert read(folder).class_names == ("auk", "wren")  # the first has no row
        assert read(folder, classes=["wren"]).class_names == ("wren",)


class TestImages:
    def test_are_pickled_as_files(self, saved):
        splits = hugging_face(saved, **SIZE)
        data = pickle.dumps(splits.test)
        assert len(data) < 20_000  # ten PNG of 3.6 kB each would not fit
        np.testing.assert_array_equal(pickle.loads(data)[0].image, splits.test[0].image)

    def test_are_not_decoded_before_they_are_asked_for(self, tmp_path):
        rows = bird_rows()
        rows["train"][0] = row(0, boxes=[], image={"bytes": b"no image", "path": None})  # never held out: no box
        train = hugging_face(save(tmp_path / "bad", rows), **SIZE).train
        with pytest.raises(ValueError, match=r"bad, split 'train', row 0: the image cannot be decoded \(of no known"):
            train.preload()

    @pytest.mark.parametrize(("kind", "mode"), [("PNG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P")])
    def test_of_every_mode_become_rgb(self, kind, mode):
        assert read_image(encoded(0, kind=kind, mode=mode), "x").shape == (30, 40, 3)

    def test_are_turned_as_exif_says(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        data = encoded(0, kind="JPEG", exif=exif)
        assert read_image(data, "x").shape == (40, 30, 3)
        assert read_size(data, "x") == (40, 30)

    def test_that_are_truncated_are_named(self):
        with pytest.raises(ValueError, match=r"^row 7: the image cannot be decoded .*truncated"):
            read_image(encoded(0)[:600], "row 7")

    def test_may_be_plain_bytes(self, tmp_path, saved):
        rows = {name: [{**one, "image": one["image"]["bytes"]} for one in some] for name, some in bird_rows().items()}
        folder = save(tmp_path / "plain", rows, image=datasets.Value("binary"))
        np.testing.assert_array_equal(read(folder).test[2].image, read(saved).test[2].image)

    def test_may_be_plain_structs(self, tmp_path, saved):
        kind = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        folder = save(tmp_path / "structs", bird_rows(), image=kind)
        np.testing.assert_array_equal(read(folder).test[2].image, read(saved).test[2].image)

    def test_that_are_missing_are_named(self, tmp_path):
        rows = bird_rows()
        rows["test"][2]["image"] = None
        with pytest.raises(ValueError, match=r"split 'test', row 2: there is no image; take the row out"):
            read(save(tmp_path / "hole", rows))

    def test_in_a_column_of_another_type_are_refused(self, saved):
        with pytest.raises(
            ValueError, match=r"column 'name' holds .*string.*, not images: make it one with cast_column"
        ):
            read(saved, image_column="name")

    def test_sizes_are_known_without_decoding(self, saved):
        splits = hugging_face(saved, **SIZE)
        assert [entry.size for entry in (splits.val.entries[0], splits.test.entries[3])] == [(30, 40)] * 2


class TestBoxes:
    def boxes_of(self, folder, **options):
        return hugging_face(folder, **SIZE, **options).test.entries[0].boxes.tolist()

    def test_xywh(self, tmp_path):
        rows = {name: [{**one, "box": [10, 5, 20, 8]} for one in some] for name, some in bird_rows().items()}
        folder = save(tmp_path / "single", rows, box=datasets.List(datasets.Value("int64")))
        assert self.boxes_of(folder, boxes_column="box", box_format="xywh") == [[10, 5, 30, 13]]

    def test_normalized(self, tmp_path):
        rows = {name: [row(7 + place % 2, boxes=[[0.25, 0.5, 1, 1]]) for place in range(6)] for name in bird_rows()}
        # one upright photograph, 50 high
        rows["test"][0]["image"] = {"bytes": encoded(0, 20, 50), "path": None}
        folder = save(tmp_path / "fractions", rows)
        assert self.boxes_of(folder, box_format="normalized") == [[5, 25, 20, 50]]
        test = read(folder, box_format="normalized").test
        np.testing.assert_allclose(test[0].boxes, [[8, 16, 32, 32]])
        assert test.entries[1].boxes.tolist() == [[10, 15, 40, 30]]

    def test_lists_of_structs(self, tmp_path):
        kind = datasets.List({"bbox": datasets.List(datasets.Value("float64"), length=4), "c": datasets.Value("int64")})
        rows = {
            name: [{**one, "objects": [{"bbox": [1, 2, 3, 4], "c": 0}] * 2} for one in some]
            for name, some in bird_rows().items()
        }
        assert self.boxes_of(save(tmp_path / "structs", rows, objects=kind)) == [[1, 2, 3, 4]] * 2

    def test_a_column_whose_own_name_has_a_dot(self, tmp_path):
        made = {name: table(rows).flatten() for name, rows in bird_rows().items()}
        folder = tmp_path / "flat"
        datasets.DatasetDict(made).save_to_disk(str(folder))
        assert "objects.bbox" in made["test"].column_names
        assert self.boxes_of(folder) == [[10, 5, 30, 25]]

    def test_two_dimensional_arrays(self, tmp_path):
        rows = {
            name: [{**one, "grid": [[1, 2, 3, 4], [5, 6, 7, 8]]} for one in some] for name, some in bird_rows().items()
        }
        folder = save(tmp_path / "arrays", rows, grid=datasets.Array2D((2, 4), "float32"))
        assert self.boxes_of(folder, boxes_column="grid") == [[1, 2, 3, 4], [5, 6, 7, 8]]

    def test_are_counted_by_row_past_nulls_and_slices(self):
        array = pa.array([[[9.0] * 4], None, [], [[1, 2, 3, 4], [5, 6, 7, 8]], [[0, 0, 1, 1]]]).slice(1)
        numbers, counts = read_boxes(array, str)
        assert counts.tolist() == [0, 0, 2, 1]
        assert numbers.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 1, 1]]

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([[[1, 2, 3, 4]], [], [[1, 2, 3]]], r"^row 2: a box has four numbers, got \[1.*3"),
            ([[[1, 2, 3, 4]], [None]], r"^row 1: a box has four numbers, got None"),
            ([[[1, 2, 3, None]]], r"^row 0: the box \[1.0, 2.0, 3.0, nan\] is not of finite numbers"),
            ([[[1, 2, 3, float("inf")]]], r"^row 0: the box .* is not of finite numbers"),
            ([[1, 2, 3, 4], None, [1, 2, 3, 4, 5, 6, 7, 8]], r"^row 2: a box has four numbers, got \[1.*8"),
            (
                [[["1", "2", "3", "4"]]],
                r"^row 0: boxes must be lists of four numbers, but the column holds list.*string",
            ),
            ([[{"x": 1}]], r"^row 0: boxes must be lists of four numbers, but the column holds list.*struct"),
            ([[[[1, 2, 3, 4]]]], r"^row 0: boxes must be lists of four numbers, but the column holds list.*list.*list"),
            ([3.0], r"^row 0: boxes must be lists of four numbers, but the column holds double"),
        ],
    )
    def test_of_another_shape_are_named(self, rows, message):
        with pytest.raises(ValueError, match=message):
            read_boxes(pa.array(rows), "row {}".format)

    @pytest.mark.parametrize("rows", [[None, None], [[], []], [[], None]])
    def test_may_be_nowhere(self, rows):
        numbers, counts = read_boxes(pa.array(rows), str)
        assert numbers.shape == (0, 4)
        assert counts.tolist() == [0, 0]

    @pytest.mark.parametrize(
        ("boxes", "options", "message"),
        [
            ([[0.1, 0.1, 0.5, 0.9]], {}, r"all 6 boxes lie in \[0, 1\], .*set box_format=normalized"),
            ([[0.1, 0.1, 0.5, 0.9]], {"box_format": "xywh"}, r"but are read as pixels; .*convert them"),
            ([[1, 1, 9, 9]], {"box_format": "normalized"}, r"row 0: the box \[1.0, 1.0, 9.0, 9.0\] is not normal"),
            ([[1, 0, 1.2, 1]], {"box_format": "normalized"}, r"row \d: the box .* of image .* has nothing inside"),
            (
                [[20, 10, 12, 8]],
                {},
                r"row \d: the box \(20, 10, 12, 8\) .* is empty, which is 40 x 30; .* another convention, state it",
            ),
            ([[40, 10, 30, 25]], {"box_format": "xywh"}, r"nothing inside the image, which is 40 x 30"),
            (
                [[1, 2, 3, 4]],
                {"box_format": "coco"},
                r"box_format must be one of edges, inclusive, xywh, normalized, got 'coco'",
            ),
        ],
    )
    def test_of_another_convention_are_named(self, tmp_path, boxes, options, message):
        rows = {name: [row(seed, boxes=boxes) for seed in range(6)] for name in ("train", "test")}
        folder = save(tmp_path / "odd", rows)
        with pytest.raises(ValueError, match=message):
            read(folder, **options)

    def test_that_do_not_match_their_categories_are_named(self, tmp_path):
        rows = bird_rows()
        rows["test"][3]["objects"]["category"] = [0, 1]
        with pytest.raises(ValueError, match=r"'test', row 3: 1 boxes in 'objects.bbox', but 2 items in 'category'"):
            read(save(tmp_path / "mismatch", rows))

    def test_missing_from_a_tested_image_are_named(self, tmp_path):
        rows = bird_rows()
        rows["test"][3] = row(13, boxes=[])
        with pytest.raises(ValueError, match=r"1 of 4 images of test have no box, first test/3; .*filter\(\)"):
            read(save(tmp_path / "bare", rows))

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"boxes_column": None}, "boxes_column=null"),
            ({"boxes_column": "boxes"}, "column 'boxes' has none, or is not there"),
        ],
    )
    def test_that_are_nowhere_say_what_to_do(self, saved, options, why):
        with pytest.raises(ValueError, match=rf"no boxes to score with .*{why}.*boxes_column=COLUMN.* of image, label"):
            read(saved, **options)

    def test_of_an_unknown_field_are_named(self, saved):
        with pytest.raises(ValueError, match=r"'objects.boxes': there is no 'boxes', but the fields bbox, category"):
            read(saved, boxes_column="objects.boxes")


class TestLabels:
    @pytest.mark.parametrize(
        ("kind", "value", "names"),
        [("string", "wa".__getitem__, ("a", "w")), ("int64", (20, 3).__getitem__, ("3", "20"))],
    )
    def test_of_other_types_name_the_classes_themselves(self, tmp_path, kind, value, names):
        rows = {name: [{**one, "label": value(one["label"])} for one in some] for name, some in bird_rows().items()}
        splits = read(save(tmp_path / "other", rows, label=datasets.Value(kind)))
        assert splits.class_names == names
        assert splits.test.class_ids.tolist() == [1, 0, 1, 0]

    def test_may_be_nested(self, tmp_path):
        rows = {name: [{**one, "tags": {"class": one["label"]}} for one in some] for name, some in bird_rows().items()}
        folder = save(tmp_path / "nested", rows, tags={"class": datasets.ClassLabel(names=["auk", "wren"])})
        assert read(folder, label_column="tags.class").class_names == ("auk", "wren")

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            (-1, r"'test', row 1: the label is -1, that is none, as in 1 of 4 rows; .*test_split=validation"),
            (None, r"'test', row 1: there is no label, as in 1 of 4 rows"),
        ],
    )
    def test_that_are_kept_back_are_named(self, tmp_path, label, message):
        rows = bird_rows()
        rows["test"][1]["label"] = label
        with pytest.raises(ValueError, match=message):
            read(save(tmp_path / "kept", rows))

    def test_that_training_never_sees_are_named(self, tmp_path):
        rows = bird_rows()
        rows["train"] = [{**one, "label": 0} for one in rows["train"]]
        folder = save(tmp_path / "unseen", rows)
        with pytest.raises(ValueError, match=r"no training image, first 'wren'; split 'train' has no row of it"):
            read(folder)
        assert read(folder, classes=["auk"]).class_names == ("auk",)

    def test_that_differ_between_splits_are_named(self, tmp_path):
        rows = bird_rows()
        table(rows["train"]).save_to_disk(str(tmp_path / "two" / "train"))
        other = datasets.ClassLabel(names=["wren", "auk"])
        table(rows["test"], label=other).save_to_disk(str(tmp_path / "two" / "test"))
        with pytest.raises(ValueError, match=r"splits 'train' and 'test' have other classes"):
            read(tmp_path / "two")

    def test_of_a_missing_column_are_named(self, saved):
        with pytest.raises(
            ValueError, match=r"no column 'class', but image, label, objects, name; .*label_column=COLUMN"
        ):
            read(saved, label_column="class")

    def test_of_several_classes_are_refused(self, saved):
        with pytest.raises(
            ValueError, match=r"'objects.category' holds .*list.*must be one ClassLabel, integer or string"
        ):
            read(saved, label_column="objects.category")


class TestIds:
    def test_come_from_their_column(self, saved):
        splits = read(saved, id_column="name")
        assert splits.test.image_ids[3] == splits.test[3].image_id == "photo 13"

    def test_that_come_twice_are_named(self, saved):
        with pytest.raises(
            ValueError, match=r"id_column=label contains '0' twice; .*let id_column=null number the rows"
        ):
            read(saved, id_column="label")

    def test_that_are_missing_are_named(self, tmp_path):
        rows = bird_rows()
        rows["train"][4]["name"] = None
        with pytest.raises(ValueError, match=r"'train', row 4: there is no id in 'name'"):
            read(save(tmp_path / "nameless", rows), id_column="name")

    def test_of_another_type_are_refused(self, saved):
        with pytest.raises(ValueError, match=r"id_column=objects holds struct.*ids must be strings or integers"):
            read(saved, id_column="objects")


class TestStreams:
    def test_become_sets_on_disk(self, saved, parquet, tmp_path):
        splits = read(parquet, streaming=True)
        assert splits.fingerprint == read(saved).fingerprint
        np.testing.assert_array_equal(splits.test[2].image, read(saved).test[2].image)
        kept = sorted(one.name for one in (tmp_path / "wsol-cache" / "streams").rglob("*.parquet"))
        assert kept == ["test-00000.parquet", "train-00000.parquet"]

    def test_are_read_once(self, parquet, monkeypatch):
        first = read(parquet, streaming=True)

        def refuse(*_, **__):
            raise AssertionError

        monkeypatch.setattr(streams, "open_splits", refuse)
        assert read(parquet, streaming=True).fingerprint == first.fingerprint

    def test_are_read_again_when_a_local_file_changes(self, parquet):
        first = read(parquet, streaming=True)
        rows = [row(seed, boxes=[[0, 0, 7, 7]]) for seed in (10, 11)]
        table(rows).to_parquet(parquet / "test-00000-of-00002.parquet")
        assert read(parquet, streaming=True).fingerprint != first.fingerprint

    def test_of_image_folders_bring_their_files(self, tmp_path):
        folder = tmp_path / "pictures" / "train"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(encoded(0))
        (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "label": "a"}))
        rows = stored_stream(HubSource(str(folder.parent)), ["train"], ["image", "label"], "image", 1)["train"]
        undecoded = rows.cast_column("image", datasets.Image(decode=False))
        assert undecoded[0]["image"]["bytes"] == encoded(0)

    def test_keep_the_wanted_columns(self, parquet):
        rows = stored_stream(HubSource(str(parquet)), ["test"], ["image", "label", "nowhere"], "image", 1)["test"]
        assert rows.column_names == ["image", "label"]
        assert rows.features["label"].names == ["auk", "wren"]

    def test_that_were_interrupted_go_on_after_the_last_whole_file(self, parquet, tmp_path, monkeypatch):
        arguments = HubSource(str(parquet)), ["train"], ["image", "label"], "image", 1, 7000  # two images a file
        whole = streams._write

        def break_off(folder, split, number, rows):
            if number == 2:
                raise KeyboardInterrupt
            return whole(folder, split, number, rows)

        monkeypatch.setattr(streams, "_write", break_off)
        with pytest.raises(KeyboardInterrupt):
            stored_stream(*arguments)
        streamed = tmp_path / "wsol-cache" / "streams"
        assert len(list(streamed.rglob("*.parquet"))) == 2
        assert not list(streamed.rglob("train.json"))  # not whole yet
        written = []

        def watch(folder, split, number, rows):
            written.append((number, len(rows)))
            return whole(folder, split, number, rows)

        monkeypatch.setattr(streams, "_write", watch)
        rows = stored_stream(*arguments)["train"]
        assert written == [(2, 2)]
        assert [one["bytes"] for one in rows.cast_column("image", datasets.Image(decode=False))["image"]] == [
            encoded(seed) for seed in range(6)
        ]

    def test_that_grow_too_large_stop_and_go_on_with_a_larger_bound(self, parquet):
        gib = 8_000 / 2**30  # two images of 3.7 kB
        with pytest.raises(ValueError, match=r"max_stream_gib=7.45\S*: row 2 of split 'train' would pass it. Raise it"):
            read(parquet, streaming=True, max_stream_gib=gib)
        assert len(read(parquet, streaming=True).test) == 4

    def test_of_what_is_on_disk_are_refused(self, saved):
        with pytest.raises(ValueError, match=r"made by save_to_disk, and is read in place: leave out streaming=true"):
            read(saved, streaming=True)

    def test_name_the_column_that_is_missing(self, parquet):
        with pytest.raises(ValueError, match=r"has no column 'picture'.*image_column=COLUMN"):
            read(parquet, streaming=True, image_column="picture")


class TestMistakes:
    def test_a_missing_package_says_how_to_install_it(self, saved, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ImportError, match=r"pip install 'wsol\[hugging_face\]'"):
            hugging_face(saved)

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_hub_that_cannot_be_reached(self, streaming):
        with pytest.raises(
            ConnectionError, match=r"no folder nobody/birds, and the hub cannot be reached .*connect, or"
        ):
            hugging_face("nobody/birds", streaming=streaming)

    def test_a_name_that_the_hub_does_not_know(self, monkeypatch):
        def refuse(*_, **__):
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'nobody/birds' doesn't exist on the Hub.")

        monkeypatch.setattr(datasets, "load_dataset", refuse)
        with pytest.raises(
            ValueError, match=r"hub shows no data set 'nobody/birds' .*; correct path or revision, or log"
        ):
            hugging_face("nobody/birds")

    def test_a_set_that_a_script_makes(self, monkeypatch):
        def refuse(*_, **__):
            raise RuntimeError("Dataset scripts are no longer supported, but found birds.py")

        monkeypatch.setattr(datasets, "load_dataset", refuse)
        with pytest.raises(ValueError, match=r"found birds.py; .* Try revision=refs/convert/parquet"):
            hugging_face("nobody/birds")

    def test_a_configuration_that_has_to_be_chosen(self, tmp_path):
        folder = tmp_path / "two"
        for config in ("large", "small"):
            for name, rows in bird_rows().items():
                (folder / config).mkdir(parents=True, exist_ok=True)
                table(rows).to_parquet(folder / config / f"{name}.parquet")
        configs = "".join(f"- config_name: {one}\n  data_dir: {one}\n" for one in ("large", "small"))
        (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
        with pytest.raises(ValueError, match=r"two: Config name is missing.*large.*small.*; correct config"):
            hugging_face(folder)
        assert len(read(folder, config="small").test) == 4

    @pytest.mark.parametrize("path", ["nowhere", "nothing/*.parquet", "./gone"])
    def test_a_missing_folder(self, tmp_path, path):
        path = path if path.startswith(".") else f"{tmp_path}/{path}"
        with pytest.raises(FileNotFoundError, match=r"path must be a folder made by save_to_disk, .*a name on the hub"):
            hugging_face(path)

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileNotFoundError, match=r"empty holds no data set"):
            hugging_face(tmp_path / "empty")

    def test_an_unknown_split(self, saved):
        with pytest.raises(ValueError, match=r"no split 'valid'; it has train, test. Choose others .*val_split"):
            hugging_face(saved, val_split="valid")

    def test_an_unknown_split_of_a_glob(self, parquet):
        with pytest.raises(ValueError, match=r"No file of .* is of the split 'valid'.*valid-00000"):
            hugging_face(f"{parquet}/*.parquet", val_split="valid")

    def test_a_split_that_is_used_twice(self, saved):
        with pytest.raises(ValueError, match=r"must differ, got train, test, test"):
            hugging_face(saved, val_split="test")

    def test_a_single_split_that_was_saved(self, tmp_path):
        table([row(0)]).save_to_disk(str(tmp_path / "one"))
        with pytest.raises(ValueError, match=r"one holds a single split; save a DatasetDict, or put the folders"):
            hugging_face(tmp_path / "one")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"config": "x"}, r"is read in place: leave out config=x"),
            ({"revision": "main"}, r"revision=main is of sets on the hub"),
        ],
    )
    def test_options_that_do_not_fit(self, saved, options, message):
        with pytest.raises(ValueError, match=message):
            hugging_face(saved, **options)

    def test_a_damaged_file(self, parquet):
        path = parquet / "test-00001-of-00002.parquet"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ValueError, match=r"pieces cannot be read \(.*Parquet.*\); get its files again"):
            hugging_face(parquet)

    def test_a_damaged_saved_set(self, saved):
        next(saved.glob("train/*.arrow")).write_bytes(b"cut off")
        with pytest.raises(ValueError, match=r"birds cannot be read \(.*\); save it again"):
            hugging_face(saved)

    def test_files_of_another_kind(self, tmp_path):
        (tmp_path / "train.csv").write_text("a\n1\n")
        with pytest.raises(FileNotFoundError, match=r"finds .*train.csv, which is not Parquet"):
            hugging_face(f"{tmp_path}/*.csv")


def test_parquet_that_other_programs_wrote(tmp_path):
    for name, rows in bird_rows().items():
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    assert read(f"{tmp_path}/*.parquet").class_names == ("0", "1")


class TestFilesThatRowsName:
    """A row may name a file in place of its bytes; one from elsewhere must not choose which file is read."""

    def row_set(self, folder, path):
        rows = {"image": [{"bytes": None, "path": str(path)}], "label": [0]}
        kind = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("int64")})
        return datasets.Dataset.from_dict(rows, features=kind)

    @pytest.mark.parametrize("local", [True, False])
    def test_only_those_in_the_folder_of_the_data_set_are_read(self, local, tmp_path):
        folder = tmp_path / "set"
        folder.mkdir()
        for place in (folder / "in.png", tmp_path / "out.png"):
            place.write_bytes(encoded(0))
        (folder / "link.png").symlink_to(tmp_path / "out.png")
        for name, is_inside in (("in.png", local), ("../out.png", False), ("link.png", False)):
            images = EncodedImages(self.row_set(folder, folder / name), "image", folder if local else None)
            if is_inside:
                assert images.data(0, "row 0") == folder / name
            else:
                with pytest.raises(ValueError, match=r"row 0: the image is the file .*store the images' bytes"):
                    images.data(0, "row 0")

    @pytest.mark.parametrize("path", ["out.png", "file://out.png", "zip://a.png::out.png"])
    def test_a_stream_reads_no_file_of_this_machine(self, path, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "out.png").write_bytes(encoded(0))
        with pytest.raises(ValueError, match="not part of the data set"):
            _with_bytes({"bytes": None, "path": path}, "user/set")
