from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from wsol import identity
from wsol.identity import admit, describe, digest, part_name, restore
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.networks.backbones.resnet import resnet18
from wsol.networks.pooling.lse import LSE
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.score import Score
from wsol.scoring.scores.max_box_acc import max_box_acc

SCORE_FILES = sorted((Path(__file__).parents[1] / "conf" / "scores").glob("*.yaml"))


@dataclass(frozen=True)
class Part:
    size: int = 3


def test_parts_are_named_with_their_settings():
    settings = {"target_layer": "backbone", "layout": "channels_first", "prefix_tokens": 0}
    assert describe(GradCAM()) == {"of": "maps/grad_cam", **settings}
    assert describe(largest) == "boxes/largest"
    found = describe(partial(max_box_acc, iou_threshold=0.7))
    assert found == {"of": "scores/max_box_acc", "args": [], "iou_threshold": 0.7}


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


class TestNames:
    """An option is known by its group and name, wherever its file lies."""

    @pytest.mark.parametrize(
        ("part", "name", "key"),
        [
            (CAM(), "maps/cam", "e1a0d1ed"),
            (LSE(5.0), "pooling/lse", "69bb8f25"),
            (partial(max_box_acc, iou_threshold=0.5), "scores/max_box_acc", "8f6e3484"),
        ],
        ids=["cam", "lse", "max_box_acc"],
    )
    def test_three_known_keys(self, part, name, key):
        described = describe(part) if not isinstance(part, LSE) else {"of": part_name(LSE), "sharpness": 5.0}
        assert described["of"] == name
        assert digest(described) == key

    def test_a_second_option_in_a_module_has_its_own_name(self):
        assert part_name(resnet18) == "backbone/resnet.resnet18"

    def test_parts_of_other_packages_are_known_by_module_and_name(self):
        assert part_name(Part) == "test_identity.Part"
        assert part_name(Score) == "Score"


class TestRestore:
    @pytest.mark.parametrize("path", SCORE_FILES, ids=lambda path: path.stem)
    def test_every_score_comes_back(self, path):
        for node in OmegaConf.to_container(OmegaConf.load(path)).values():
            if isinstance(node, dict):
                score = instantiate(node, _convert_="all")
                assert describe(restore(describe(score), ["scores"], [Score])) == describe(score)

    @pytest.mark.parametrize(
        "name",
        [
            "torch.load",
            "wsol.scoring.scores.max_box_acc.max_box_acc",
            "scores/../identity",
            "scores/",
            "scores/max_box_acc.np",
            "maps/cam",
            "os/system",
            "Protocol",
            "",
            7,
            ["scores/max_box_acc"],
        ],
        ids=str,
    )
    def test_a_name_that_is_no_option_of_the_groups_is_refused(self, name):
        with pytest.raises(ValueError, match=r"is not an option of scores.*--config-dir"):
            restore({"of": name}, ["scores"], [Score])

    @pytest.mark.parametrize(
        "settings",
        [{"iou_threshold": "0.5"}, {"iou_threshold": True}, {"other": 1}, {"args": [1, 2, 3, 4, 5]}],
        ids=str,
    )
    def test_settings_that_do_not_fit_are_refused(self, settings):
        with pytest.raises(ValueError, match="scores/max_box_acc"):
            restore({"of": "scores/max_box_acc", **settings}, ["scores"])

    def test_what_the_user_admits_comes_back(self, monkeypatch):
        monkeypatch.setattr(identity, "_admitted", {})
        with pytest.raises(ValueError, match="--config-dir"):
            restore(describe(Part(4)), ["scores"])
        admit([Part])
        assert restore(describe(Part(4)), ["scores"]) == Part(4)
