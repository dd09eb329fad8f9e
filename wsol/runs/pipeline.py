"""Run one experiment from data to rows: classifier, maps, records, rows. Files on disk are used, not made again."""

from collections.abc import Callable, Collection

import pandas as pd

from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.networks.classifier import Classifier
from wsol.runs.artifacts import RunArtifacts
from wsol.runs.as_is import NetworkAsIs, admit
from wsol.runs.check import BoxNetworks, check_experiment, check_scored
from wsol.runs.experiment import PSOL, Evaluation, Experiment
from wsol.runs.facts import MapFacts, describe_maps, status_of
from wsol.runs.few_shot import few_shot_rows
from wsol.runs.fit import Trainer, train_classifier
from wsol.runs.folder import RunFolder
from wsol.runs.psol import psol_records
from wsol.runs.records import BaselineSource, SplitRecords, match_records
from wsol.runs.rows import failed_rows, score_rows, unscored
from wsol.runs.run_maps import RunMaps
from wsol.runs.search import search_settings
from wsol.runs.settings import describe_network, describe_run
from wsol.scoring.baselines import BASELINES, NONE
from wsol.scoring.score import Records


def run_experiment(
    experiment: Experiment,
    splits: Splits,
    build_classifier: Callable[[], Classifier],
    evaluation: Evaluation,
    machine: Machine,
    command: str = "",
    box_networks: BoxNetworks | None = None,
) -> pd.DataFrame:
    """Train one classifier and score every map and box rule on it, together with the baselines of its data set.

    Args:
        experiment: what is trained; its settings name the folder.
        splits: the data; images are decoded only if something has to be made.
        build_classifier: makes the untrained classifier; called after seeding, and only if needed.
        evaluation: how it is scored.
        machine: where it runs.
        command: what the user typed, kept with the run.
        box_networks: networks that boxes train beside the classifier; None: none.

    Returns:
        The run's rows: one per map and score, columns as in `scores-*.csv`; without values if training diverged.

    Raises:
        FileNotFoundError: before anything is trained, as `check_experiment`.
        ValueError: before anything is trained, as `check_experiment` and `check_maps`.
    """
    check_experiment(experiment, splits, evaluation, box_networks)
    trainer = Trainer(experiment, splits, build_classifier, evaluation.maps, machine)
    experiment = trainer.experiment = search_settings(trainer)
    artifacts = RunArtifacts(*describe_run(experiment, splits, machine), evaluation, command)
    with artifacts.locked():
        classifier = _classifier(trainer, artifacts)
        if classifier is None:
            return failed_rows(artifacts, evaluation.maps)
        maps = RunMaps(experiment, classifier, artifacts, splits, machine)
        rows = _score(maps, box_networks)
    if box_networks is not None and box_networks.few_shot is not None:
        for per_class in box_networks.few_shot.per_class:
            few_shot_rows(maps, box_networks.build_backbone, box_networks.few_shot, per_class)
    _score_baselines(maps)
    return rows


def run_network(
    as_is: NetworkAsIs,
    splits: Splits,
    evaluation: Evaluation,
    machine: Machine,
    command: str = "",
    named: Collection[str] = (),
) -> pd.DataFrame:
    """Score every map and box rule on a network as it is, together with the baselines of its data set.

    Args:
        as_is: the network; the order of its logits changes, see `admit`.
        splits: the data; `train` is not read.
        evaluation: how it is scored.
        machine: where it runs.
        command: what the user typed, kept with the run.
        named: map methods that the user named one by one; see `admit`.

    Returns:
        The run's rows: one per map and score, columns as in `scores-*.csv`.

    Raises:
        FileNotFoundError: as `check_scored`.
        ValueError: as `check_scored` and `admit`.
    """
    check_scored(splits, evaluation)
    as_is, methods = admit(as_is, splits, evaluation.maps, named)
    artifacts = RunArtifacts(*describe_network(as_is, splits, machine), evaluation, command)
    with artifacts.locked():
        maps = RunMaps(as_is, lambda: as_is.trained.network, artifacts, splits, machine, methods)
        rows = _score(maps)
    _score_baselines(maps)
    return rows


def _score(maps: RunMaps, box_networks: BoxNetworks | None = None) -> pd.DataFrame:
    """Make the maps, records and rows of a run that its folder lacks, and return the rows."""
    maps.make_missing()
    records, facts = _records(maps, box_networks)
    return score_rows(records, maps.artifacts, facts)


def _classifier(trainer: Trainer, artifacts: RunArtifacts) -> Callable[[], Classifier] | None:
    """Train the classifier in the run's folder, or in that of the run whose network is read with another pooling."""
    if trainer.experiment is trainer.trained:
        return train_classifier(trainer, artifacts.folder)
    described = describe_run(trainer.trained, trainer.splits, trainer.machine)
    base = RunArtifacts(*described, artifacts.evaluation, artifacts.command)
    with base.locked():
        return train_classifier(trainer, base.folder)


def _records(maps: RunMaps, box_networks: BoxNetworks | None) -> tuple[dict[str, Records], dict[str, MapFacts]]:
    """Match every map method of a run, and describe those that have no rows yet; one method's maps are in memory."""
    records: dict[str, SplitRecords] = {}
    facts: dict[str, MapFacts] = {}
    lacking = unscored([*maps.methods, PSOL], maps.artifacts)
    for name in maps.methods:
        source = maps.source(name)
        records[name] = match_records(source, maps.images, maps.artifacts)
        if name in lacking:
            facts[name] = describe_maps(source, maps)
    on_test: dict[str, Records] = {name: record.test for name, record in records.items()}
    if box_networks is not None and box_networks.psol:
        on_val = {name: record.val for name, record in records.items()}
        if regressed := psol_records(maps, on_val, box_networks.build_backbone):
            on_test[PSOL] = regressed
            if PSOL in lacking:
                facts[PSOL] = MapFacts({"status": status_of(maps)})
    return on_test, facts


def _score_baselines(maps: RunMaps) -> None:
    """Score the baselines of the data set in a folder of their own; the ground truth is that of the run."""
    run = maps.artifacts
    name = str(run.about["baselines"])
    about = {**run.about, "run": name, "backbone": NONE, "pooling": NONE, "seed": 0}
    artifacts = RunArtifacts(RunFolder.named(maps.machine.results, name), about, run.evaluation, run.command)
    images = maps.images.unclassified()
    with artifacts.locked():
        records = {name: match_records(BaselineSource(name), images, artifacts).test for name in BASELINES}
        score_rows({name: by_rule for name, by_rule in records.items() if by_rule}, artifacts)
