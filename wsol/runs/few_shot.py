"""Train few-shot networks on boxes of val, and score them beside the heads of a comparison."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.data.image_set import ImageSet, prepared_as
from wsol.identity import digest
from wsol.machine import Machine
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.backbone import Backbone
from wsol.networks.inference import network_outputs
from wsol.runs.artifacts import RunArtifacts
from wsol.runs.experiment import SCORED_SPLITS
from wsol.runs.fit import build_seeded, record_divergence
from wsol.runs.folder import RunFolder, ensure_network, load_classifier, load_maps, load_or_none, save_frame
from wsol.runs.records import MapsSource, ScoredImages, match_records
from wsol.runs.rows import failed_rows, score_rows
from wsol.runs.run_maps import RunMaps
from wsol.scoring.protocol import Protocol
from wsol.scoring.score import Score
from wsol.scoring.supervision import VAL_BOXES, Supervision, supervision_of
from wsol.training.train import TrainSettings
from wsol.training.with_boxes.saliency import SALIENCY, SaliencyNetwork, train_saliency
from wsol.training.with_boxes.train import BoxTraining, training_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FewShotSettings:
    """Describe the few-shot baseline: networks trained with the few boxes that otherwise choose thresholds.

    Source: the few-shot learning baseline of Choe et al., "Evaluating Weakly Supervised Object Localization Methods
    Right", CVPR 2020: the boxes of `val` (train-fullsup) train a network, see `SaliencyNetwork`.

    Attributes:
        per_class: numbers of boxed images per class; each number is a network of its own.
        most_steps: largest number of training steps; below it, training takes as many steps as the run's own.
    """

    per_class: tuple[int, ...] = (1, 5, 10)
    most_steps: int = 2000

    def __post_init__(self) -> None:
        object.__setattr__(self, "per_class", tuple(self.per_class))  # a config gives a list
        whole = all(isinstance(count, int) and not isinstance(count, bool) for count in self.per_class)
        if not whole or min(self.per_class, default=0) < 1 or len(set(self.per_class)) < len(self.per_class):
            raise ValueError(f"per_class must hold different whole numbers above 0, got {self.per_class}.")
        if self.most_steps < 1:
            raise ValueError(f"most_steps must be at least 1, got {self.most_steps}.")

    def steps(self, train_images: int, settings: TrainSettings) -> int:
        """Return the number of training steps beside a run with this many training images."""
        return min(training_steps(train_images, settings), self.most_steps)


_NAME = "few_shot_"


def row_name(per_class: int) -> str:
    """Return the name that takes the place of a head's in tables."""
    return f"{_NAME}{per_class}"


def few_shot_count(pooling: str) -> int | None:
    """Return the `per_class` of a name of `row_name`; None for a head's name."""
    count = pooling.removeprefix(_NAME)
    return int(count) if pooling.startswith(_NAME) and count.isdecimal() else None


def choose_boxed(val: ImageSet, per_class: int, seed: int) -> NDArray[np.int64]:
    """Choose images with boxes of every class of `val`, equally many per class.

    Each class has an order of its own, drawn from (seed, class id), and its first images are chosen, so that a larger
    choice includes a smaller one. A class with too few images is an error, so that a row always has the number of boxes
    that its name states; see `most_boxed`.

    Args:
        val: with boxes.
        per_class: number of images per class.
        seed: of the order.

    Returns:
        Indices into `val`, ascending.

    Raises:
        ValueError: if a class has fewer images with boxes, with the class and their number.
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
    """Return the largest `per_class` that `choose_boxed` accepts; 0 if a class has no image with boxes."""
    _, classes = np.unique(val.class_ids, return_inverse=True)
    return int(np.bincount(classes, weights=val.entries.box_counts > 0).min())


@dataclass(frozen=True)
class ThresholdImages:
    """Hold the images of `val` that choose a few-shot network's thresholds.

    Attributes:
        places: (N,) indices into `val`, ascending.
        text: their description, for the protocol.
    """

    places: NDArray[np.int64]
    text: str


def threshold_images(val: ImageSet, trained_on: NDArray[np.int64]) -> ThresholdImages:
    """Return the images with boxes that were not trained on; those that were if there are no others.

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
    """Return the supervision of a few-shot row: boxes train the network, and no class is given."""
    return replace(supervision_of(score, protocol, trained=False), training=VAL_BOXES)


def few_shot_rows(
    run: RunMaps, build_backbone: Callable[[], Backbone], settings: FewShotSettings, per_class: int
) -> pd.DataFrame:
    """Train a network with a few boxes per class of val, and score it in a folder of its own.

    The images of `val` that it was not trained on choose its thresholds. Its training settings are those that all heads
    of the comparison share, not those that a search chose for one head.

    Args:
        run: a run of the same comparison; gives the data, the ground truth and the evaluation.
        build_backbone: makes the trunk; called after seeding.
        settings: how it is trained.
        per_class: one of `settings.per_class`.

    Returns:
        The network's rows; without values if its training diverged.

    Raises:
        ValueError: if a class has fewer images with boxes.
    """
    about = _about(run, settings, per_class)
    folder = RunFolder.named(run.machine.results, str(about["run"]))
    artifacts = RunArtifacts(folder, about, run.artifacts.evaluation, run.artifacts.command)
    with artifacts.locked():
        few_shot = _FewShot(run, build_backbone, artifacts, settings, per_class)
        few_shot.train_if_missing()
        if folder.diverged_file.exists():
            return failed_rows(artifacts, [SALIENCY])
        few_shot.make_missing_maps()
        images = ScoredImages(few_shot.predictions, run.splits.test)
        records = match_records(MapsSource(SALIENCY, few_shot.maps), images, artifacts)
        return score_rows({SALIENCY: records.test}, artifacts)


def _about(run: RunMaps, settings: FewShotSettings, per_class: int) -> dict[str, Any]:
    """Return what `settings.json` contains: the settings of the run, without its head."""
    experiment, about, val = run.trained_by, run.artifacts.about, run.splits.val
    few_shot = {"per_class": per_class, "most_steps": settings.most_steps}
    trained = experiment.shared_training.identity()
    # The last two belong to tuned heads alone. They are kept, so that the network is compared with tuned heads as well.
    shared = ("data", "backbone", "image_size", "seed", "tuning", "tuned_from")
    identity = {key: about["identity"][key] for key in shared if key in about["identity"]}
    name = row_name(per_class)
    key = digest([about["comparison"], trained, experiment.seed, few_shot])
    chosen = threshold_images(val, choose_boxed(val, per_class, experiment.seed))
    return {
        **{key: value for key, value in about.items() if key != "tuned"},
        "run": f"{experiment.data}-{experiment.backbone}-{name}-s{experiment.seed}-{key}",
        "pooling": name,
        # In the place of a head's settings, so that a comparison of two poolings compares it, too.
        "identity": {**identity, "train": trained, "pooling": {"few_shot": few_shot}},
        "supervision": chosen.text,
    }


class _FewShot:
    """Load the network of a few boxes and its maps, or make those that are missing."""

    def __init__(
        self,
        run: RunMaps,
        build_backbone: Callable[[], Backbone],
        artifacts: RunArtifacts,
        settings: FewShotSettings,
        per_class: int,
    ) -> None:
        self.run, self.build_backbone, self.artifacts, self.settings = run, build_backbone, artifacts, settings
        val = run.splits.val
        self.trained_on = choose_boxed(val, per_class, run.trained_by.seed)
        self.chosen_by = threshold_images(val, self.trained_on).places
        self.name = f"{val.name}, {per_class} of each class"
        self._network: SaliencyNetwork | None = None

    def train_if_missing(self) -> None:
        folder = self.artifacts.folder
        if folder.diverged_file.exists():
            log.warning("%s diverged before; delete %s to train again.", folder.path.name, folder.diverged_file)
        elif not (folder.classifier_file.exists() and folder.history_file.exists()):
            try:
                self.network()
            except FloatingPointError as error:
                record_divergence(folder, error)

    def network(self) -> SaliencyNetwork:
        if self._network is None:
            file, history_file = self.artifacts.folder.classifier_file, self.artifacts.folder.history_file
            self._network = ensure_network(file, lambda: SaliencyNetwork(self._backbone()), self._train)
            if not history_file.exists():
                save_frame(history_file, pd.DataFrame(load_classifier(file, self._network)))
        return self._network

    def predictions(self, split: str) -> pd.DataFrame:
        """Return the images that are scored, without classes; on val, those that choose the thresholds."""
        predictions = self.run.predictions(split).assign(class_rank=-1)
        return predictions.iloc[self.chosen_by].reset_index(drop=True) if split == "val" else predictions

    def make_missing_maps(self) -> None:
        for split in SCORED_SPLITS:
            if not self._maps_file(split).exists():
                self._make(split)

    def maps(self, split: str) -> StoredMaps:
        maps = load_or_none(self._maps_file(split), load_maps)
        return self._make(split) if maps is None else maps

    def _make(self, split: str) -> StoredMaps:
        splits, machine = self.run.splits, self.run.machine
        images = prepared_as(splits.val, splits.val, self.chosen_by) if split == "val" else splits.test
        progress = f"{SALIENCY}, {split}" if machine.progress else ""
        maps = saliency_maps(self.network(), images, machine, progress)
        maps.save(self._maps_file(split))
        return maps

    def _train(self) -> tuple[SaliencyNetwork, list[dict[str, Any]]]:
        experiment, splits, machine = self.run.trained_by, self.run.splits, self.run.machine
        settings = experiment.shared_training
        steps = self.settings.steps(len(splits.train), settings)
        return train_saliency(
            self._backbone(),
            prepared_as(splits.val, splits.train, self.trained_on, name=self.name),
            BoxTraining(settings, experiment.seed, experiment.image_size, steps),
            machine,
        )

    def _maps_file(self, split: str) -> Path:
        return self.artifacts.folder.maps_file(split, SALIENCY)

    def _backbone(self) -> Backbone:
        return build_seeded(self.run.trained_by.seed, self.build_backbone)


def saliency_maps(network: SaliencyNetwork, images: ImageSet, machine: Machine, progress: str = "") -> StoredMaps:
    """Make the maps of a split: each cell's probability of foreground, not its logit.

    Args:
        network: moved to the machine's device.
        images: of the size that the run's maps are made at.
        machine: where to compute.
        progress: title of a progress bar; empty for none.

    Raises:
        ValueError: for a map with NaN or infinity, with its image.
    """
    begun = time.perf_counter()
    outputs = network_outputs(network, images, machine, progress)
    maps = StoredMaps.concatenate([StoredMaps.of(image_ids, logits.sigmoid()) for image_ids, logits in outputs])
    return StoredMaps(maps.image_ids, maps.values, maps.scale, time.perf_counter() - begun)
