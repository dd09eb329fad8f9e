"""Every named protocol on one 6 x 6 map, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from wsol.identity import digest
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.matching import best_of, true_boxes_of
from wsol.scoring.protocol import GRAD_CAM2017, NAMED, REFERENCE, TIGHT, ZHOU2016
from wsol.scoring.score_map import to_score_maps
from wsol.scoring.thresholds import threshold_grid

# A ring of 2 with a hole of -2, a bar of 1, and faint clutter.
MAP = np.array(
    [
        [2.0, 2.0, 2.0, 0.0, 0.0, 0.5],
        [2.0, -2.0, 2.0, 0.0, 0.0, 0.0],
        [2.0, 2.0, 2.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
SIX = (6, 6)
TRUTH = np.float32([[0, 0, 3, 3], [0, 4, 6, 5]])


def boxes(rule, tau, protocol):
    protocol = replace(protocol, name="on its own grid", grid=None)
    return rule(to_score_maps(MAP[None], SIX, protocol)[0], [tau], protocol).at(0).tolist()


def test_tight():
    # Min-max: 2 -> 1, 1 -> 0.75, 0.5 -> 0.625, 0 -> 0.5. Half-open boxes; the ring has 8 pixels, the bar 6.
    assert boxes(every, 0.7, TIGHT) == [[0, 0, 3, 3], [0, 4, 6, 5]]
    assert boxes(largest, 0.7, TIGHT) == [[0, 0, 3, 3]]
    assert boxes(every, 0.6, TIGHT) == [[0, 0, 3, 3], [5, 0, 6, 1], [0, 4, 6, 5]]
    assert boxes(largest, 0.75, TIGHT) == [[0, 0, 3, 3]]
    assert boxes(largest, 0.2, TIGHT) == [[0, 0, 6, 6]]


def test_reference():
    # q = 255, 191, 159, 127, 0. One pixel wider but for the border; the hole's box is the ring's again.
    assert boxes(every, 0.7, REFERENCE) == [[0, 0, 4, 4], [0, 0, 4, 4], [0, 4, 6, 6]]
    assert boxes(largest, 0.7, REFERENCE) == [[0, 0, 4, 4]]  # area 4 against 0
    assert boxes(every, 0.2, REFERENCE) == [[0, 0, 4, 4], [0, 0, 6, 6]]
    # 0.75 * 255 = 191.25 -> 191: the bar is not above it. 0.749 * 255 = 190.995 -> 190: it is.
    assert len(boxes(every, 0.75, REFERENCE)) == 2
    assert len(boxes(every, 0.749, REFERENCE)) == 3


def test_zhou2016():
    # Divided by the maximum, what is negative cut off: 1, 0.5, 0.25, 0. Cut at 20 %.
    assert boxes(every, 0.2, ZHOU2016) == [[0, 0, 3, 3], [5, 0, 6, 1], [0, 4, 6, 5]]
    assert boxes(largest, ZHOU2016.threshold, ZHOU2016) == [[0, 0, 3, 3]]
    assert boxes(largest, 0.25, ZHOU2016) == [[0, 0, 3, 3]]


def test_grad_cam2017():
    assert GRAD_CAM2017.threshold == 0.15
    assert boxes(largest, GRAD_CAM2017.threshold, GRAD_CAM2017) == [[0, 0, 3, 3]]


def test_iou_conventions_differ():
    predicted = np.float32([[0, 0, 3, 3]])
    tight = best_of(largest(to_score_maps(MAP[None], SIX)[0], [0.7]), TRUTH[:1])
    assert tight.iou.tolist() == [1]
    protocol = replace(REFERENCE, name="on its own grid", grid=SIX)
    score_map = to_score_maps(MAP[None], SIX, protocol)[0]
    inclusive = best_of(largest(score_map, [0.7], protocol), true_boxes_of(predicted, SIX, protocol))
    assert inclusive.iou.tolist() == [1]  # both are read one pixel wider
    assert inclusive.boxes.tolist() == [[0, 0, 4, 4]]
    half = true_boxes_of(np.float32([[0, 0, 1, 3]]), SIX, protocol)
    assert best_of(largest(score_map, [0.7], protocol), half).iou.tolist() == [0.5]  # 2 x 4 of 4 x 4, not 1 of 3


def test_one_or_all_true_boxes():
    first = replace(TIGHT, name="first only", true_boxes="first")
    bar = every(to_score_maps((MAP == 1.0)[None] * 1.0, SIX)[0], [0.5])
    assert best_of(bar, true_boxes_of(TRUTH, SIX, TIGHT)).iou.tolist() == [1]
    assert best_of(bar, true_boxes_of(TRUTH, SIX, first)).iou.tolist() == [0]


def test_protocols_that_predict_the_class_also_admit_scores_with_the_class_given():
    for protocol in (ZHOU2016, GRAD_CAM2017):
        assert protocol.admits(protocol.threshold, needs_class=True)
        assert protocol.admits(protocol.threshold, needs_class=False)
        assert not protocol.admits("oracle", needs_class=True)
        assert not protocol.admits(None, needs_class=False, reads_map=True)
        assert protocol.admits(None, needs_class=False)  # classification
    assert all(TIGHT.admits(policy, needs_class=False) for policy in ("oracle", "held_out", "label_free", 0.2))


def test_each_says_what_it_is():
    assert len({protocol.text for protocol in NAMED.values()}) == len(NAMED)
    assert "224 x 224" in REFERENCE.text
    assert "τ 0.15" in GRAD_CAM2017.text


@pytest.mark.parametrize(
    ("protocol", "text"),
    [
        (
            TIGHT,
            "maps of the true class, bicubic to the image's size, min-max normalized; boxes around components, the "
            "largest by its pixels; IoU of boxes as edges with all true boxes",
        ),
        (
            REFERENCE,
            "maps of the true class, bicubic to 224 x 224 pixels, min-max normalized, cut to bytes; boxes around outer "
            "contours and holes, the largest by its polygon; IoU of boxes with their last pixel inside with all true "
            "boxes",
        ),
        (
            ZHOU2016,
            "maps of the predicted class, of the true one where it is given, bilinear to the image's size, divided by "
            "their maximum; boxes around components, the largest by its pixels; IoU of boxes as edges with all true "
            "boxes; τ 0.2",
        ),
        (
            GRAD_CAM2017,
            "maps of the predicted class, of the true one where it is given, bilinear to the image's size, divided by "
            "their maximum; boxes around components, the largest by its pixels; IoU of boxes as edges with all true "
            "boxes; τ 0.15",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_named_ones_leave_maps_as_they_are_and_resize_first(protocol, text):
    assert (protocol.rectify, protocol.percentile, protocol.order) == ("none", None, "resize_first")
    assert protocol.text == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"rectify": "relu"}, "true class cut at 0, bicubic to the image's size, min-max normalized;"),
        (
            {"normalization": "percentile", "percentile": 90},
            "true class, bicubic to the image's size, min-max normalized up to their percentile 90;",
        ),
        (
            {"normalization": "ivr", "percentile": 42.5, "quantization": "uint8"},
            "true class, bicubic to the image's size, min-max normalized from their percentile 42.5, cut to bytes;",
        ),
        (
            {"order": "normalize_first", "rectify": "relu", "normalization": "max"},
            "true class cut at 0, divided by their maximum on the network's grid, then bicubic to the image's size;",
        ),
    ],
)
def test_what_differs_is_said_and_recorded(fields, text):
    protocol = replace(TIGHT, name="mine", **fields)
    assert protocol.text.startswith(f"maps of the {text} boxes around")
    assert digest(protocol) != digest(replace(TIGHT, name="mine"))


@pytest.mark.parametrize("normalization", ["percentile", "ivr"])
@pytest.mark.parametrize("percentile", [None, -1, 100.5, float("nan"), "90", True])
def test_a_normalization_by_percentile_needs_one(normalization, percentile):
    with pytest.raises(ValueError, match=rf"'mine': normalization '{normalization}' needs a percentile in \[0, 100\]"):
        replace(TIGHT, name="mine", normalization=normalization, percentile=percentile)


@pytest.mark.parametrize("normalization", ["min_max", "max"])
def test_no_other_normalization_takes_a_percentile(normalization):
    with pytest.raises(ValueError, match=f"'mine': normalization '{normalization}' reads no percentile, got 90"):
        replace(TIGHT, name="mine", normalization=normalization, percentile=90)


def test_a_percentile_written_without_its_point_is_the_same_protocol():
    whole, point = (replace(TIGHT, name="mine", normalization="ivr", percentile=p) for p in (40, 40.0))
    assert digest(whole) == digest(point)


def test_thresholds_are_those_of_the_field():
    assert threshold_grid(0.01).tolist() == list(np.arange(0, 1, 0.01))
    assert threshold_grid(1 / 49).max() < 1
    assert threshold_grid(0.25, 0.5).tolist() == [0.5, 0.75]
    for step in (0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="step"):
            threshold_grid(step)
