"""Train, make maps, box, score, and write the table.

python benchmarks/run.py sweep=gap_vs_gmp
python benchmarks/run.py sweep=gap_vs_gmp data=cub backbone=efficientnet_lite0 train=finetune
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from wsol.classifier import Classifier
from wsol.comparisons import read_comparisons
from wsol.experiment import Evaluation, Experiment, Machine
from wsol.gallery import write_gallery
from wsol.pipeline import run_experiment
from wsol.reports import write_tables
from wsol.thresholds import threshold_grid

_EXAMPLES = {"maps": "[cam]", "boxes": "[largest,every]", "scores": "all"}


def build(node: Any, **kwargs: Any) -> Any:
    """The object that a config node names; it gets plain dicts and lists. Its errors come as they are."""
    try:
        return instantiate(node, _convert_="all", **kwargs)
    except InstantiationException as error:
        raise error.__cause__ or error from None


def identity(node: DictConfig) -> dict[str, Any]:
    """A node's settings, less those that come from `machine`: they cannot change a number."""
    settings: Any = OmegaConf.to_container(node, resolve=True)
    raw: Any = OmegaConf.to_container(node, resolve=False)
    return {key: value for key, value in settings.items() if not str(raw[key]).startswith("${machine.")}


def data_identity(node: DictConfig) -> dict[str, Any]:
    """The same of a data set, less its files and folders, and less what is null.

    Where images, boxes and masks lie cannot change a number: what they are stands in the fingerprint. A new option,
    which is null by default, renames no run.
    """
    hints = get_type_hints(get_method(node["_target_"]))
    places = {key for key, hint in hints.items() if Path in (hint, *get_args(hint))}
    return {key: value for key, value in identity(node).items() if value is not None and key not in places}


def experiment_of(cfg: DictConfig, data: str) -> Experiment:
    """What the job trains, on the data set of this name."""
    choices = HydraConfig.get().runtime.choices
    return Experiment(
        data=data,
        reader={"option": choices["data"], "settings": identity(cfg.data)},
        backbone=choices["backbone"],
        pooling=choices["pooling"],
        seed=cfg.seed,
        settings={"data": data_identity(cfg.data), **{part: identity(cfg[part]) for part in ("backbone", "pooling")}},
        train=build(cfg.train),
        image_size=cfg.data.image_size,
        pooling_layer=build(cfg.pooling),
    )


def evaluation_of(cfg: DictConfig) -> Evaluation:
    """How the job is scored.

    Raises:
        ValueError: where a group that must name something is empty.
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


@hydra.main(config_path="../conf", config_name="run", version_base="1.3")
def main(cfg: DictConfig) -> list[dict[str, str]]:
    """One job. What goes wrong is said in one line; HYDRA_FULL_ERROR=1 shows where."""
    try:
        return run(cfg)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"{type(error).__name__}: {error}\nHYDRA_FULL_ERROR=1 in front of the command shows where.")


def run(cfg: DictConfig) -> list[dict[str, str]]:
    """Returns the comparisons that the job belongs to and their files, for `ShowResults` to finish and print."""
    splits = build(cfg.data)
    evaluation = evaluation_of(cfg)
    machine = Machine(
        results=Path(cfg.machine.results),
        accelerator=cfg.machine.accelerator,
        devices=cfg.machine.devices,
        workers=cfg.machine.workers,
        batch_size=cfg.machine.batch_size,
        progress=cfg.machine.progress,
    )
    rows = run_experiment(
        experiment_of(cfg, splits.name),
        splits,
        lambda: Classifier(build(cfg.backbone), build(cfg.pooling), splits.num_classes),
        evaluation,
        machine,
        command=shlex.join(["python", *sys.argv]),
    )
    written = []
    for comparison in read_comparisons(machine.results):
        if comparison.rows["comparison"].iloc[0] == rows["comparison"].iloc[0] and comparison.name.endswith(
            evaluation.key
        ):
            # Without intervals, which take the records of all runs: those come once, after the last job.
            paths = write_tables(machine.results, comparison, machine.results / "tables", measured={})
            paths["png"] = write_gallery(machine.results, comparison, evaluation, splits)
            told = {suffix: str(path) for suffix, path in paths.items()}
            written.append({**told, "results": str(machine.results), "comparison": comparison.name})
    return written


if __name__ == "__main__":
    main()
