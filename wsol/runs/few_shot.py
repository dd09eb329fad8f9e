"""Train few-shot networks on boxes of val, and score them beside the heads of a comparison."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from wsol.atomic_files import write_json
from wsol.data.ground_truth import truth_of
from wsol.data.image_set import ImageSet, prepared_as
from wsol.identity import digest
from wsol.machine import Machine
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.inference import network_outputs
from wsol.runs.artifacts import SCORED_SPLITS, RunArtifacts
from wsol.runs.fit import DIVERGED
from wsol.runs.folder import (
    RunFolder,
    ensure_network,
    ensure_pixel_record,
    ensure_record,
    load_classifier,
    load_maps,
    load_or_none,
    save_frame,
)
from wsol.runs.rows import ensure_failed_rows, ensure_scores
from wsol.runs.settings import write_settings_once
from wsol.scoring.match_maps import Matches, match_maps, match_pixels
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord, PixelRecord
from wsol.scoring.score import PIXELS, Records, Score
from wsol.scoring.supervision import VAL_BOXES, Supervision, supervision_of
from wsol.training.train import TrainSettings
from wsol.training.with_boxes.saliency import SALIENCY, SaliencyNetwork, train_saliency
from wsol.training.with_boxes.train import BoxTraining, training_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FewShotSettings:
    """The few-shot baseline: is weak supervision worth it, where a few boxes are there to choose thresholds anyway?

    Source: the few-shot learning baseline of Choe et al., "Evaluating Weakly Supervised Object Localization Methods
    Right", CVPR 2020: the boxes of `val` (train-fullsup) train a network, see `SaliencyNetwork`.

    Attributes:
        per_class: numbers of images of each class, a network each.
        most_steps: training takes the steps that the run's own takes on its many images, but no more than this.
    """

    per_class: tuple[int, ...] = (1, 5, 10)
    most_steps: int = 2000

    def __post_init__(self) -> None:
        object.__setattr__(self, "per_class", tuple(self.per_class))  # a list, where it comes from a config
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in self.per_class)
        if not whole or min(self.per_class, default=0) < 1 or len(set(self.per_class)) < len(self.per_class):
            raise ValueError(f"per_class must hold different whole numbers above 0, got {self.per_class}.")
        if self.most_steps < 1:
            raise ValueError(f"most_steps must be at least 1, got {self.most_steps}.")

    def steps(self, train_images: int, settings: TrainSettings) -> int:
        """How long to train, where the run's own training has so many images."""
        return min(training_steps(train_images, settings), self.most_steps)


_NAME = "few_shot_"


def row_name(per_class: int) -> str:
    """What stands in a table where a run's pooling does."""
    return f"{_NAME}{per_class}"


def few_shot_count(pooling: str) -> int | None:
    """The `per_class` of a name that `row_name` gave; None for a head's name."""
    count = pooling.removeprefix(_NAME)
    return int(count) if pooling.startswith(_NAME) and count.isdecimal() else None


def choose_boxed(val: ImageSet, per_class: int, seed: int) -> NDArray[np.int64]:
    """So many images of every class that `val` has images of, among those with boxes.

    Each class has an order of its own, drawn from (seed, class id), and its first images are taken: those of a smaller
    number are among those of a larger one. A class with fewer is an error, so that a row is of as many boxes as it
    says; see `most_boxed`.

    Args:
        val: with boxes.
        per_class: how many.
        seed: of the order.

    Returns:
        Indices into `val`, ascending.

    Raises:
        ValueError: if a class has fewer images with boxes, naming it and how many there are.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}.")
    boxed = val.entries.box_counts > 0
    chosen = []
    for class_id in np.unique(val.class_ids).tolist():
        (members,) = np.nonzero(boxed & (val.class_ids == class_id))
        if len(members) < per_class:
            raise ValueError(
                f"{val.name}: {per_class} images with boxes of each class are wanted, but class {class_id} has "
                f"{len(members)}; ask for at most {most_boxed(val)}."
            )
        chosen.append(np.random.default_rng([seed, class_id]).permutation(members)[:per_class])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def most_boxed(val: ImageSet) -> int:
    """The largest `per_class` that `choose_boxed` can give; 0 if a class has no image with boxes."""
    _, classes = np.unique(val.class_ids, return_inverse=True)
    return int(np.bincount(classes, weights=val.entries.box_counts > 0).min())


@dataclass(frozen=True)
class ThresholdImages:
    """The images of `val` that choose a few-shot network's thresholds.

    Attributes:
        places: (N,) indices into `val`, ascending.
        text: which they are, for the protocol.
    """

    places: NDArray[np.int64]
    text: str


def threshold_images(val: ImageSet, trained_on: NDArray[np.int64]) -> ThresholdImages:
    """The images with boxes that were not trained on; where none is left, those that were.

    Args:
        val: with boxes.
        trained_on: indices into `val`.
    """
    free = val.entries.box_counts > 0
    free[trained_on] = False
    (places,) = np.nonzero(free)
    if len(places):
        text = f"trained with the boxes of {len(trained_on)} val images; τ by the {len(places)} other val images"
        return ThresholdImages(places.astype(np.int64), text)
    text = f"trained with the boxes of all {len(trained_on)} val images, which choose τ too: none is left"
    return ThresholdImages(np.sort(trained_on), text)


def few_shot_supervision(score: Score, protocol: Protocol) -> Supervision:
    """The ledger's line of a few-shot network: its weights come from boxes, and no class is given."""
    return replace(supervision_of(score, protocol, trained=False), training=VAL_BOXES)


def ensure_few_shot(
    job: RunArtifacts, about: Mapping[str, Any], settings: FewShotSettings, per_class: int, command: str
) -> pd.DataFrame:
    """The rows of a network that so many boxes of each class trained.

    Its thresholds are chosen by those images of `val` that it was not trained on. A tuned head's own settings play no
    part: it is trained with those that the search started from.

    Args:
        job: a run of the comparison that it stands in; gives the data, the truth, the trunk and the evaluation.
        about: of that run, as in its `settings.json`.
        settings: how it is trained.
        per_class: one of `settings.per_class`.
        command: what the user typed.

    Raises:
        ValueError: if a class has fewer images with boxes.
    """
    told = _about(job, about, settings, per_class)
    folder = RunFolder.named(job.machine.results, str(told["run"]))
    with folder.lock():
        write_settings_once(folder, told, command)
        one = _FewShot(job, folder, settings, per_class)
        one.ensure_trained()
        if folder.diverged_file.exists():
            return ensure_failed_rows(folder, job.evaluation, told, command, [SALIENCY])
        return ensure_scores(folder, job.evaluation, told, {SALIENCY: one.records()}, command)


def _about(job: RunArtifacts, about: Mapping[str, Any], settings: FewShotSettings, per_class: int) -> dict[str, Any]:
    """What `settings.json` says: what the run's own does, less its head."""
    experiment = job.experiment
    few_shot = {"per_class": per_class, "most_steps": settings.most_steps}
    trained = job.shared_training.identity()
    # The last two stand in a tuned head's alone: a comparison of it with this row holds them equal.
    shared = ("data", "backbone", "image_size", "seed", "tuning", "tuned_from")
    identity = {key: about["identity"][key] for key in shared if key in about["identity"]}
    name = row_name(per_class)
    key = digest([about["comparison"], trained, experiment.seed, few_shot])
    chosen = threshold_images(job.splits.val, choose_boxed(job.splits.val, per_class, experiment.seed))
    return {
        **{key: value for key, value in about.items() if key != "tuned"},
        "run": f"{experiment.data}-{experiment.backbone}-{name}-s{experiment.seed}-{key}",
        "pooling": name,
        # Where a head's settings stand, so that a comparison of two poolings compares it, too.
        "identity": {**identity, "train": trained, "pooling": {"few_shot": few_shot}},
        "supervision": chosen.text,
    }


class _FewShot:
    """The artefacts of one network, each made only when it is missing."""

    def __init__(self, job: RunArtifacts, folder: RunFolder, settings: FewShotSettings, per_class: int) -> None:
        self.job, self.folder, self.settings = job, folder, settings
        val = job.splits.val
        self.trained_on = choose_boxed(val, per_class, job.experiment.seed)
        self.judges = threshold_images(val, self.trained_on).places
        self.name = f"{val.name}, {per_class} of each class"
        self.trained: SaliencyNetwork | None = None

    def ensure_trained(self) -> None:
        if self.folder.diverged_file.exists():
            log.warning(
                "%s diverged before; delete %s to train again.", self.folder.path.name, self.folder.diverged_file
            )
        elif not (self.folder.classifier_file.exists() and self.folder.history_file.exists()):
            try:
                self.network()
            except FloatingPointError as error:
                log.warning("%s: %s It is left out of all means.", self.folder.path.name, error)
                write_json(self.folder.diverged_file, {"status": DIVERGED, "message": str(error)})

    def network(self) -> SaliencyNetwork:
        if self.trained is None:
            self.trained = ensure_network(
                self.folder.classifier_file, lambda: SaliencyNetwork(self.job.backbone()), self.train
            )
            if not self.folder.history_file.exists():
                history = load_classifier(self.folder.classifier_file, self.trained)
                save_frame(self.folder.history_file, pd.DataFrame(history))
        return self.trained

    def train(self) -> tuple[SaliencyNetwork, list[dict[str, Any]]]:
        job = self.job
        return train_saliency(
            job.backbone(),
            prepared_as(job.splits.val, job.splits.train, self.trained_on, name=self.name),
            BoxTraining(
                job.shared_training,
                job.experiment.seed,
                job.experiment.image_size,
                self.settings.steps(len(job.splits.train), job.shared_training),
            ),
            job.machine,
        )

    def predictions(self, split: str) -> pd.DataFrame:
        """The images that are scored, with their true boxes; on val, what was trained on chooses no threshold."""
        found = self.job.predictions_and_maps(split, {})[0].assign(class_rank=-1)  # it tells no class
        return found.iloc[self.judges].reset_index(drop=True) if split == "val" else found

    def maps(self, split: str) -> StoredMaps:
        path = self.folder.maps_file(split, SALIENCY)
        found = load_or_none(path, load_maps)
        if found is None:
            splits, machine = self.job.splits, self.job.machine
            images = prepared_as(splits.val, splits.val, self.judges) if split == "val" else splits.test
            found = saliency_maps(
                self.network(),
                images,
                device=machine.device,
                batch_size=machine.batch_size,
                workers=machine.workers,
                progress=f"{SALIENCY}, {split}" if machine.progress else "",
            )
            found.save(path)
        return found

    def records(self) -> Records:
        """Box rule -> the record on test, read at the operating point of the judges; and that of pixels."""
        found: dict[str, LocalizationRecord | PixelRecord] = {}
        points: dict[str, int] = {}
        for split in SCORED_SPLITS:
            maps = self.maps(split)  # asked for even if the records exist: every artefact that is missing is remade
            for rule in self.job.rules:
                found[rule] = record = self.record(split, rule, maps, points.get(rule))
                points[rule] = record.operating_point
        if self.job.evaluation.reads_pixels:
            found[PIXELS] = self.pixel_record(maps)
        return found

    def record(self, split: str, rule: str, maps: StoredMaps, operating_point: int | None) -> LocalizationRecord:
        evaluation = self.job.evaluation

        def match(point: int | None) -> tuple[Matches, pd.DataFrame]:
            predictions, thresholds = self.predictions(split), np.asarray(evaluation.thresholds)
            truth, box_rule = truth_of(predictions), evaluation.boxes[rule]
            return match_maps(maps, truth, box_rule, thresholds, evaluation.protocol, point), predictions

        path = self.folder.record_file(split, evaluation.record_key(SALIENCY, rule))
        return ensure_record(path, evaluation, rule, operating_point, match)

    def pixel_record(self, maps: StoredMaps) -> PixelRecord:
        evaluation = self.job.evaluation

        def match() -> tuple[NDArray[np.int32], pd.DataFrame]:
            predictions, thresholds = self.predictions("test"), np.asarray(evaluation.thresholds)
            return match_pixels(maps, self.job.truth(predictions), thresholds, evaluation.protocol), predictions

        path = self.folder.record_file("test", evaluation.record_key(SALIENCY, PIXELS))
        return ensure_pixel_record(path, evaluation, match)


def saliency_maps(
    network: SaliencyNetwork,
    images: ImageSet,
    *,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
    progress: str = "",
) -> StoredMaps:
    """The maps of a split, scored like any others: each cell's probability of foreground, not its logit.

    Args:
        network: moved to `device`.
        images: of the size that the run's maps are made at.
        device: where to compute.
        batch_size: images at a time.
        workers: processes that decode; 0 decodes in this one.
        progress: what a progress bar says; empty for none.

    Raises:
        ValueError: for a map with NaN or infinity, naming its image.
    """
    begun = time.perf_counter()
    machine = Machine(accelerator=str(device), batch_size=batch_size, workers=workers, progress=bool(progress))
    outputs = network_outputs(network, images, machine, progress)
    made = StoredMaps.concatenate([StoredMaps.of(image_ids, logits.sigmoid()) for image_ids, logits in outputs])
    return StoredMaps(made.image_ids, made.values, made.scale, time.perf_counter() - begun)
