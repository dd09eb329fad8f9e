"""The check of a data set: the problems of each image, and those of the whole."""

import os
import re
import threading
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trees import CUB_NAMES, edit, make_cub, make_tiny_imagenet, write_image
from wsol.data.checking.check import Kind, check
from wsol.data.checking.published import Figure, Published, published_for
from wsol.data.checking.summary import summary, verdict
from wsol.data.formats.metadata_images import load_with_masks
from wsol.data.image_set import load_entry
from wsol.data.index import Entry, Index
from wsol.data.preparation import Indices, Preparation, prepare
from wsol.data.readers.cub import cub
from wsol.data.readers.synthetic import synthetic
from wsol.data.readers.tiny_imagenet import tiny_imagenet
from wsol.geometry import as_boxes
from wsol.threads import processors

BOX = [10, 5, 30, 25]


def splits_of(class_names, parts, load=load_entry, decode=None):
    return prepare(Indices("birds", class_names, *parts, load=load), Preparation(8, 8, 0, decode=decode))


@pytest.fixture
def make_entry(tmp_path):
    """(image id, ...) -> an entry, and its image of 40 x 30 pixels, of its own kind."""
    made = Counter()

    def make(image_id, boxes=(BOX,), class_id=0, write=True, **kwargs):
        made["images"] += 1
        path = tmp_path / image_id
        if write:
            write_image(path, seed=made["images"])
        origin = kwargs.pop("origin", f"boxes.txt, line {made['images']}")
        return Entry(image_id, class_id, as_boxes(boxes), path, origin, **kwargs)

    return make


@pytest.fixture
def split_up(make_entry):
    """Lists of entries -> splits; each has a good image beside."""

    def split(train=(), val=(), test=(), load=load_entry):
        good = {name: make_entry(f"{name}-good.png") for name in ("train", "val", "test")}
        two = make_entry("train-good-two.png", class_id=1)
        parts = ([good["train"], *train, two], [good["val"], *val], [good["test"], *test])
        return splits_of(["one", "two"], parts, load=load)

    return split


def run(splits, **kwargs):
    """Return the report, and all problems in order."""
    problems = []
    report = check(splits, on_problem=problems.append, progress=False, **kwargs)
    return report, problems


def problems_of(splits, **kwargs):
    return [(one.split, one.image_id, one.kind) for one in run(splits, **kwargs)[1]]


def write_mask(path, box=(10, 5, 30, 25), width=40, height=30):
    mask = np.zeros((height, width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(mask).save(path)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-600])


def test_a_good_data_set_is_ready_and_its_numbers_are_reported(tmp_path):
    make_cub(tmp_path)
    report, problems = run(cub(tmp_path))
    assert problems == []
    # of 6 images each third is of test; of the 4 others 0.2, one, is held out
    text = summary(report, tmp_path / "all.csv")
    assert text.startswith("# cub: ready\n")
    assert re.search(r"\| images +\| +6 \| +2 \| +4 \|", text)
    assert re.search(r"\| boxes +\| +6 \| +2 \| +4 \|", text)
    assert re.search(r"\| classes +\| +2 \| +2 \| +2 \|", text)
    assert re.search(r"\| images with several boxes +\| +0 \| +0 \| +0 \|", text)
    assert re.search(r"\| width in pixels: least, median, most +\| 40, 40, 40", text)
    assert "Training images of a class: 3 of each." in text
    assert report.parts[0].sizes.tolist() == [[30, 40]] * 6


def test_another_reader_is_ready_too(tmp_path):
    make_tiny_imagenet(tmp_path)
    # images of the two classes are drawn from the same seeds there, which is another matter
    report, problems = run(tiny_imagenet(tmp_path), duplicates=False)
    assert not report.problems
    assert problems == []


def test_all_that_is_wrong_is_found_at_once_in_the_order_of_the_splits(tmp_path):
    folder = make_cub(tmp_path)
    splits = cub(tmp_path, val_fraction=0.2)
    train, val, test = splits.annotated_train, splits.val.entries, splits.test.entries
    lines = {one.image_id: int(one.origin.rpartition(" ")[2]) for part in (train, val, test) for one in part}

    def set_box(entry, numbers):
        edit(folder / "bounding_boxes.txt", lines[entry.image_id], f"{lines[entry.image_id]} {numbers}")

    set_box(train[0], "40.0 5.0 20.0 20.0")  # of 40 pixels
    set_box(train[1], "30.0 5.0 20.0 20.0")  # to x = 50
    truncate(train[2].path)
    set_box(val[1], "10.0 5.0 0.0 20.0")
    write_mask(test[1].mask_paths[0], width=41)
    test[2].mask_paths[0].write_bytes(b"no image")
    test[3].path.write_bytes(b"")
    report, problems = run(cub(tmp_path, val_fraction=0.2))
    assert [(one.split, one.image_id, one.kind) for one in problems] == [
        ("train", train[0].image_id, Kind.OUTSIDE),
        ("train", train[1].image_id, Kind.CLIPPED),
        ("train", train[2].image_id, Kind.UNDECODABLE),
        ("val", val[1].image_id, Kind.EMPTY_BOX),
        ("test", test[1].image_id, Kind.MASK),
        ("test", test[2].image_id, Kind.MASK),
        ("test", test[3].image_id, Kind.UNDECODABLE),
    ]
    assert report.problems == 6
    assert dict(report.counts) == {
        Kind.OUTSIDE: 1,
        Kind.CLIPPED: 1,
        Kind.UNDECODABLE: 2,
        Kind.EMPTY_BOX: 1,
        Kind.MASK: 2,
    }
    assert f"bounding_boxes.txt, line {lines[train[0].image_id]}: the box (40, 5, 60, 25)" in problems[0].message
    assert f"of image {train[0].image_id} has nothing inside the image, which is 40 x 30" in problems[0].message
    assert f"bounding_boxes.txt, line {lines[train[1].image_id]}: the box (30, 5, 50, 25)" in problems[1].message
    assert "reaches 10 pixels out of the image, which is 40 x 30; it is clipped." in problems[1].message
    # where an image itself is bad, its annotation's line still stands
    assert problems[2].message.startswith(f"Image {train[2].path} cannot be decoded")
    assert problems[2].message.endswith(f"bounding_boxes.txt, line {lines[train[2].image_id]}.")
    # what could not be decoded has no size
    assert [len(part.decoded) for part in report.parts] == [5, 2, 3]


def test_a_missing_file(split_up, make_entry, tmp_path):
    report, problems = run(split_up(train=[make_entry("a.png", write=False)]))
    assert [(one.split, one.image_id, one.kind) for one in problems] == [("train", "a.png", Kind.MISSING)]
    assert problems[0].message.startswith(f"Image {tmp_path / 'a.png'} is missing")
    assert report.problems == 1


def test_a_folder_in_place_of_a_file(split_up, make_entry, tmp_path):
    (tmp_path / "a.png").mkdir()
    assert problems_of(split_up(test=[make_entry("a.png", write=False)])) == [("test", "a.png", Kind.UNREADABLE)]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(split_up, make_entry):
    bad = make_entry("a.png")
    bad.path.chmod(0)
    _, problems = run(split_up(test=[bad]))
    assert [(one.image_id, one.kind) for one in problems] == [("a.png", Kind.UNREADABLE)]
    assert "permissions" in problems[0].message


def test_a_name_that_no_file_can_have(split_up, make_entry):
    entry = replace(make_entry("a.png", write=False), path=Path("a\0.png"))
    assert problems_of(split_up(test=[entry])) == [("test", "a.png", Kind.UNREADABLE)]


def test_whatever_a_decoder_raises_is_a_problem_of_that_image_alone(split_up, make_entry):
    def load(entry):
        if entry.image_id == "a.png":
            raise RuntimeError("broken\nin two lines")
        return load_entry(entry)

    _, problems = run(split_up(val=[make_entry("a.png", origin="")], load=load))
    assert [(one.split, one.image_id, one.kind) for one in problems] == [("val", "a.png", Kind.UNDECODABLE)]
    assert "(RuntimeError: broken in two lines)" in problems[0].message
    assert problems[0].message.endswith("unpack its archive again.")


def test_every_bad_box_of_an_image_is_found(split_up, make_entry):
    boxes = [BOX, [-9, 5, 0, 25], [10, 5, 10, 25], [0, 30, 40, 32], [40, 0, 0, 30], [-3, 5, 30, 25]]
    origins = tuple(f"boxes.txt, line {10 + place}" for place in range(len(boxes)))
    report, problems = run(split_up(test=[make_entry("a.png", boxes, box_origins=origins)]))
    kinds = [Kind.OUTSIDE, Kind.EMPTY_BOX, Kind.OUTSIDE, Kind.EMPTY_BOX, Kind.CLIPPED]
    assert [one.kind for one in problems] == kinds
    assert problems[0].message.startswith("boxes.txt, line 11: the box (-9, 5, 0, 25)")
    assert problems[2].message.startswith("boxes.txt, line 13: the box (0, 30, 40, 32)")
    assert problems[4].message.startswith("boxes.txt, line 15: the box (-3, 5, 30, 25)")
    assert verdict(report) == "4 problems, 1 note"


def test_boxes_that_reach_out_are_noted_and_are_no_problem(split_up, make_entry, tmp_path):
    report, problems = run(
        split_up(test=[make_entry("a.png", [[-1, 0, 41, 30.5], BOX, [0, 0, 45, 30], [0, 0, 40.001, 9]])])
    )
    assert [one.kind for one in problems] == [Kind.CLIPPED] * 2
    assert ["reaches 1 pixel out" in problems[0].message, "reaches 5 pixels out" in problems[1].message] == [True, True]
    assert report.problems == 0
    text = summary(report, tmp_path / "all.csv")
    assert text.startswith("# birds: ready, 2 notes\n")
    assert "Notes:\n- box that reaches out of its image: 2\n  - test a.png: boxes.txt, line 1: the box" in text
    assert "Problems:" not in text


def test_an_image_of_another_size_than_annotated_is_one_problem_whatever_its_boxes(split_up, make_entry):
    bad = make_entry("a.png", [[0, 0, 60, 50]], size=(50, 60))
    report, problems = run(split_up(test=[bad, make_entry("b.png", size=(30, 40))]))
    assert [(one.image_id, one.kind) for one in problems] == [("a.png", Kind.SIZE)]
    assert "60 x 50 pixels, but it has 40 x 30" in problems[0].message
    assert len(report.parts[2].decoded) == 3  # it is an image


def test_masks_that_are_missing_of_another_size_or_empty(split_up, make_entry, tmp_path):
    masks = {
        "missing": tmp_path / "no.png",
        "wide": write_mask(tmp_path / "wide.png", width=41),
        "empty": write_mask(tmp_path / "empty.png", box=(0, 0, 0, 0)),
        "good": write_mask(tmp_path / "mask.png"),
    }
    entries = [make_entry(f"{name}.jpg", mask_paths=(path,)) for name, path in masks.items()]
    _, problems = run(split_up(test=entries))
    assert [(one.image_id, one.kind) for one in problems] == [
        ("missing.jpg", Kind.MASK),
        ("wide.jpg", Kind.MASK),
        ("empty.jpg", Kind.MASK),
    ]
    assert "no pixel is set" in problems[2].message


def test_both_bad_masks_and_the_bad_box_of_one_image(split_up, make_entry, tmp_path):
    masks = (write_mask(tmp_path / "m1.png", width=41), write_mask(tmp_path / "m2.png"), tmp_path / "m3.png")
    problems = problems_of(split_up(test=[make_entry("a.jpg", [[50, 0, 99, 9]], mask_paths=masks)]))
    assert [kind for _, _, kind in problems] == [Kind.OUTSIDE, Kind.MASK, Kind.MASK]


def test_a_region_to_ignore_is_read_too(split_up, make_entry, tmp_path):
    mask = write_mask(tmp_path / "mask.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    wide = write_mask(tmp_path / "wide.png", width=80)  # 80 x 30 cannot be 40 x 30, enlarged
    twice = write_mask(tmp_path / "twice.png", width=80, height=60)
    entries = [
        make_entry(f"{path.stem}.jpg", [], mask_paths=(mask,), ignore_path=path)
        for path in (tmp_path / "bad.png", wide, twice)
    ]
    problems = problems_of(split_up(test=entries, load=load_with_masks))
    assert problems == [("test", "bad.jpg", Kind.MASK), ("test", "wide.jpg", Kind.MASK)]


def test_an_image_without_box_is_a_problem_where_it_is_scored(split_up, make_entry, tmp_path):
    mask = write_mask(tmp_path / "mask.png")
    splits = split_up(
        train=[make_entry("train.png", [])],
        val=[make_entry("val.png", [])],
        test=[make_entry("test.png", []), make_entry("masked.png", [], mask_paths=(mask,))],
    )
    assert problems_of(splits) == [("val", "val.png", Kind.NO_BOX), ("test", "test.png", Kind.NO_BOX)]


def test_boxes_that_are_all_fractions_are_one_problem_of_the_split(make_entry):
    parts = (
        [make_entry("a.png"), make_entry("b.png", class_id=1)],
        [make_entry("c.png", [[0, 0, 0.5, 1]])],
        [make_entry("d.png", [[0, 0, 0.5, 1]]), make_entry("e.png", [[0, 0, 0.5, 1.5]])],
    )
    _, problems = run(splits_of(["one", "two"], parts))
    assert [(one.split, one.image_id, one.kind) for one in problems] == [("val", "", Kind.FRACTIONS)]
    assert problems[0].message.startswith("boxes.txt, line 3: no coordinate of the 1 boxes of val is above 1")


def test_boxes_of_images_of_one_pixel_are_no_fractions(make_entry):
    parts = tuple([make_entry(f"{split}.png", [[0, 0, 1, 1]])] for split in ("train", "val", "test"))
    for part in parts:
        write_image(part[0].path, 1, 1)
    assert problems_of(splits_of(["one"], parts), duplicates=False) == []


def test_a_file_in_two_splits_is_a_warning(split_up, make_entry):
    first, copy = make_entry("a.png"), make_entry("b.png", class_id=1)
    copy.path.write_bytes(first.path.read_bytes())
    report, problems = run(split_up(train=[first], test=[copy]))
    assert [(one.split, one.image_id, one.kind) for one in problems] == [("test", "b.png", Kind.TWO_SPLITS)]
    assert f"{copy.path} is, byte for byte, {first.path}, which is in train, of another class" in problems[0].message
    assert not report.problems
    assert report.copies == {"test": 1}
    assert verdict(report) == "ready, 1 warning"


def test_files_that_are_twice_in_one_split(split_up, make_entry):
    first, same, other = make_entry("a.png"), make_entry("b.png"), make_entry("c.png", class_id=1)
    for copy in (same, other):
        copy.path.write_bytes(first.path.read_bytes())
    report, problems = run(split_up(train=[first, same, other]))
    assert [(one.image_id, one.kind) for one in problems] == [("c.png", Kind.TWO_CLASSES)]
    assert report.copies == {"train": 2}
    report, problems = run(split_up(train=[first, same, other]), duplicates=False)
    assert (problems, report.copies) == ([], {})


def test_images_that_are_in_no_file(tmp_path):
    sizes = {"image_size": 16, "num_classes": 2, "train_images": 4, "val_images": 2, "test_images": 2}
    report, problems = run(synthetic(**sizes, cache_dir=tmp_path))
    assert problems == []
    assert report.parts[0].sizes.tolist() == [[16, 16]] * 4


def test_kinds_of_files_are_counted(split_up, make_entry):
    names = ("gray.png", "gray2.png", "cmyk.jpg", "deep.png", "palette.gif", "clear.png", "turned.jpg", "upright.jpg")
    entries = {name: make_entry(name, [[0, 0, 20, 20]], write=False) for name in names}
    gray = Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40))
    gray.save(entries["gray.png"].path)
    gray.rotate(180).save(entries["gray2.png"].path)
    gray.convert("CMYK").save(entries["cmyk.jpg"].path)
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(entries["deep.png"].path)
    gray.convert("P").save(entries["palette.gif"].path)
    gray.convert("RGBA").save(entries["clear.png"].path)
    for name, orientation in (("turned.jpg", 6), ("upright.jpg", 1)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        gray.convert("RGB").save(entries[name].path, exif=exif)
    report, problems = run(split_up(test=list(entries.values())))
    assert problems == []
    counts = dict(report.parts[2].traits)
    # a GIF of grays alone is opened as such
    assert counts.pop("grayscale") + counts.pop("palette", 0) == 3
    assert counts == {"CMYK": 1, "16-bit": 1, "transparent": 1, "turned by EXIF": 1}
    assert [30, 40] in report.parts[2].sizes.tolist()
    assert [40, 30] in report.parts[2].sizes.tolist()  # as it is shown


def test_many_problems_are_all_reported_in_order_and_three_kept(make_entry, tmp_path):
    many = [make_entry(f"{number}.png", write=False) for number in range(200)]
    good = [[make_entry(f"{split}.png")] for split in ("train", "val")]
    report, problems = run(splits_of(["one"], (good[0], good[1], many)))
    assert [one.image_id for one in problems] == [f"{number}.png" for number in range(200)]
    assert report.counts[Kind.MISSING] == 200
    assert report.first[Kind.MISSING] == problems[:3]
    text = summary(report, tmp_path / "all.csv")
    assert text.startswith("# birds: 200 problems\n")
    assert "- missing file: 200\n  - test 0.png: Image " in text
    assert "  - and 197 more\n" in text
    assert text.endswith(f"All of them, one a line: {tmp_path / 'all.csv'}\n")


def test_entries_are_made_as_they_are_needed(make_entry, monkeypatch):
    """A list of a million entries would not fit beside what is decoded."""
    entry, lock = make_entry("a.png"), threading.Lock()
    parts = tuple([Entry(f"{split}{number}", 0, entry.boxes, entry.path) for number in range(300)] for split in "abc")
    waiting, most = Counter(), [0]
    make = Index.__getitem__

    def count(index, place):
        with lock:
            waiting["entries"] += 1
            most[0] = max(most[0], waiting["entries"])
        return make(index, place)

    def load(entry):
        with lock:
            waiting["entries"] -= 1
        return load_entry(entry)

    splits = splits_of(["one"], parts, load=load)
    monkeypatch.setattr(Index, "__getitem__", count)
    run(splits, duplicates=False)
    assert waiting["entries"] == 0
    assert most[0] <= processors()


def test_sizes_are_those_of_the_files_whatever_is_decoded_of_them(make_entry):
    parts = tuple([make_entry(f"{split}.jpg")] for split in ("train", "val", "test"))
    report, problems = run(splits_of(["one"], parts, decode="reduced"))
    assert problems == []
    assert [part.sizes.tolist() for part in report.parts] == [[[30, 40]]] * 3


def test_filters_of_warnings_are_left_as_they_were(tmp_path):
    make_cub(tmp_path)
    before = list(warnings.filters)
    run(cub(tmp_path))
    assert warnings.filters == before


def published(images, boxes=None, classes=2):
    figures = [Figure("training images", images, ("train", "val"))]
    if boxes is not None:
        figures.append(Figure("boxes", boxes, ("train", "val", "test"), of_boxes=True))
    return Published("Birds", classes, tuple(figures))


@pytest.mark.parametrize(
    ("expected", "kinds"),
    [
        (published(8, 12), []),
        (published(9), [Kind.COUNT]),
        (published(7), [Kind.COUNT]),
        (published(8, 13), [Kind.BOX_COUNT]),
        (published(9, 99, classes=3), []),  # 2 of 3 classes are a part
        (published(7, classes=3), [Kind.COUNT]),  # more than there are
    ],
)
def test_numbers_are_held_against_the_published_ones(tmp_path, expected, kinds):
    make_cub(tmp_path)
    report, problems = run(cub(tmp_path), published=expected)
    assert [(one.split, one.image_id, one.kind) for one in problems] == [("", "", kind) for kind in kinds]
    assert report.found[0] == 8
    assert (report.problems == 0) == (Kind.COUNT not in kinds)


def test_a_part_of_the_classes_is_said_to_be_one(tmp_path):
    make_cub(tmp_path)
    report, _ = run(cub(tmp_path), published=published_for("cub", {"val": None}))
    assert len(CUB_NAMES) == 3  # one is not on disk
    text = summary(report, tmp_path / "all.csv")
    assert "CUB-200-2011: 2 of 200 classes; counts are those of a subset." in text
    assert "| training images (train and val) |       8 |       5,994 |" in text
    assert "Training images of a class: 3 of each." in text
    assert "all.csv" not in text


CUBV2 = {"train": 5_994, "val": 1_000, "test": 5_794, "boxes of val": 1_000, "boxes of test": 5_794}
ILSVRC = {"train": 1_281_167, "val": 10_000, "test": 50_000, "boxes of val": 18_532, "boxes of test": 80_477}


@pytest.mark.parametrize(
    ("option", "settings", "expected"),
    [
        ("cub", {"val": None}, {"train, val": 5_994, "test": 5_794, "boxes of train, val, test": 11_788}),
        ("cub", {"val": "cubv2"}, CUBV2),
        ("metadata", {"name": "CUB"}, CUBV2),
        ("tiny_imagenet", {}, {"train, val": 100_000, "test": 10_000, "boxes of train, val, test": 110_000}),
        ("imagenet", {"val": "imagenetv2"}, ILSVRC),
        ("imagenet", {"val": "train"}, {"train, val": 1_281_167, "test": 50_000, "boxes of test": 80_477}),
        ("metadata", {"name": "ILSVRC"}, ILSVRC),
        ("openimages", {"name": "OpenImages"}, {"train": 29_819, "val": 2_500, "test": 5_000}),
    ],
)
def test_published_numbers_by_split(option, settings, expected):
    figures = published_for(option, settings).figures
    assert {("boxes of " if one.of_boxes else "") + ", ".join(one.splits): one.count for one in figures} == expected


@pytest.mark.parametrize("option", ["folder", "coco", "voc", "hugging_face", "synthetic", "metadata"])
def test_nothing_is_published_of_ones_own_images(option):
    assert published_for(option, {"name": "mine"}) is None
