"""Score PSOL beside a run's own maps: its rows stand in the run's folder."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from wsol.atomic_files import write_json
from wsol.data.ground_truth import truth_of
from wsol.data.image_set import ImageSet
from wsol.identity import digest
from wsol.machine import Machine
from wsol.networks.inference import network_outputs
from wsol.runs.artifacts import SCORED_SPLITS, RunArtifacts
from wsol.runs.experiment import PSOL
from wsol.runs.fit import DIVERGED
from wsol.runs.folder import ensure_network, ensure_record, load_or_none
from wsol.runs.pseudo_boxes import NoPseudoBox, PseudoBoxed, best_on_val, make_pseudo_boxes, match_boxes
from wsol.scoring.box_ranges import StoredBoxes
from wsol.scoring.match_maps import Matches
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score import Records
from wsol.training.with_boxes.box_regressor import BoxRegressor, train_regressor
from wsol.training.with_boxes.train import BoxTraining, training_steps

log = logging.getLogger(__name__)

RULE = "largest"  # the box rule that draws the pseudo boxes: one that gives one box


def psol_records(job: RunArtifacts) -> Records:
    """Box rule -> the record of the regressed boxes on test: one box, whatever the rule.

    The map method and the τ of the pseudo boxes are those that find the most objects of `val`. Methods of many calls
    are not considered: on the training images they would take hours.

    Returns:
        Nothing if no map gives a pseudo box, or the regressor diverged, which the log says.
    """
    one = _PSOL(job)
    run, diverged = job.folder.path.name, job.folder.diverged_boxes_file(one.key)
    if diverged.exists():
        log.warning("The box regressor of %s diverged before; delete %s to train again.", run, diverged)
        return {}
    try:
        return one.records()
    except (NoPseudoBox, FloatingPointError) as error:
        log.warning("%s has no rows of PSOL: %s", run, error)
        if isinstance(error, FloatingPointError):  # the pseudo boxes are kept, and say by themselves that there is none
            write_json(diverged, {"status": DIVERGED, "message": str(error)})
        return {}


class _PSOL:
    """The artefacts, each made only when it is missing."""

    def __init__(self, job: RunArtifacts) -> None:
        evaluation = job.evaluation
        quick = [name for name, method in evaluation.maps.items() if method.needs != "calls"]
        on_val = {name: job.record("val", name, RULE, None) for name in quick}
        best = best_on_val(on_val)
        self.job, self.method, self.rule = job, evaluation.maps[best], evaluation.boxes[RULE]
        self.threshold = float(on_val[best].thresholds[on_val[best].operating_point])
        made_by = [self.method, evaluation.optimized, self.rule, evaluation.protocol, self.threshold]
        self.key = digest([*made_by, job.shared_training.identity()])
        self.trained: BoxRegressor | None = None

    def records(self) -> dict[str, LocalizationRecord]:
        job = self.job
        if not job.folder.box_regressor_file(self.key).exists():
            self.regressor()
        if not job.folder.boxes_file("train", self.key).exists():
            self.pseudo_boxes()
        found: dict[str, LocalizationRecord] = {}
        for split in SCORED_SPLITS:
            boxes = self.boxes(split)
            for rule in job.rules:
                found[rule] = self.record(split, rule, boxes)
        return found

    def pseudo_boxes(self) -> StoredBoxes:
        job, machine = self.job, self.job.machine
        path = job.folder.boxes_file("train", self.key)
        boxes = load_or_none(path, StoredBoxes.load)
        if boxes is None:
            log.info("%s: pseudo boxes of train", job.folder.path.name)
            boxes = make_pseudo_boxes(
                job.network(),
                job.splits.train,
                job.splits.val,
                self.method,
                protocol=job.evaluation.protocol,
                threshold=self.threshold,
                rule=self.rule,
                device=machine.device,
                batch_size=machine.batch_size,
                workers=machine.workers,
                progress=machine.progress,
            )
            boxes.save(path)
        return boxes

    def regressor(self) -> BoxRegressor:
        if self.trained is None:
            path = self.job.folder.box_regressor_file(self.key)
            self.trained = ensure_network(path, lambda: BoxRegressor(self.job.backbone()), self.train)
        return self.trained

    def train(self) -> tuple[BoxRegressor, list[dict[str, Any]]]:
        job, images = self.job, PseudoBoxed(self.job.splits.train, self.pseudo_boxes())
        job.splits.train.preload()
        return train_regressor(
            job.backbone(),
            images,
            BoxTraining(
                job.shared_training,
                job.experiment.seed,
                job.experiment.image_size,
                training_steps(len(job.splits.train), job.shared_training),
            ),
            job.machine,
        )

    def boxes(self, split: str) -> StoredBoxes:
        job, machine = self.job, self.job.machine
        path = job.folder.boxes_file(split, self.key)
        found = load_or_none(path, StoredBoxes.load)
        if found is None:
            found = regressed_boxes(
                self.regressor(),
                getattr(job.splits, split),
                device=machine.device,
                batch_size=machine.batch_size,
                workers=machine.workers,
                progress=f"boxes, {split}" if machine.progress else "",
            )
            found.save(path)
        return found

    def record(self, split: str, rule: str, boxes: StoredBoxes) -> LocalizationRecord:
        evaluation = self.job.evaluation

        def match(point: int | None) -> tuple[Matches, pd.DataFrame]:
            predictions, _ = self.job.predictions_and_maps(split, {})
            thresholds = np.asarray(evaluation.thresholds)
            return match_boxes(boxes, truth_of(predictions), thresholds, evaluation.protocol, point), predictions

        path = self.job.folder.record_file(split, evaluation.record_key(PSOL, rule))
        return ensure_record(path, evaluation, rule, 0, match)  # no map is cut, so any threshold says the same


def regressed_boxes(
    network: BoxRegressor,
    images: ImageSet,
    *,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
    progress: str = "",
) -> StoredBoxes:
    """The box of each image of a split, cut to the image.

    Args:
        network: moved to `device`.
        images: of the size that the run's maps are made at.
        device: where to compute.
        batch_size: images at a time.
        workers: processes that decode; 0 decodes in this one.
        progress: what a progress bar says; empty for none.

    Raises:
        ValueError: for a box with NaN or infinity, naming its image.
    """
    height, width = size = images[0].size
    image_ids, found = list[str](), list[Tensor]()
    machine = Machine(accelerator=str(device), batch_size=batch_size, workers=workers, progress=bool(progress))
    for ids, shares in network_outputs(network, images, machine, progress):
        image_ids += ids
        found.append(shares)
    x, y, across, down = torch.cat(found).numpy().T
    edges = [x * width, y * height, np.minimum(x + across, 1) * width, np.minimum(y + down, 1) * height]
    return StoredBoxes(np.asarray(image_ids, np.str_), np.stack(edges, axis=1).astype(np.float32), size)
