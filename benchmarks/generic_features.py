"""A frozen network on classes it never saw: a linear classifier on its pooled features, and CAM through it.

python benchmarks/generic_features.py efficientnet_lite0 data=cub machine.data_root=DATA
python benchmarks/generic_features.py results/runs/NAME data=cub protocol=reference

NETWORK is an option of conf/backbone with pretrained weights, or the folder of a run. After it come settings: l2=0.01
of the linear classifier, and the options of benchmarks/run.py under data, backbone, pooling, protocol, thresholds and
machine. The classifier is fitted on the labels of `train`, whole images at the size of `test`, and scored on `test`.
Exit status: 2 where something was wrong with what was given.
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from config.build import build, build_data, machine_of
from config.options import command_words
from config.saved_runs import configuration, end, read_run
from wsol.data.ground_truth import truth_of
from wsol.explain.generic_features import fit_linear, pooled_features, with_new_head
from wsol.maps.make_maps import make_maps
from wsol.maps.methods.cam import CAM
from wsol.networks.classifier import Classifier
from wsol.scoring.baselines import CenterGaussians
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.external.rows import Row, rows_of
from wsol.scoring.external.totals import judge
from wsol.scoring.thresholds import find_threshold, threshold_grid

_RULES = {"largest": largest, "every": every}
_SHOWN = ("top1_cls", "max_box_acc", "max_box_acc_v2", "gt_known_loc", "top1_loc")
_TAU = {"oracle": "best on test", "label_free": "each map (Otsu)", "": ""}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("network", metavar="NETWORK", help="an option of conf/backbone, or a run's folder")
    made.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    return made


def measure(network: str, settings: list[str]) -> int:
    """Print the table, with what it was made by."""
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
    columns: dict[str, list[Row]] = {}
    for name, source, known in (
        ("CAM", maps["cam"], ranks),
        ("centred Gaussian", CenterGaussians(truth, protocol), None),
    ):
        judgement = judge(source, truth, _RULES, thresholds, protocol, ranks=known, progress=cfg.machine.progress)
        columns[name] = rows_of(judgement, protocol, fixed, None, known, listed if known is not None else 0)
    print(table_of(columns))
    print(
        f"\nNetwork: {network}, {features.shape[1]} frozen features; multinomial logistic regression, l2 {l2:g}, "
        f"{100 * fitted:.1f} % right on its {len(features)} training images.\n"
        f"Data: {splits.name}, {splits.num_classes} classes, {len(truth)} test images.\n"
        f"Protocol {protocol.name}: {protocol.text}."
    )
    return 0


def table_of(columns: dict[str, list[Row]]) -> str:
    """Percent, a row a score and what chose its τ."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, rows in columns.items():
        for row in rows:
            if row.score in _SHOWN:
                tau = f"{row.threshold:g}" if row.tau == "fixed" else _TAU[row.tau]
                at = f" (τ {row.threshold:.2g})" if row.tau == "oracle" and row.threshold is not None else ""
                found.setdefault((row.score, row.boxes, tau), {})[name] = f"{100 * row.value:.1f}{at}"
    cells = [[*key, *(values.get(name, "–") for name in columns)] for key, values in found.items()]
    return tabulate(cells, ["score, %", "boxes", "τ", *columns], tablefmt="github", disable_numparse=True)


def main() -> int:
    """The command."""
    arguments = parser().parse_intermixed_args(command_words())
    return end(lambda: measure(arguments.network, arguments.settings))


if __name__ == "__main__":
    sys.exit(main())
