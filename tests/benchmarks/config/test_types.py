"""Settings of a wrong type are refused by the name that they are typed by, before anything is made of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from config.build import build, experiment_of
from config.saved_runs import configuration
from config.types import check_node, check_run
from run import run as run_job
from wsol.typed_settings import check_setting

CONF = Path(__file__).parents[3] / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
SEVERAL = {"maps", "boxes", "scores", "faithfulness"}
Grid = tuple[tuple[float, float], tuple[float, float]]


def compose_with(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("run", overrides=list(overrides))


def takes_anything_named(known: float, *args: int, **knobs: float | list[float]) -> None:
    """A target."""


def takes_none_by_default(size: int = None, other: "list[str]" = ()) -> None:  # type: ignore[assignment]  # noqa: RUF013
    """A target."""


def takes_what_is_not_there(size: "NoSuchType") -> None:  # type: ignore[name-defined]  # noqa: F821
    """A target."""


@pytest.mark.parametrize(
    ("kind", "fitting"),
    [
        (bool, [True, False]),
        (int, [0, -3]),
        (float, [1.5, 2, float("nan")]),
        (str, ["no", ""]),
        (Path, ["data"]),
        (None, [None]),
        (Literal["a", "b"], ["a", "b"]),
        (Literal["a"] | float | None, ["a", 0.5, None]),
        (Literal["a"] | None, ["a", None]),
        (Sequence[int], [[], [1, 2], (3,)]),
        (list[float], [[1, 2.5]]),
        (tuple[str, ...], [[], ["a", "b"]]),
        (tuple[int, float], [[1, 2.5], (1, 2)]),
        (Grid, [[[0.5, 1], [0, 0.25]]]),
        (Mapping[str, Sequence[float]], [{}, {"lr": [1, 2.5]}]),
        (Mapping[str, Any] | Sequence[Any], [{"a": None}, ["x", 1]]),
        (dict, [{"a": 1}]),
        (Any, ["no", None, [True]]),
        (int | Sequence[str | int] | None, [5, ["a", 3], None]),
        (int, ["???", {"_target_": "builtins.int"}, np.int64(3)]),
        (np.ndarray, ["what is no plain type is let through"]),
        (int | np.ndarray, ["this, too"]),
    ],
)
def test_what_fits_is_let_through(kind, fitting):
    for value in fitting:
        check_setting("a.b", value, kind)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (bool, "no", "a.b must be true or false, got 'no'."),
        (bool, 0, "a.b must be true or false, got 0."),
        (bool, None, "a.b must be true or false, got null."),
        (int, 1.5, "a.b must be a whole number, got 1.5."),
        (int, 2.0, "a.b must be a whole number, got 2.0."),
        (int, True, "a.b must be a whole number, got true."),
        (float, False, "a.b must be a number, got false."),
        (float, "abc", "a.b must be a number, got 'abc'."),
        (float | None, "none", "a.b must be a number or null, got 'none'."),
        (int | float, "x", "a.b must be a number, got 'x'."),
        (str, None, "a.b must be text, got null."),
        (str, 2024, "a.b must be text, got 2024; as text it is 'a.b=\"2024\"'."),
        (str | Path | None, ["x"], "a.b must be text or null, got ['x']."),
        (Literal["true", "predicted"], True, "a.b must be true or predicted, got true; as text it is 'a.b=\"true\"'."),
        (Literal["adamw", "sgd"], "adam", "a.b must be adamw or sgd, got 'adam'."),
        (Literal["x", "y"] | float | None, "z", "a.b must be x, y, a number or null, got 'z'."),
        (Sequence[int], "123", "a.b must be a list of whole numbers, got '123'."),
        (Sequence[int], [1, True], "a.b must be a list of whole numbers, got [1, true]."),
        (tuple[int, int] | None, [112], "a.b must be a list of 2 whole numbers or null, got [112]."),
        (Grid, [0.5, 0.1], "a.b must be a list of 2 lists of 2 numbers, got [0.5, 0.1]."),
        (int | Sequence[str | int] | None, {}, "a.b must be a whole number, a list of texts or whole numbers or null"),
        (Mapping[str, Sequence[float]], None, "a.b must be a mapping to lists of numbers, got null."),
        (Mapping[str, Sequence[float]], {"lr": 0.1}, "a.b.lr must be a list of numbers, got 0.1."),
        (Mapping[str, float] | None, {"lr": 1, "x": {"y": None}}, "a.b.x must be a number, got {y: null}."),
    ],
)
def test_what_does_not_fit_is_refused_by_name(kind, value, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the text itself is compared
        check_setting("a.b", value, kind)
    assert str(error.value).startswith(message)


def every_option():
    for group in GROUPS:
        for path in sorted((CONF / group).glob("*.yaml")):
            if group != "claim":  # read by claims.py
                yield f"{group}=[{path.stem}]" if group in SEVERAL else f"{group}={path.stem}"


@pytest.mark.parametrize("option", list(every_option()))
def test_every_option_file_passes_and_so_does_what_a_run_keeps_of_it(option):
    cfg = compose_with(option)
    check_run(cfg)
    for node in json.loads(json.dumps(OmegaConf.to_container(cfg, resolve=True))).values():
        check_node(node)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("psol=no", "psol must be true or false, got 'no'"),
        ("optimized=off", "optimized must be true or false, got 'off'"),
        ("seed=null", "seed must be a whole number, got null"),
        ("few_shot=[true]", r"few_shot must be a list of whole numbers, got \[true\]"),
        ("few_shot=5", "few_shot must be a list of whole numbers, got 5"),
        ("pool_site=5", "pool_site must be features or scores, got 5"),
        ("pooling_at_test=5", "pooling_at_test must be text or null, got 5"),
        ("thresholds.step=x", r"thresholds\.step must be a number, got 'x'"),
        ("thresholds=null", "thresholds must be a mapping to numbers, got null"),
        ("machine.compile=no", r"machine\.compile must be true or false, got 'no'"),
        ("machine.workers=2.5", r"machine\.workers must be a whole number, got 2\.5"),
        ("machine.max_cache_gib=x data=cub", r"machine\.max_cache_gib must be a number, got 'x'"),
        ("machine.data_root=null data=cub", r"machine\.data_root must be a path, got null"),
        ("train.freeze_backbone=no", r"train\.freeze_backbone must be true or false, got 'no'"),
        ("train.batch_size=1.5", r"train\.batch_size must be a whole number, got 1\.5"),
        ("train.lr=abc", r"train\.lr must be a number, got 'abc'"),
        ("train.epochs=null", r"train\.epochs must be a whole number, got null"),
        ("pooling=lse pooling.learned=no", r"pooling\.learned must be true or false, got 'no'"),
        ("method=has method.drop_rate=x", r"method\.drop_rate must be a number, got 'x'"),
        (
            "method=spg method.thresholds=[0.5,0.1]",
            r"method\.thresholds must be a list of 3 lists of 2 numbers, got \[0\.5, 0\.1\]",
        ),
        ("sweep=tune tune.trials=x", r"tune\.trials must be a whole number, got 'x'"),
        ("sweep=tune tune.space.lr=0.1", r"tune\.space\.lr must be a list of numbers, got 0\.1"),
        ("sweep=tune tune.space=null", r"tune\.space must be a mapping to lists of numbers, got null"),
        ("tune=yes", "tune must be a mapping or null, got 'yes'"),
        ("backbone=timm backbone.name=null", r"backbone\.name must be text, got null"),
        ("data.object_scale=x", r"data\.object_scale must be a list of 2 numbers, got 'x'"),
        ("maps=[cam,rise] maps.rise.masks=many", r"maps\.rise\.masks must be a whole number, got 'many'"),
        ("scores.top1_loc.function.k=x", r"scores\.top1_loc\.function\.k must be a whole number, got 'x'"),
        (
            "protocol=custom protocol.map_class=true",
            r"protocol\.map_class must be true or predicted, got true",
        ),
    ],
)
def test_a_command_is_refused_before_anything_is_read(overrides, message, monkeypatch):
    cfg = compose_with(*overrides.split())
    monkeypatch.setattr("config.build.instantiate", lambda *args, **kwargs: pytest.fail("built"))
    with pytest.raises(ValueError, match=rf"^{message}"):
        run_job(cfg)


@pytest.mark.parametrize("group", ["train", "maps", "scores"])
def test_a_part_is_refused_by_its_full_name(group):
    wrong = {
        "train": "train.lr=abc",
        "maps": "maps.grad_cam.target_layer=null",
        "scores": "scores.top1_loc.needs_class=no",
    }[group]
    with pytest.raises(ValueError, match=rf"^{wrong.partition('=')[0]} must be"):
        build(compose_with(wrong)[group])


def test_one_node_of_a_group_is_refused_by_its_full_name():
    with pytest.raises(ValueError, match=r"^maps\.rise\.keep must be a number, got 'x'"):
        build(compose_with("maps=[rise]", "maps.rise.keep=x").maps.rise)


def test_nodes_without_a_place_are_refused_by_the_settings_own_names():
    node = {"_target_": "wsol.networks.pooling.lse.LSE", "sharpness": 3, "learned": "no"}
    for one in (node, OmegaConf.create(node)):
        with pytest.raises(ValueError, match=r"^learned must be true or false, got 'no'"):
            build(one)
    assert build({**node, "learned": False}).sharpness == 3


def test_a_dict_of_nodes_is_read_as_plain_data():
    node = {**compose_with("data.object_scale=[0.5,x]").data}
    with pytest.raises(ValueError, match=r"^object_scale must be a list of 2 numbers, got \[0\.5, 'x'\]"):
        check_node(node)


def test_the_pooling_at_test_is_refused_by_its_own_name(monkeypatch):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("run", overrides=['pooling_at_test="lse:learned=maybe"'], return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
    with pytest.raises(ValueError, match=r"^pooling_at_test=lse:learned must be true or false, got 'maybe'"):
        experiment_of(cfg, "synthetic")


def test_other_commands_refuse_the_same_settings():
    with pytest.raises(ValueError, match=r"^machine\.progress must be true or false, got 'no'"):
        configuration(["machine.progress=no"])


def test_interpolations_are_resolved():
    check_run(compose_with("backbone=timm", "data.image_size=96"))
    part = {"_target_": "wsol.networks.pooling.lse.LSE", "sharpness": "${size}"}
    root = OmegaConf.create({"size": "x", "part": part})
    with pytest.raises(ValueError, match=r"^part\.sharpness must be a number, got 'x'"):
        check_node(root.part)
    # Building says it.
    check_node(OmegaConf.create({"_target_": "wsol.networks.pooling.lse.LSE", "sharpness": "${nowhere}"}))


class TestSignatures:
    @pytest.fixture(autouse=True)
    def targets(self, monkeypatch):
        monkeypatch.setattr("config.types.get_object", lambda name: globals()[name])

    def test_further_keywords_are_held_against_their_annotation(self):
        check_node({"_target_": "takes_anything_named", "known": 1, "more": [0.5], "args": 2.0})
        with pytest.raises(ValueError, match=r"^more must be a number or a list of numbers, got 'x'"):
            check_node({"_target_": "takes_anything_named", "more": "x"})

    def test_none_is_taken_where_it_is_the_default(self):
        check_node({"_target_": "takes_none_by_default", "size": None})
        with pytest.raises(ValueError, match=r"^other must be a list of texts, got null"):
            check_node({"_target_": "takes_none_by_default", "other": None})

    def test_settings_that_are_no_parameters_are_left_to_building(self):
        check_node({"_target_": "takes_none_by_default", "sise": "x", "_partial_": True})

    @pytest.mark.parametrize("target", ["takes_what_is_not_there", "not_there"])
    def test_targets_that_cannot_be_read_are_left_to_building(self, target):
        check_node({"_target_": target, "size": "x"})
