"""Runs of a tiny data set with networks beside them that boxes train."""

from functools import partial

import numpy as np

from wsol.comparison.comparison import measure, read_comparisons
from wsol.data.readers.synthetic import synthetic
from wsol.machine import Machine
from wsol.maps.methods.cam import CAM
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.report.section import write_section
from wsol.runs.check import BoxNetworks
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.folder import RunFolder, read_rows
from wsol.runs.pipeline import run_experiment
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.score import Score
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.max_box_acc_v2 import max_box_acc_v2
from wsol.scoring.scores.px_ap import px_ap
from wsol.scoring.scores.top_k_cls import top_k_cls
from wsol.training.train import TrainSettings

EVALUATION = Evaluation(
    maps={"cam": CAM()},
    boxes={"largest": largest, "every": every},
    scores={
        "top1_cls": Score(partial(top_k_cls, k=1), "largest", None),
        "gt_known_loc": Score(gt_known_loc, "largest", "held_out"),
        "max_box_acc_v2": Score(max_box_acc_v2, "every", "oracle"),
        "px_ap": Score(partial(px_ap), "pixels", None, reads_map=True),
    },
    thresholds=tuple(np.arange(0, 1, 0.1).round(9).tolist()),
)
POOLINGS = {"gap": GAP, "gmp": GMP}


class BoxWorld:
    """One results folder; 4 classes with 3 images of val each."""

    def __init__(self, folder):
        self.results = folder / "results"
        self.splits = synthetic(
            image_size=16, num_classes=4, train_images=24, val_images=12, test_images=16, cache_dir=folder / "cache"
        )

    def run(self, pooling="gap", seed=0, evaluation=EVALUATION, tuned=None, train=None, few_shot=None, psol=False):
        experiment = Experiment(
            data="synthetic",
            backbone="tiny",
            pooling=pooling,
            seed=seed,
            settings={"data": {"size": 16}, "backbone": {"channels": [4, 6]}, "pooling": {"name": pooling}},
            train=train or TrainSettings(epochs=1, batch_size=8),
            image_size=16,
            pooling_layer=POOLINGS[pooling](),
        )
        experiment = experiment if tuned is None else experiment.tuned_by(tuned)
        return run_experiment(
            experiment,
            self.splits,
            lambda: Classifier(small_cnn(channels=(4, 6)), POOLINGS[pooling](), 4),
            evaluation,
            Machine(self.results, accelerator="cpu", progress=False),
            command=f"python benchmarks/run.py pooling={pooling} seed={seed}",
            box_networks=BoxNetworks(lambda: small_cnn(channels=(4, 6)), few_shot, psol),
        )

    def folder(self, name):
        (found,) = (self.results / "runs").glob(f"synthetic-tiny-{name}-*")
        return RunFolder(found)

    def rows(self, name):
        (path,) = self.folder(name).path.glob("scores-*.csv")
        return read_rows(path)

    def files(self):
        """Path -> time of its last change, of every artefact."""
        paths = (self.results / "runs").rglob("*")
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file() and path.name != ".lock"}

    def written(self):
        (comparison,) = read_comparisons(self.results)
        lines = comparison.lines(self.results)
        return write_section(self.results, comparison, lines, measure(lines))


def ledger_of(written):
    """Entry -> the other cells, as text."""
    (table,) = (one for one in written.section.tables if one.title == "Supervision")
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
