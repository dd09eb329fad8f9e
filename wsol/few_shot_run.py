"""The few-shot networks beside a run: one for all heads of a comparison and seed, in a folder of its own."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.ensure import ensure_network, ensure_pixel_record, ensure_record
from wsol.failed_runs import DIVERGED
from wsol.few_shot import FewShotSettings, choose_boxed, row_name, threshold_images
from wsol.identity import digest
from wsol.job import SCORED_SPLITS, Job
from wsol.localize import Matches, match_maps, match_pixels
from wsol.pixel_record import PixelRecord
from wsol.prepared_images import prepared_as
from wsol.record import LocalizationRecord
from wsol.run_settings import introduce
from wsol.runs import RunFolder, load_classifier, load_maps, load_or_none, save_frame, truth_of, write_json
from wsol.saliency import SALIENCY, SaliencyNetwork, saliency_maps, train_saliency
from wsol.score import PIXELS, Records
from wsol.score_rows import ensure_failed_rows, ensure_scores
from wsol.stored_maps import StoredMaps

log = logging.getLogger(__name__)


def ensure_few_shot(
    job: Job, about: Mapping[str, Any], settings: FewShotSettings, per_class: int, command: str
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
        introduce(folder, told, command)
        one = _FewShot(job, folder, settings, per_class)
        one.ensure_trained()
        if folder.diverged_file.exists():
            return ensure_failed_rows(folder, job.evaluation, told, command, [SALIENCY])
        return ensure_scores(folder, job.evaluation, told, {SALIENCY: one.records()}, command)


def _about(job: Job, about: Mapping[str, Any], settings: FewShotSettings, per_class: int) -> dict[str, Any]:
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

    def __init__(self, job: Job, folder: RunFolder, settings: FewShotSettings, per_class: int) -> None:
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
            job.shared_training,
            seed=job.experiment.seed,
            image_size=job.experiment.image_size,
            steps=self.settings.steps(len(job.splits.train), job.shared_training),
            accelerator=job.machine.accelerator,
            workers=job.machine.workers,
            progress=self.name if job.machine.progress else "",
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
