import logging
from pathlib import Path

import pytest

from wsol.data.custom.labels import Annotated, Labelled, number_labels, single_labels
from wsol.geometry import as_boxes


def annotated(image_id, **boxes):
    labels = [label.rstrip("_") for label in boxes]
    return Annotated(
        image_id, Path(image_id), tuple(labels), as_boxes(list(boxes.values())), f"file, {image_id}", (9, 9)
    )


IMAGES = [
    annotated("one", cat=[0, 0, 2, 2], cat_=[4, 4, 6, 6]),
    annotated("two", dog=[0, 0, 3, 3], cat=[0, 0, 2, 2], cat_=[4, 4, 7, 7]),  # 9 against 4 + 9 square pixels
    annotated("none"),
]


def test_largest_keeps_the_class_of_the_largest_summed_area_and_its_boxes_alone(caplog):
    with caplog.at_level(logging.INFO):
        found = single_labels(IMAGES, "largest", "file")
    assert [(one.image_id, one.label, one.boxes.tolist()) for one in found] == [
        ("one", "cat", [[0, 0, 2, 2], [4, 4, 6, 6]]),
        ("two", "cat", [[0, 0, 2, 2], [4, 4, 7, 7]]),
    ]
    assert found[0].size == (9, 9)
    assert "1 images without annotation have no label and are left out" in caplog.text
    assert "1 images with boxes of several classes keep the class of the largest area" in caplog.text


def test_equal_areas_are_decided_by_the_alphabet():
    (found,) = single_labels([annotated("one", dog=[0, 0, 3, 3], cat=[3, 3, 6, 6])], "largest", "file")
    assert found.label == "cat"


def test_skip_leaves_them_out(caplog):
    with caplog.at_level(logging.INFO):
        assert [one.image_id for one in single_labels(IMAGES, "skip", "file")] == ["one"]
    assert "1 images with boxes of several classes are left out" in caplog.text


def test_error_counts_them_and_names_the_option():
    message = (
        r"file: 1 of 2 images have boxes of several classes, first two \(cat, dog\).*several=largest .*several=skip"
    )
    with pytest.raises(ValueError, match=message):
        single_labels(IMAGES, "error", "file")


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="several must be one of error, largest, skip, got 'first'"):
        single_labels(IMAGES, "first", "file")  # type: ignore[arg-type]


def test_labels_that_are_numbers_are_ordered_as_such():
    assert number_labels(Labelled("x", Path("x"), label) for label in ("10", "9", "10")) == ("9", "10")
    assert number_labels(Labelled("x", Path("x"), label) for label in ("b", "10", "9")) == ("10", "9", "b")
