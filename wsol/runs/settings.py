"""What a run's `settings.json` says, and the name that it gives the run's folder."""

from collections.abc import Mapping
from typing import Any

from wsol.data.splits import Splits
from wsol.identity import describe, digest
from wsol.machine import Machine
from wsol.runs.artifacts import SCORED_SPLITS
from wsol.runs.experiment import Experiment
from wsol.runs.folder import RunFolder
from wsol.runs.head_name import file_name
from wsol.runs.tuning import Tuned
from wsol.versions import commit, versions


def write_settings_once(folder: RunFolder, about: Mapping[str, Any], command: str) -> None:
    """Write `settings.json` where there is none."""
    if not folder.settings_file.exists():
        folder.write_settings({**about, "command": command, "commit": commit(), "versions": versions()})


def describe_run(
    experiment: Experiment, splits: Splits, machine: Machine, tuned: Tuned | None
) -> tuple[RunFolder, dict[str, Any]]:
    """The run's folder, and what its `settings.json` says."""
    data_settings = {"settings": experiment.settings["data"], "fingerprint": splits.fingerprint}
    trained = (experiment.train if tuned is None else tuned.base).identity()
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
