from dataclasses import dataclass
from functools import partial

import pytest

from wsol.boxes.every import every
from wsol.boxes.largest import largest
from wsol.identity import describe, digest
from wsol.maps.cam import CAM
from wsol.maps.grad_cam import GradCAM
from wsol.scores.max_box_acc import max_box_acc


@dataclass(frozen=True)
class Part:
    size: int = 3


def test_parts_are_named_with_their_settings():
    settings = {"target_layer": "backbone", "layout": "channels_first", "prefix_tokens": 0}
    assert describe(GradCAM()) == {"of": "wsol.maps.grad_cam.GradCAM", **settings}
    assert describe(largest) == "wsol.boxes.largest.largest"
    found = describe(partial(max_box_acc, iou_threshold=0.7))
    assert found == {"of": "wsol.scores.max_box_acc.max_box_acc", "args": [], "iou_threshold": 0.7}


def test_what_can_change_a_number_changes_the_digest():
    different = [
        CAM(),
        GradCAM(),
        GradCAM(target_layer="backbone.block1"),
        largest,
        every,
        partial(max_box_acc, iou_threshold=0.5),
        partial(max_box_acc, iou_threshold=0.7),
        Part(),
        Part(4),
        {"a": 1},
        {"a": None},
        [1, 2],
        [2, 1],
    ]
    assert len({digest(part) for part in different}) == len(different)


def test_order_of_keys_and_kind_of_sequence_do_not():
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})


def test_what_has_no_name_is_refused():
    with pytest.raises(TypeError, match="Cannot describe"):
        digest({"a": object()})
