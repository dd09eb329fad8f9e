"""Score PSOL beside a run's own maps; its rows are in the run's folder."""

import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsol.atomic_files import write_json
from wsol.data.image_set import ImageSet
from wsol.identity import digest
from wsol.machine import Machine
from wsol.networks.backbone import Backbone
from wsol.networks.inference import network_outputs
from wsol.runs.experiment import SCORED_SPLITS
from wsol.runs.fit import DIVERGED, build_seeded
from wsol.runs.folder import ensure_network, load_or_none
from wsol.runs.pseudo_boxes import BoxDrawing, NoPseudoBox, PseudoBoxed, best_on_val, make_pseudo_boxes
from wsol.runs.records import BoxesSource, match_records
from wsol.runs.run_maps import RunMaps
from wsol.scoring.box_ranges import StoredBoxes
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score import Records
from wsol.training.with_boxes.box_regressor import BoxRegressor, train_regressor
from wsol.training.with_boxes.train import BoxTraining, training_steps

log = logging.getLogger(__name__)

RULE = "largest"  # the box rule that draws the pseudo boxes: one that gives one box


def psol_records(
    run: RunMaps, on_val: Mapping[str, Mapping[str, LocalizationRecord]], build_backbone: Callable[[], Backbone]
) -> Records:
    """Train a box regressor on pseudo boxes, and match its boxes on test.

    The map method and the τ of the pseudo boxes are those that find the most objects of `val`. Methods of many calls
    are not considered: on the training images they would take hours.

    Args:
        run: gives the network, the data and the files.
        on_val: map method -> box rule -> its record on val.
        build_backbone: makes the trunk of the regressor; called after seeding.

    Returns:
        Box rule -> record, the same for every rule. Empty if no map gives a pseudo box, or the regressor diverged,
        which is logged.
    """
    psol = _PSOL(run, {name: by_rule[RULE] for name, by_rule in on_val.items()}, build_backbone)
    folder, diverged = run.artifacts.folder, run.artifacts.folder.diverged_boxes_file(psol.key)
    if diverged.exists():
        log.warning("The box regressor of %s diverged before; delete %s to train again.", folder.path.name, diverged)
        return {}
    try:
        psol.make_missing()
        source = BoxesSource(functools.lru_cache(maxsize=1)(psol.boxes))
        return match_records(source, run.images, run.artifacts).test
    except (NoPseudoBox, FloatingPointError) as error:
        log.warning("%s has no rows of PSOL: %s", folder.path.name, error)
        if isinstance(error, FloatingPointError):  # the pseudo boxes are kept, and show by themselves if there is none
            write_json(diverged, {"status": DIVERGED, "message": str(error)})
        return {}


class _PSOL:
    """Load the pseudo boxes, the regressor and its boxes, or make those that are missing."""

    def __init__(
        self, run: RunMaps, on_val: Mapping[str, LocalizationRecord], build_backbone: Callable[[], Backbone]
    ) -> None:
        evaluation = run.artifacts.evaluation
        quick = {name: on_val[name] for name, method in evaluation.maps.items() if method.needs != "calls"}
        best = best_on_val(quick)
        threshold = float(quick[best].thresholds[quick[best].operating_point])
        self.drawing = BoxDrawing(evaluation.maps[best], evaluation.protocol, threshold, evaluation.boxes[RULE])
        self.run, self.build_backbone, self.training = run, build_backbone, run.trained_by.shared_training
        made_by = [self.drawing.method, evaluation.optimized, self.drawing.rule, evaluation.protocol, threshold]
        self.key = digest([*made_by, self.training.identity()])
        self.regressor_file = run.artifacts.folder.box_regressor_file(self.key)
        self._regressor: BoxRegressor | None = None

    def make_missing(self) -> None:
        """Make the regressor, the pseudo boxes and the regressed boxes that are not on disk."""
        if not self.regressor_file.exists():
            self.regressor()
        if not self._boxes_file("train").exists():
            self.pseudo_boxes()
        for split in SCORED_SPLITS:
            if not self._boxes_file(split).exists():
                self.boxes(split)

    def pseudo_boxes(self) -> StoredBoxes:
        boxes = load_or_none(self._boxes_file("train"), StoredBoxes.load)
        if boxes is None:
            log.info("%s: pseudo boxes of train", self.run.artifacts.folder.path.name)
            splits = self.run.splits
            boxes = make_pseudo_boxes(self.run.network, splits.train, splits.val, self.drawing, self.run.machine)
            boxes.save(self._boxes_file("train"))
        return boxes

    def regressor(self) -> BoxRegressor:
        if self._regressor is None:
            self._regressor = ensure_network(self.regressor_file, lambda: BoxRegressor(self._backbone()), self._train)
        return self._regressor

    def boxes(self, split: str) -> StoredBoxes:
        boxes = load_or_none(self._boxes_file(split), StoredBoxes.load)
        if boxes is None:
            machine = self.run.machine
            progress = f"boxes, {split}" if machine.progress else ""
            boxes = regressed_boxes(self.regressor(), getattr(self.run.splits, split), machine, progress)
            boxes.save(self._boxes_file(split))
        return boxes

    def _train(self) -> tuple[BoxRegressor, list[dict[str, Any]]]:
        experiment, machine, train = self.run.trained_by, self.run.machine, self.run.splits.train
        images = PseudoBoxed(train, self.pseudo_boxes())
        train.preload()
        return train_regressor(
            self._backbone(),
            images,
            BoxTraining(
                self.training, experiment.seed, experiment.image_size, training_steps(len(train), self.training)
            ),
            machine,
        )

    def _backbone(self) -> Backbone:
        return build_seeded(self.run.trained_by.seed, self.build_backbone)

    def _boxes_file(self, split: str) -> Path:
        return self.run.artifacts.folder.boxes_file(split, self.key)


def regressed_boxes(network: BoxRegressor, images: ImageSet, machine: Machine, progress: str = "") -> StoredBoxes:
    """Predict the box of each image of a split, cut to the image.

    Args:
        network: moved to the machine's device.
        images: of the size that the run's maps are made at.
        machine: where to compute.
        progress: title of a progress bar; empty for none.

    Raises:
        ValueError: for a box with NaN or infinity, with its image.
    """
    height, width = size = images[0].size
    image_ids, predicted = list[str](), list[Tensor]()
    for ids, shares in network_outputs(network, images, machine, progress):
        image_ids += ids
        predicted.append(shares)
    x, y, across, down = torch.cat(predicted).numpy().T
    edges = [x * width, y * height, np.minimum(x + across, 1) * width, np.minimum(y + down, 1) * height]
    return StoredBoxes(np.asarray(image_ids, np.str_), np.stack(edges, axis=1).astype(np.float32), size)
