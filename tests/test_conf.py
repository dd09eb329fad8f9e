"""Every option of every group builds, and one stem stands in two places."""

import importlib
import inspect
import sys
import types
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from config.build import (
    build,
    build_classifier,
    evaluation_of,
    experiment_of,
    head_identity,
    named,
    named_maps,
    network_as_is,
    network_of,
    option_of,
    parts_of,
)
from wsol.data.birds.world import BirdSettings
from wsol.data.readers.synthetic import synthetic
from wsol.identity import digest
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork
from wsol.runs.experiment import Evaluation
from wsol.scoring.protocol import NAMED
from wsol.scoring.score import Score

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
OPTIONS = sorted(path for path in CONF.glob("*/*.yaml"))
SCORE_LISTS = {"all", "diagnosis", "pixels", "zhou2016", "grad_cam2017"}  # files that list scores, and are none
OF_NO_FILE = {"maps": {"one_pass", "all"}, "method": {"plain"}}
GROUPS = {
    "data": "data/readers",
    "backbone": "networks/backbones",
    "pooling": "networks/pooling",
    "method": "training/methods",
    "maps": "maps/methods",
    "boxes": "scoring/boxes",
    "faithfulness": "explain/faithfulness",
    "network": "networks/trained",
}


# One file holds the family.
FAMILIES = {
    "alexnet": {"alexnet_gap", "alexnet_pool5"},
    "vgg16": {"vgg16", "vgg16_gap", "vgg16_pool5", "vgg16_choe"},
    "googlenet": {"googlenet_gap"},
    "inception_v3": {"inception_v3_choe"},
    "resnet": {"resnet18", "resnet50", "resnet50_choe"},
    "vit": {"deit_tiny", "deit_small", "vit_small"},
    "swin": {"swin_tiny"},
    "efficientnet_lite": {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"},
}
# Heads that read what only some networks give.
OF_ONE_NETWORK = {"fully_connected", "class_token"}


def stems(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def targets(node):
    """All nodes of a config that name something."""
    if OmegaConf.is_dict(node):
        if "_target_" in node:
            yield node
        for key in node:
            yield from targets(node._get_node(key))


def compose_with(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("run", overrides=list(overrides))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.relative_to(CONF).as_posix())
def test_every_target_exists_and_takes_its_keys(path):
    for node in targets(OmegaConf.load(path)):
        module, name = node["_target_"].rsplit(".", 1)
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        keys = {key for key in node if not key.startswith("_")}
        assert anything or keys <= set(parameters), f"{path.name}: {keys - set(parameters)}"


@pytest.mark.parametrize(("group", "package"), GROUPS.items())
def test_one_stem_two_places(group, package):
    options = {path.stem for path in (CONF / group).glob("*.yaml")} - OF_NO_FILE.get(group, set())
    files = {path.stem for path in (ROOT / "wsol" / package).glob("*.py")} - {"__init__"}
    if group in ("backbone", "network"):
        files = set().union(*(FAMILIES.get(name, {name}) for name in files))
    assert options == files


def test_every_score_file_is_an_option():
    used = {
        node["_target_"].split(".")[3]
        for path in (CONF / "scores").glob("*.yaml")
        for node in targets(OmegaConf.load(path))
        if node["_target_"].startswith("wsol.scoring.scores")
    }
    assert used == {path.stem for path in (ROOT / "wsol" / "scoring" / "scores").glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("backbone", stems("backbone"))
def test_every_backbone_builds(backbone):
    overrides = [f"backbone={backbone}"]
    if backbone not in ("small_cnn", "efficientnet_lite0"):  # nothing is downloaded here
        overrides.append("backbone.weights=null")
    assert build(compose_with(*overrides).backbone).out_channels > 0


@pytest.mark.parametrize("site", ["features", "scores"])
@pytest.mark.parametrize("pooling", sorted(set(stems("pooling")) - OF_ONE_NETWORK))
def test_every_head_builds_or_says_why_not(pooling, site):
    parts = parts_of(compose_with(f"pooling={pooling}", f"pool_site={site}"))
    if site in build(parts["pooling"]).sites:
        logits = build_classifier(parts, 5)(torch.rand(2, 3, 32, 32))
        assert logits.shape == (2, 5)
    else:
        with pytest.raises(ValueError, match=rf"pool_site of \w+ must be (features|scores), got '{site}'"):
            build_classifier(parts, 5)


@pytest.mark.parametrize("pooling", sorted(set(stems("pooling")) - OF_ONE_NETWORK))
@pytest.mark.parametrize("method", stems("method"))
def test_every_method_and_head_builds_or_says_why_not(method, pooling):
    site = "scores" if pooling == "wildcat" else "features"
    overrides = ["method.stages=[backbone.block2,backbone.block3]"] if method == "spg" else []
    parts = parts_of(compose_with(f"method={method}", f"pooling={pooling}", f"pool_site={site}", *overrides))
    if method in ("acol", "spg") and pooling == "attention":
        with pytest.raises(ValueError, match=f"method={method} needs a pooling of each channel by itself"):
            build_classifier(parts, 5)
    else:
        classifier = build_classifier(parts, 5).eval()
        assert classifier(torch.rand(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("train", sorted(path.stem for path in (CONF / "train").glob("*.yaml") if path.stem != "none"))
def test_every_training_builds(train):
    assert build(compose_with(f"train={train}").train).epochs > 0


def test_every_map_box_and_score_builds_into_an_evaluation():
    lists = {path.stem for path in (CONF / "maps").glob("from_*.yaml")} | OF_NO_FILE["maps"]
    parts = {
        group: ",".join(path.stem for path in (CONF / group).glob("*.yaml") if path.stem not in lists)
        for group in ("maps", "boxes")
    }
    cfg = compose_with(*(f"{group}=[{names}]" for group, names in parts.items()))
    everything = [path.stem for path in (CONF / "scores").glob("*.yaml") if path.stem not in SCORE_LISTS]
    cfg.scores = compose_with(f"scores=[{','.join(everything)}]").scores
    evaluation = Evaluation(
        maps=build(cfg.maps),
        boxes=build(cfg.boxes),
        scores=build(cfg.scores),
        thresholds=(0.0, 0.15, 0.2),
    )
    assert set(evaluation.scores) == set(everything)
    assert all(isinstance(score, Score) for score in evaluation.scores.values())
    assert all(callable(rule) for rule in evaluation.boxes.values())


@pytest.mark.parametrize("name", ["tight", "reference", "zhou2016", "grad_cam2017"])
def test_a_named_protocol_takes_the_scores_of_its_name(name):
    scores = name if name in SCORE_LISTS else "all"
    cfg = compose_with(f"protocol={name}", f"scores={scores}", "thresholds.step=0.05")
    evaluation = evaluation_of(cfg)
    assert evaluation.protocol is NAMED[name]
    assert evaluation.key.startswith(f"{name}-")


def test_a_protocol_refuses_scores_that_are_not_part_of_it():
    with pytest.raises(ValueError, match=r"'zhou2016' cuts at τ = 0\.2, so score 'max_box_acc'"):
        evaluation_of(compose_with("protocol=zhou2016"))
    with pytest.raises(ValueError, match="'zhou2016' predicts the class, so score 'pointing_game'"):
        evaluation_of(compose_with("protocol=zhou2016", "scores=[pointing_game]"))


def test_a_protocol_of_ones_own_needs_a_name_of_its_own():
    cfg = compose_with("protocol=custom", "protocol.grid=[112,112]", "protocol.name=mine")
    assert evaluation_of(cfg).protocol.grid == (112, 112)
    cfg = compose_with("protocol=custom", "protocol.grid=[112,112]", "protocol.name=reference")
    with pytest.raises(ValueError, match="not the protocol 'reference' any more"):
        build(cfg.protocol)


def test_another_pooling_at_test_is_named_with_its_settings():
    node = option_of("pooling", "lse:sharpness=5:learned=false")
    assert (node.sharpness, node.learned) == (5, False)
    assert build(node).sharpness == 5
    with pytest.raises(ValueError, match=r"there is no pooling=max; options: attention, .*gap, .*"):
        option_of("pooling", "max")
    with pytest.raises(ValueError, match="pooling=lse has no setting 'r'; settings: _target_, sharpness, learned"):
        option_of("pooling", "lse:r=5")


@pytest.fixture
def experiment(monkeypatch):
    """What a command with these overrides trains."""

    def make(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("run", overrides=list(overrides), return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
        return experiment_of(cfg, "synthetic")

    return make


@pytest.fixture
def hydra_cfg(monkeypatch):
    """The configuration of a command with these overrides."""

    def make(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("run", overrides=list(overrides), return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
        return cfg

    return make


class TestNetworksAsTheyAre:
    OWN = ("network=module", "network.build=module_of_test_conf:build")

    @pytest.fixture(autouse=True)
    def own_module(self, monkeypatch):
        module = types.ModuleType("module_of_test_conf")
        module.build = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        monkeypatch.setitem(sys.modules, "module_of_test_conf", module)

    def test_the_size_of_the_images_is_the_networks(self, hydra_cfg):
        cfg = hydra_cfg(*self.OWN, "network.image_size=40", "data=cub")
        assert network_of(cfg).name == "build"
        assert (cfg.data.image_size, cfg.data.train_size) == (40, 40)
        cfg = hydra_cfg(*self.OWN, "data=cub", "data.image_size=96", "train=none")
        network_of(cfg)
        assert (cfg.data.image_size, cfg.data.train_size) == (96, 96)

    @pytest.mark.parametrize("word", ["pooling=gmp", "seed=1", "train.epochs=3", "few_shot=[1]", "backbone=resnet18"])
    def test_what_has_no_effect_is_refused(self, hydra_cfg, word):
        with pytest.raises(
            ValueError, match=r"without training and seed, so .* would have no effect; leave it out"
        ) as error:
            network_of(hydra_cfg(*self.OWN, word))
        assert word in str(error.value)

    def test_nothing_to_train_needs_a_network(self, experiment):
        with pytest.raises(ValueError, match="train=none needs a network that was trained elsewhere"):
            experiment("train=none")

    def test_another_target_is_refused(self, hydra_cfg):
        with pytest.raises(ValueError, match=r"network._target_ is builtins.dict, but network=module stands for"):
            network_of(hydra_cfg(*self.OWN, "network._target_=builtins.dict"))

    def test_files_are_in_no_name(self, hydra_cfg):
        cfg = hydra_cfg(*self.OWN, "network.weights=/home/me/best.pth", "network.classes=/home/me/classes.txt")
        network = NormalizedNetwork(torch.nn.Linear(1, 1), (0,) * 3, (1,) * 3)
        settings = network_as_is(cfg, TrainedNetwork("best", network, 8), "synthetic").settings
        assert settings["network"]["build"] == "module_of_test_conf:build"
        assert "/home/me" not in str(settings)

    @pytest.mark.parametrize(
        ("word", "named"),
        [
            ("maps=one_pass", set()),
            ("maps=[one_pass,rise]", {"rise"}),
            ("maps=[cam,grad_cam]", {"cam", "grad_cam"}),
            ("", set()),
        ],
    )
    def test_methods_of_a_list_are_not_named(self, hydra_cfg, word, named):
        assert named_maps(hydra_cfg(*self.OWN, *([word] if word else []))) == named


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (["pooling=gem", "pooling.power=3"], ["pooling=gem", "pooling.power=3.0"], "gem"),
        (["pooling=gem", "pooling.power=4"], ["pooling=gem", "pooling.power=4.0"], "gem:power=4"),
        (["method=cutmix", "method.alpha=2"], ["method=cutmix", "method.alpha=2.0"], "gap+cutmix:alpha=2"),
        (["pooling_at_test=lse"], ['pooling_at_test="lse:learned=false:sharpness=3"'], "gap_tested_as_lse"),
        (
            ['pooling_at_test="lse:sharpness=5"'],
            ['pooling_at_test="lse:learned=false:sharpness=5.0"'],
            "gap_tested_as_lse:sharpness=5",
        ),
    ],
)
def test_one_head_has_one_name_and_one_run(experiment, one, other, name):
    first, second = experiment(*one), experiment(*other)
    assert first.pooling == second.pooling == name
    assert digest(first.settings) == digest(second.settings)


@pytest.mark.parametrize("option", ["pooling=top_k pooling.k", "pooling=wildcat pool_site=scores pooling.lowest"])
def test_one_cell_and_all_of_them_are_two_runs_of_two_names(experiment, option):
    first, second = experiment(*f"{option}=1".split()), experiment(*f"{option}=1.0".split())
    assert first.pooling != second.pooling
    assert digest(first.settings) != digest(second.settings)


def test_what_may_be_an_int_stays_one_in_a_heads_identity():
    node = option_of("pooling", "wildcat:highest=1:alpha=1:maps_per_class=2")
    found = {key: value for key, value in head_identity("wildcat", node).items() if key != "option"}
    expected = {"highest": 1, "lowest": 0.2, "alpha": 1.0, "maps_per_class": 2}
    assert {key: (value, type(value)) for key, value in found.items()} == {
        key: (value, type(value)) for key, value in expected.items()
    }
    assert named("pooling", "wildcat", node) == "wildcat:highest=1:alpha=1:maps_per_class=2"


@pytest.mark.parametrize("group", ["pooling", "method"])
def test_every_part_of_a_head_is_itself_without_settings(group):
    for stem in set(stems(group)) - OF_NO_FILE.get(group, set()):
        assert named(group, stem, OmegaConf.load(CONF / group / f"{stem}.yaml")) == stem


def test_plain_training_is_an_option_that_adds_nothing(experiment):
    assert "method" not in parts_of(compose_with())
    named_so, left_out = experiment("method=plain"), experiment()
    assert named_so.pooling == left_out.pooling == "gap"
    assert digest(named_so.settings) == digest(left_out.settings)


@pytest.mark.parametrize(
    "text",
    ["lse:sharpness=5:learned=True", "top_k:k=1.0", "top_k:k=3", "gem:power=2.5e07", "fully_connected:weights=null"],
)
def test_a_name_stands_for_what_it_is_the_name_of(text):
    assert named("pooling", text.partition(":")[0], option_of("pooling", text)) == text


def test_some_scores_can_be_chosen():
    assert set(compose_with("scores=[top1_cls,max_box_acc]").scores) == {"top1_cls", "max_box_acc"}


@pytest.mark.parametrize("data", ["cub", "tiny_imagenet"])
def test_data_sets_are_looked_for_where_the_machine_says(data, tmp_path):
    cfg = compose_with(f"data={data}", f"machine.data_root={tmp_path}")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        build(cfg.data)


def test_the_synthetic_data_build(tmp_path):
    few = [f"data.{split}_images=20" for split in ("train", "val", "test")]
    cfg = compose_with(*few, f"+data.cache_dir={tmp_path}")
    assert len(build(cfg.data).train) == 20


@pytest.mark.parametrize("sweep", [path.stem for path in (CONF / "sweep").glob("*.yaml")])
def test_every_sweep_composes(sweep):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("run", overrides=[f"sweep={sweep}"], return_hydra_config=True)
    assert cfg.hydra.sweeper.params


def test_the_knobs_in_the_config_are_the_defaults():
    node = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "synthetic.yaml"))
    defaults = {field.name: field.default for field in fields(BirdSettings)}
    assert {name: node[name] for name in defaults} == {**defaults, "object_scale": list(defaults["object_scale"])}
    parameters = inspect.signature(synthetic).parameters
    for split in ("train", "val", "test"):
        assert node[f"{split}_images"] == parameters[f"{split}_images"].default
