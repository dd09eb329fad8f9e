"""Write what a run's `settings.json` contains, and name the run's folder."""

from typing import Any

from wsol.data.splits import Splits
from wsol.identity import describe, digest
from wsol.machine import Machine
from wsol.runs.as_is import AS_IS, NetworkAsIs
from wsol.runs.experiment import SCORED_SPLITS, Experiment
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder
from wsol.runs.head_name import file_name
from wsol.scoring.baselines import NONE


def describe_run(experiment: Experiment, splits: Splits, machine: Machine) -> tuple[RunFolder, dict[str, Any]]:
    """Return a run's folder, and what its `settings.json` contains."""
    tuned = experiment.tuned
    data_settings = {"settings": experiment.settings["data"], "fingerprint": splits.fingerprint}
    trained = experiment.shared_training.identity()
    comparison = {
        "data": data_settings,
        "backbone": experiment.settings["backbone"],
        "train": trained,
        "image_size": experiment.image_size,
    }
    if tuned is not None:  # heads are compared by how they were tuned, and each has settings of its own
        comparison["tuning"] = describe(tuned.tuning)
    head = {part: value for part, value in experiment.settings.items() if part not in ("data", "backbone")}
    identity = {**comparison, "train": experiment.train.identity(), **head, "seed": experiment.seed}
    if tuned is not None:  # searches that start from other settings may choose the same, and are other lines
        identity["tuned_from"] = trained
    head_name = file_name(experiment.pooling)
    name = f"{experiment.data}-{experiment.backbone}-{head_name}-s{experiment.seed}-{digest(identity)}"
    about = {
        "run": name,
        "data": experiment.data,
        "reader": dict(experiment.reader),
        "backbone": experiment.backbone,
        "pooling": experiment.pooling,
        "seed": experiment.seed,
        # Runs that differ in nothing but the head and the seed share this, and so a table.
        "comparison": f"{experiment.data}-{experiment.backbone}-{digest(comparison)}",
        "baselines": f"{experiment.data}-baselines-{digest([data_settings, experiment.image_size])}",
        "identity": identity,
        "num_classes": splits.num_classes,
        "split_sizes": _split_sizes(splits),
        **({} if tuned is None else {"tuned": tuned.about()}),
    }
    return RunFolder.named(machine.results, name), about


def describe_network(as_is: NetworkAsIs, splits: Splits, machine: Machine) -> tuple[RunFolder, dict[str, Any]]:
    """Return the folder of a network that is scored as it is, and what its `settings.json` contains.

    Raises:
        ValueError: if the network has a name that stands for other rows.
    """
    if as_is.trained.name == NONE or few_shot_count(as_is.trained.name) is not None:
        raise ValueError(f"A network may not be called {as_is.trained.name!r}, as other rows are; rename its file.")
    data_settings = {"settings": as_is.settings["data"], "fingerprint": splits.fingerprint}
    comparison = {"data": data_settings, "predict_among": as_is.among, "image_size": as_is.image_size}
    order, trained = as_is.trained.network.class_order, as_is.trained
    network = {
        **as_is.settings["network"],
        "weights_digest": trained.weights_digest,
        "classes": None if order is None else digest(order.tolist()),
    }
    identity = {**comparison, "network": network}
    name = f"{as_is.data}-{trained.name}-{digest(identity)}"
    about = {
        "run": name,
        "data": as_is.data,
        "reader": dict(as_is.reader),
        "backbone": AS_IS,
        "pooling": trained.name,
        "seed": None,
        # Networks that are scored on the same images at the same size share this, and so a table.
        "comparison": f"{as_is.data}-{AS_IS}-{digest(comparison)}",
        "baselines": f"{as_is.data}-baselines-{digest([data_settings, as_is.image_size])}",
        "identity": identity,
        "num_classes": splits.num_classes,
        "target_layer": as_is.target_layer,
        "split_sizes": _split_sizes(splits),
    }
    return RunFolder.named(machine.results, name), about


def _split_sizes(splits: Splits) -> dict[str, int]:
    return {split: len(getattr(splits, split).class_ids) for split in ("train", *SCORED_SPLITS)}
