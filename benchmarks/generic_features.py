"""Score a frozen network on new classes: a linear classifier on its pooled features, and CAM through it.

python benchmarks/generic_features.py efficientnet_lite0 data=cub machine.data_root=DATA
python benchmarks/generic_features.py results/runs/NAME data=cub protocol=reference

NETWORK is an option of conf/backbone with pretrained weights, or the folder of a run. After it come settings: l2=0.01
of the linear classifier, and the options of benchmarks/run.py under data, backbone, pooling, protocol, thresholds and
machine. The classifier is fitted on the labels of `train`, whole images at the size of `test`, and scored on `test`.
The exit status is 2 for input that cannot be scored.
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from config.build import build, build_data, machine_of
from config.options import command_words
from config.saved_runs import configuration, end, read_run
from config.score_options import box_rules_of, score_options
from wsol.data.ground_truth import truth_of
from wsol.explain.generic_features import fit_linear, pooled_features, with_new_head
from wsol.maps.make_maps import make_maps
from wsol.maps.methods.cam import CAM
from wsol.networks.classifier import Classifier
from wsol.scoring.baselines import CenterGaussians
from wsol.scoring.external.rows import Choice, Row, ScoreTable
from wsol.scoring.stream_scores import Reading, SplitMaps
from wsol.scoring.thresholds import LABEL_FREE, find_threshold, threshold_grid

_SHOWN = ("top1_cls", "max_box_acc", "max_box_acc_v2", "gt_known_loc", "top1_loc")
_TAU = {"oracle": "best on test", "": ""} | {key: f"each map ({method})" for key, method in LABEL_FREE.items()}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("network", metavar="NETWORK", help="an option of conf/backbone, or a run's folder")
    made.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    return made


def measure(network: str, settings: list[str]) -> int:
    """Print the table, with network, data and protocol."""
    overrides = [word for word in settings if not word.startswith("l2=")]
    l2 = float(([word.removeprefix("l2=") for word in settings if word.startswith("l2=")] or ["0.01"])[-1])
    run = read_run(Path(network)) if Path(network).is_dir() else None
    cfg = configuration(overrides, [] if run is not None else [f"backbone={network}"])
    if run is not None and not any(word.startswith("data.image_size=") for word in overrides):
        cfg.data.image_size = run.image_size
    if "train_size" in cfg.data:
        cfg.data.train_size = cfg.data.image_size  # the frame that `test` has, where training crops from a larger one
    splits, protocol = build_data(cfg.data, cfg.machine), build(cfg.protocol)
    splits.test.check_boxes()
    before = run.classifier if run is not None else Classifier(build(cfg.backbone), build(cfg.pooling), 1)
    machine = machine_of(cfg.machine)
    features, class_ids = pooled_features(before, splits.train, machine)
    linear = fit_linear(features, class_ids, splits.num_classes, l2)
    fitted = float((linear(features).argmax(dim=1) == class_ids).float().mean())
    predictions, maps = make_maps(with_new_head(before, linear), splits.test, {"cam": CAM()}, machine)
    truth, ranks = truth_of(predictions), predictions["class_rank"].to_numpy()
    thresholds = threshold_grid(cfg.thresholds.step, cfg.thresholds.start)
    tau = 0.2 if protocol.threshold is None else protocol.threshold
    fixed = {tau: find_threshold(thresholds, tau, "gt_known_loc")}
    listed = min(5, splits.num_classes)
    scores = {name: score for name, score in score_options().items() if score.boxes in ("largest", "every")}
    reading = Reading(box_rules_of(scores), thresholds, protocol)
    columns: dict[str, list[Row]] = {}
    for name, source, known in (
        ("CAM", maps["cam"], ranks),
        ("centred Gaussian", CenterGaussians(truth, protocol), None),
    ):
        table = ScoreTable.of(SplitMaps(source, truth, known), scores, reading, cfg.machine.progress)
        columns[name] = table.rows(Choice(fixed, classes_listed=listed if known is not None else 0))
    print(table_of(columns))
    print(
        f"\nNetwork: {network}, {features.shape[1]} frozen features; multinomial logistic regression, l2 {l2:g}, "
        f"{100 * fitted:.1f} % right on its {len(features)} training images.\n"
        f"Data: {splits.name}, {splits.num_classes} classes, {len(truth)} test images.\n"
        f"Protocol {protocol.name}: {protocol.text}."
    )
    return 0


def table_of(columns: dict[str, list[Row]]) -> str:
    """Format the rows: in percent, one for each score and what chose τ."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, rows in columns.items():
        for row in rows:
            if row.score in _SHOWN:
                tau = f"{row.threshold:g}" if row.tau == "fixed" else _TAU[row.tau]
                at = f" (τ {row.threshold:.2g})" if row.tau == "oracle" and row.threshold is not None else ""
                lines.setdefault((row.score, row.boxes, tau), {})[name] = f"{100 * row.value:.1f}{at}"
    cells = [[*key, *(values.get(name, "–") for name in columns)] for key, values in lines.items()]
    return tabulate(cells, ["score, %", "boxes", "τ", *columns], tablefmt="github", disable_numparse=True)


def main() -> int:
    """Run the command and return the exit status."""
    arguments = parser().parse_intermixed_args(command_words())
    return end(lambda: measure(arguments.network, arguments.settings))


if __name__ == "__main__":
    sys.exit(main())
