"""Write what a run's `settings.json` contains, and name the run's folder."""

from typing import Any

from wsol.data.splits import Splits
from wsol.identity import describe, digest
from wsol.machine import Machine
from wsol.runs.experiment import SCORED_SPLITS, Experiment
from wsol.runs.folder import RunFolder
from wsol.runs.head_name import file_name


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
        "split_sizes": {split: len(getattr(splits, split).class_ids) for split in ("train", *SCORED_SPLITS)},
        **({} if tuned is None else {"tuned": tuned.about()}),
    }
    return RunFolder.named(machine.results, name), about
