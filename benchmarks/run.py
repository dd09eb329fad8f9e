"""Train a classifier, or take a network as it is, make its maps, and score them; then print the tables of all jobs.

python benchmarks/run.py sweep=gap_vs_gmp
python benchmarks/run.py sweep=gap_vs_gmp data=cub backbone=efficientnet_lite0 train=finetune
python benchmarks/run.py sweep=tune pooling=gap,lse,gmp seed=0,1,2
python benchmarks/run.py sweep=gap_vs_gmp few_shot=[1,5,10] psol=true
python benchmarks/run.py network=torchvision network.name=resnet50 data=imagenet data.val=test:0.2 maps=one_pass
"""

import logging
import os
import shlex
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from config.build import (
    box_networks_of,
    build_classifier,
    build_data,
    evaluation_of,
    experiment_of,
    machine_of,
    named_maps,
    network_as_is,
    network_of,
    parts_of,
)
from config.show_results import WHERE, Failed, Scored
from config.types import check_run
from wsol.comparison.comparison import read_comparisons
from wsol.report.pictures.comparison import write_gallery
from wsol.runs.pipeline import run_experiment, run_network

log = logging.getLogger(__name__)


@hydra.main(config_path="../conf", config_name="run", version_base="1.3")
def main(cfg: DictConfig) -> list[Scored] | Failed:
    """Run one job. An error is logged in one line and a sweep goes on; HYDRA_FULL_ERROR=1 stops it with a traceback."""
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


def run(cfg: DictConfig) -> list[Scored]:
    """Run one job, and return the comparisons that it belongs to, whose tables `ShowResults` writes."""
    check_run(cfg)
    command = shlex.join(["python", *sys.argv])
    trained = network_of(cfg) if cfg.get("network") else None
    splits = build_data(cfg.data, cfg.machine, with_train=trained is None)
    evaluation, machine = evaluation_of(cfg), machine_of(cfg.machine)
    if trained is not None:
        as_is = network_as_is(cfg, trained, splits.name)
        rows = run_network(as_is, splits, evaluation, machine, command, named_maps(cfg))
    else:
        parts = parts_of(cfg)
        rows = run_experiment(
            experiment_of(cfg, splits.name),
            splits,
            lambda: build_classifier(parts, splits.num_classes),
            evaluation,
            machine,
            command,
            box_networks_of(cfg),
        )
    return [
        # The picture is drawn here, because it shows images, which the job has read.
        Scored(machine.results, comparison.name, write_gallery(machine.results, comparison, evaluation, splits))
        for comparison in read_comparisons(machine.results)
        if comparison.rows["comparison"].iloc[0] == rows["comparison"].iloc[0]
        and comparison.name.endswith(evaluation.key)
    ]


if __name__ == "__main__":
    main()
