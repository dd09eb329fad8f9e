"""Train, make maps, box, score, and write the table.

python benchmarks/run.py sweep=gap_vs_gmp
python benchmarks/run.py sweep=gap_vs_gmp data=cub backbone=efficientnet_lite0 train=finetune
python benchmarks/run.py sweep=tune pooling=gap,lse,gmp seed=0,1,2
python benchmarks/run.py sweep=gap_vs_gmp few_shot=[1,5,10] psol=true
"""

import logging
import os
import shlex
import sys
from dataclasses import replace

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from config.build import build, build_classifier, build_data, evaluation_of, experiment_of, machine_of, parts_of
from config.show_results import WHERE, Failed
from config.types import check_run
from wsol.comparison.comparison import read_comparisons
from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.networks.classifier import with_pooling
from wsol.report.pictures.comparison import write_gallery
from wsol.report.table_files import write_tables
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.few_shot import FewShotSettings
from wsol.runs.fit import check_maps
from wsol.runs.pipeline import check_experiment, run_experiment
from wsol.runs.tuning import Tuned, tune

log = logging.getLogger(__name__)


def tuned_of(
    cfg: DictConfig, experiment: Experiment, evaluation: Evaluation, splits: Splits, machine: Machine
) -> tuple[Experiment, Tuned | None]:
    """The experiment with the settings that a search chose, where `tune` asks for one."""
    if not cfg.get("tune"):
        return experiment, None
    trained = experiment.trained_as or experiment
    parts = parts_of(cfg)

    def rehearse_run() -> None:
        classifier = build_classifier(parts, splits.num_classes)
        if experiment.trained_as is not None:
            assert experiment.pooling_layer is not None
            classifier = with_pooling(classifier, experiment.pooling_layer)
        check_maps(classifier, splits, evaluation.maps)

    tuned = tune(
        trained,
        splits,
        lambda: build_classifier(parts, splits.num_classes),
        build(cfg.tune),
        machine,
        rehearse_run,
    )
    trained = replace(trained, train=tuned.train)
    if experiment.trained_as is None:
        return trained, tuned
    return replace(experiment, train=tuned.train, trained_as=trained), tuned


def few_shot_of(cfg: DictConfig) -> FewShotSettings | None:
    """The few-shot networks that the job asks for."""
    return FewShotSettings(tuple(cfg.few_shot)) if cfg.few_shot else None


@hydra.main(config_path="../conf", config_name="run", version_base="1.3")
def main(cfg: DictConfig) -> list[dict[str, str]] | Failed:
    """One job. What goes wrong is said in one line, and a sweep goes on; HYDRA_FULL_ERROR=1 shows where, and stops."""
    try:
        return run(cfg)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        text = f"{type(error).__name__}: {error}"
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            sys.exit(f"{text}\n{WHERE}")
        log.error("%s", text)
        return Failed(" ".join(HydraConfig.get().overrides.task), text)


def run(cfg: DictConfig) -> list[dict[str, str]]:
    """Returns the comparisons that the job belongs to and their files, for `ShowResults` to finish and print."""
    check_run(cfg)
    if cfg.get("tune") and "_target_" not in cfg.tune:
        raise ValueError("tune.* are settings of a search, which sweep=tune asks for; add it, or leave them out.")
    splits = build_data(cfg.data, cfg.machine)
    evaluation = evaluation_of(cfg)
    machine = machine_of(cfg.machine)
    experiment, few_shot = experiment_of(cfg, splits.name), few_shot_of(cfg)
    check_experiment(experiment, splits, evaluation, few_shot, cfg.psol)  # before a search trains anything
    experiment, tuned = tuned_of(cfg, experiment, evaluation, splits, machine)
    parts = parts_of(cfg)
    rows = run_experiment(
        experiment,
        splits,
        lambda: build_classifier(parts, splits.num_classes),
        evaluation,
        machine,
        command=shlex.join(["python", *sys.argv]),
        tuned=tuned,
        few_shot=few_shot,
        psol=cfg.psol,
        build_backbone=lambda: build(cfg.backbone),
    )
    written = []
    for comparison in read_comparisons(machine.results):
        if comparison.rows["comparison"].iloc[0] == rows["comparison"].iloc[0] and comparison.name.endswith(
            evaluation.key
        ):
            # Without intervals, which take the records of all runs: those come once, after the last job.
            paths = write_tables(machine.results, comparison, machine.results, measured={})
            paths["png"] = write_gallery(machine.results, comparison, evaluation, splits)
            told = {suffix: str(path) for suffix, path in paths.items()}
            written.append({**told, "results": str(machine.results), "comparison": comparison.name})
    return written


if __name__ == "__main__":
    main()
