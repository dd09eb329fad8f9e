"""Build the parts of an experiment from the configuration, and name them."""

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from config.options import check_target, option_file
from config.types import check_node
from wsol.data.links import check_links
from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.networks.classifier import Classifier
from wsol.networks.trained_network import TrainedNetwork
from wsol.runs.as_is import NetworkAsIs
from wsol.runs.check import BoxNetworks
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.few_shot import FewShotSettings
from wsol.runs.head_name import HeadName, option_name, read_option
from wsol.scoring.thresholds import threshold_grid
from wsol.training.train import PLAIN

NO_TRAINING = "train=none"
# Words that set what a network as it is does not have.
_IDLE = re.compile(r"[+~]*(backbone|pooling|pool_site|pooling_at_test|method|train|tune|few_shot|psol|seed)[.=]")
_EXAMPLES = {"maps": "[cam]", "boxes": "[largest,every]", "scores": "all"}


def build(node: Any, **kwargs: Any) -> Any:
    """Build the object that a config node names, from plain dicts and lists. Its own errors are raised unchanged.

    Raises:
        ValueError: for a setting of a wrong type, with its name.
    """
    check_node(node)
    try:
        return instantiate(node, _convert_="all", **kwargs)
    except InstantiationException as error:
        raise error.__cause__ or error from None


def machine_of(settings: DictConfig) -> Machine:
    """Return the machine of a command's `machine` settings."""
    return Machine(
        results=Path(settings.results),
        accelerator=settings.accelerator,
        devices=settings.devices,
        workers=settings.workers,
        batch_size=settings.batch_size,
        progress=settings.progress,
        compile=settings.compile,
    )


def build_data(node: Any, machine: DictConfig, with_train: bool = True) -> Splits:
    """Return the splits that a data node names, after checking that no link leads out of the data set's folders.

    Args:
        node: of the reader.
        machine: the settings of a command.
        with_train: False: training images may be missing, where the reader can do without.

    Raises:
        ValueError: for such a link, unless `machine.follow_links`; and as the reader.
    """
    can_lack = "with_train" in inspect.signature(get_method(node["_target_"])).parameters
    splits = build(node, **({"with_train": False} if can_lack and not with_train else {}))
    if not machine.follow_links:
        places = [node[key] for key in _places(node["_target_"]) if node.get(key) is not None]
        roots = [str(root) for place in places for root in (place.values() if hasattr(place, "values") else [place])]
        check_links([splits.train, splits.val, splits.test], map(Path, roots))
    return splits


def _places(target: str) -> set[str]:
    """Return the settings of a reader that name files or folders."""
    hints = get_type_hints(get_method(target))
    return {key for key, hint in hints.items() if "Path" in str(hint)}


def identity(option: str, node: DictConfig) -> dict[str, Any]:
    """Return an option's name and settings without those that come from `machine`: they cannot change a number."""
    settings: Any = OmegaConf.to_container(node, resolve=True)
    raw: Any = OmegaConf.to_container(node, resolve=False)
    kept = {key: value for key, value in settings.items() if not str(raw[key]).startswith("${machine.")}
    return {"option": option, **{key: value for key, value in kept.items() if key not in ("_target_", "_partial_")}}


def data_identity(option: str, node: DictConfig) -> dict[str, Any]:
    """Return the identity of a data set without its files and folders, and without settings that are null.

    The paths of images, boxes and masks cannot change a number: the fingerprint covers their content. A new option,
    which is null by default, renames no run.
    """
    places = _places(node["_target_"])
    return {key: value for key, value in identity(option, node).items() if value is not None and key not in places}


def head_identity(option: str, node: DictConfig) -> dict[str, Any]:
    """Return the identity of a part of the head, with floats where the target takes floats: 3 and 3.0 are one run.

    A setting that may be an int, like the k of top-k, is left unchanged.
    """
    return _with_floats(identity(option, node), _floats(node))


def named(group: str, choice: str, node: DictConfig) -> str:
    """Return the name of an option with those settings that differ from its file."""
    usual: Any = OmegaConf.to_container(OmegaConf.load(option_file(group, choice)), resolve=False)
    floats = _floats(node)
    settings = {key: value for key, value in head_identity(choice, node).items() if key != "option"}
    return option_name(choice, settings, _with_floats(usual, floats), exact=set(map(str, node)) - floats)


def _floats(node: DictConfig) -> set[str]:
    parameters = inspect.signature(get_method(node["_target_"]), eval_str=True).parameters
    return {key for key, parameter in parameters.items() if parameter.annotation in (float, float | None)}


def _with_floats(settings: Mapping[str, Any], floats: Collection[str]) -> dict[str, Any]:
    return {
        key: float(value) if key in floats and isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in settings.items()
    }


def option_of(group: str, text: str) -> DictConfig:
    """Return the node of a name like `lse:sharpness=5`.

    Raises:
        ValueError: if there is no such option, or it has no such setting.
    """
    option, settings = read_option(text)
    node = OmegaConf.load(option_file(group, option))
    assert isinstance(node, DictConfig)
    for key in settings:
        if key not in node:
            raise ValueError(f"{group}={option} has no setting {key!r}; settings: {', '.join(map(str, node))}.")
    changed = OmegaConf.merge(node, OmegaConf.from_dotlist([f"{key}={value}" for key, value in settings.items()]))
    assert isinstance(changed, DictConfig)
    return changed


def build_classifier(parts: Mapping[str, Any], num_classes: int) -> Classifier:
    """Build an untrained classifier.

    Args:
        parts: nodes of `backbone` and `pooling`, and of `pool_site` and `method` where they differ from the default.
        num_classes: K.
    """
    site = parts.get("pool_site", "features")
    classifier = Classifier(build(parts["backbone"]), build(parts["pooling"]), num_classes, site)
    return build(parts["method"]).attach(classifier) if parts.get("method") else classifier


def parts_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the nodes that `build_classifier` reads."""
    parts = {"backbone": cfg.backbone, "pooling": cfg.pooling}
    if cfg.pool_site != "features":
        parts["pool_site"] = cfg.pool_site
    if cfg.get("method"):
        parts["method"] = cfg.method
    return parts


def network_of(cfg: DictConfig) -> TrainedNetwork:
    """Load the network that a job scores as it is, and set the size of the images to its own unless the user chose one.

    Raises:
        ValueError: for settings that have no effect on such a network; and as the option.
    """
    words = HydraConfig.get().overrides.task
    idle = [word for word in words if _IDLE.match(word) and word != NO_TRAINING]
    if idle:
        raise ValueError(
            f"network={HydraConfig.get().runtime.choices['network']} is scored as it is, without training and seed, so "
            f"{' and '.join(idle)} would have no effect; leave it out, or choose a backbone in place of a network."
        )
    check_target("network", HydraConfig.get().runtime.choices["network"], cfg.network)
    trained = build(cfg.network)
    if not any(word.lstrip("+").startswith("data.image_size=") for word in words):
        cfg.data.image_size = trained.image_size
    if "train_size" in cfg.data:
        cfg.data.train_size = cfg.data.image_size  # nothing is cropped
    return trained


def network_as_is(cfg: DictConfig, trained: TrainedNetwork, data: str) -> NetworkAsIs:
    """Describe a network that a job scores on the data set of this name."""
    choices = HydraConfig.get().runtime.choices
    check_target("data", choices["data"], cfg.data)
    files = _places(cfg.network["_target_"])  # the digest of the weights stands for their file
    network = {key: value for key, value in identity(choices["network"], cfg.network).items() if key not in files}
    return NetworkAsIs(
        data=data,
        trained=trained,
        settings={"data": data_identity(choices["data"], cfg.data), "network": network},
        image_size=cfg.data.image_size,
        reader=identity(choices["data"], cfg.data),
        among=cfg.predict_among,
    )


def named_maps(cfg: DictConfig) -> set[str]:
    """Return the map methods that the command line names one by one; not those of the default or of `maps=all`."""
    asked = [word.partition("=")[2] for word in HydraConfig.get().overrides.task if word.startswith("maps=")]
    listed = asked[-1].strip("[]") if asked and asked[-1].startswith("[") else ""
    return {name.strip() for name in listed.split(",")} & set(cfg.maps)


def experiment_of(cfg: DictConfig, data: str) -> Experiment:
    """Describe what a job trains on the data set of this name, and the pooling that it is tested with.

    Raises:
        ValueError: for `tune.*` settings without a search, for `train=none` without a network, or for a frozen trunk
            with random weights.
    """
    if not cfg.get("train"):
        raise ValueError(f"{NO_TRAINING} needs a network that was trained elsewhere, like network=efficientnet_lite0.")
    if cfg.get("tune") and "_target_" not in cfg.tune:
        raise ValueError("tune.* are settings of a search, which sweep=tune asks for; add it, or leave them out.")
    choices = HydraConfig.get().runtime.choices
    for group in ("data", "backbone", "pooling", *(["method"] if cfg.get("method") else [])):
        check_target(group, choices[group], cfg[group])
    head = HeadName(
        named("pooling", choices["pooling"], cfg.pooling),
        on_scores=cfg.pool_site == "scores",
        method=named("method", choices["method"], cfg.method) if cfg.get("method") else "",
    )
    parts = parts_of(cfg)
    trunk = identity(choices["backbone"], parts.pop("backbone"))
    nodes = {
        name: node if isinstance(node, str) else head_identity(choices[name], node) for name, node in parts.items()
    }
    experiment = Experiment(
        data=data,
        reader=identity(choices["data"], cfg.data),
        # An option for many backbones is named with the one that it builds.
        backbone="-".join([choices["backbone"], cfg.backbone.name]) if "name" in cfg.backbone else choices["backbone"],
        pooling=str(head),
        seed=cfg.seed,
        settings={"data": data_identity(choices["data"], cfg.data), "backbone": trunk, **nodes},
        train=build(cfg.train),
        image_size=cfg.data.image_size,
        pooling_layer=build(cfg.pooling),
        pool_site=cfg.pool_site,
        method=build(cfg.method) if cfg.get("method") else PLAIN,
        tuning=build(cfg.tune) if cfg.get("tune") else None,
    )
    if experiment.train.freeze_backbone and not cfg.backbone.get("weights"):
        raise ValueError(
            f"train.freeze_backbone would keep the random weights of backbone={choices['backbone']}. Choose pretrained "
            "weights by backbone.weights, or another backbone, or set train.freeze_backbone=false."
        )
    if not cfg.pooling_at_test:
        return experiment
    swapped = option_of("pooling", cfg.pooling_at_test)
    check_node(swapped, f"pooling_at_test={read_option(cfg.pooling_at_test)[0]}:")
    tested_as = named("pooling", read_option(cfg.pooling_at_test)[0], swapped)
    return replace(
        experiment,
        pooling=str(replace(head, tested_as=tested_as)),
        settings={
            **experiment.settings,
            "pooling_at_test": head_identity(read_option(cfg.pooling_at_test)[0], swapped),
        },
        pooling_layer=build(swapped),
        trained_as=experiment,
    )


def evaluation_of(cfg: DictConfig) -> Evaluation:
    """Describe how a job is scored.

    Raises:
        ValueError: if a group that must not be empty is empty.
    """
    for group in ("maps", "boxes", "scores"):
        if not cfg.get(group):
            raise ValueError(f"{group}=[] leaves nothing to score; choose some, like {group}={_EXAMPLES[group]}.")
    start, step = cfg.thresholds.start, cfg.thresholds.step
    return Evaluation(
        maps=build(cfg.maps),
        boxes=build(cfg.boxes),
        scores=build(cfg.scores),
        thresholds=tuple(threshold_grid(step, start).tolist()),
        protocol=build(cfg.protocol),
        faithfulness=build(cfg.faithfulness) if "faithfulness" in cfg else {},
        optimized=cfg.optimized,
    )


def box_networks_of(cfg: DictConfig) -> BoxNetworks | None:
    """Describe the networks that boxes train beside the classifier of a job; None if it asks for none."""
    few_shot = FewShotSettings(tuple(cfg.few_shot)) if cfg.few_shot else None
    return BoxNetworks(lambda: build(cfg.backbone), few_shot, cfg.psol) if few_shot or cfg.psol else None
