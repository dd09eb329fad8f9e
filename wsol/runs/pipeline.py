"""One experiment from data to rows: train, make maps, box, score. Whatever is on disk already is not made again."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.data.ground_truth import truth_of
from wsol.data.masks import true_masks
from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.networks.backbone import Backbone
from wsol.networks.classifier import Classifier
from wsol.runs.artifacts import SCORED_SPLITS, RunArtifacts
from wsol.runs.experiment import PSOL, Evaluation, Experiment
from wsol.runs.few_shot import FewShotSettings, choose_boxed, ensure_few_shot
from wsol.runs.folder import RunFolder, ensure_pixel_record, ensure_record
from wsol.runs.psol import RULE, psol_records
from wsol.runs.rows import ensure_failed_rows, ensure_scores
from wsol.runs.settings import describe_run, write_settings_once
from wsol.runs.tuning import Tuned
from wsol.scoring.baselines import BASELINES, CENTER_GAUSSIAN, NONE, CenterGaussians
from wsol.scoring.match_maps import Matches, match_baseline, match_pixels
from wsol.scoring.score import PIXELS, Records


def run_experiment(
    experiment: Experiment,
    splits: Splits,
    build_classifier: Callable[[], Classifier],
    evaluation: Evaluation,
    machine: Machine,
    command: str = "",
    tuned: Tuned | None = None,
    few_shot: FewShotSettings | None = None,
    psol: bool = False,
    build_backbone: Callable[[], Backbone] | None = None,
) -> pd.DataFrame:
    """Train one classifier and score every map and box rule on it, together with the baselines of its data set.

    Args:
        experiment: what is trained; its settings name the folder.
        splits: the data; images are decoded only if something has to be made.
        build_classifier: makes the untrained classifier; called after seeding, and only if needed.
        evaluation: how it is scored.
        machine: where it runs.
        command: what the user typed, kept with the run.
        tuned: the search that `experiment.train` comes from.
        few_shot: networks that some boxes of `val` train, as rows of their own beside all heads; None: none.
        psol: a box regressor that the run's own boxes on the training images train, as one more of its maps.
        build_backbone: makes the trunk of these two, without what a training method adds to it; called after seeding.

    Returns:
        The run's rows: one per map and score, columns as in `scores-*.csv`; without values if training diverged.

    Raises:
        FileNotFoundError, ValueError: before anything is trained, as `check_experiment`.
    """
    check_experiment(experiment, splits, evaluation, few_shot, psol)
    if (few_shot is not None or psol) and build_backbone is None:
        raise ValueError("few_shot and psol train networks of their own; give build_backbone, which makes their trunk.")
    folder, about = describe_run(experiment, splits, machine, tuned)
    with folder.lock():
        write_settings_once(folder, about, command)
        job = RunArtifacts(experiment, splits, build_classifier, evaluation, machine, folder, tuned, build_backbone)
        if experiment.trained_as is not None:
            base, about_base = describe_run(experiment.trained_as, splits, machine, tuned)
            job.base = RunArtifacts(experiment.trained_as, splits, build_classifier, evaluation, machine, base, tuned)
            with base.lock():
                write_settings_once(base, about_base, command)
                job.ensure_classifier()
        else:
            job.ensure_classifier()
        if job.diverged:
            return ensure_failed_rows(folder, evaluation, about, command, evaluation.maps)
        records: dict[str, Records] = {**job.records()}
        if psol:
            records |= {PSOL: found} if (found := psol_records(job)) else {}
        rows = ensure_scores(folder, evaluation, about, records, command, job)
    if few_shot is not None:
        for per_class in few_shot.per_class:
            ensure_few_shot(job, about, few_shot, per_class, command)
    baseline_folder = RunFolder.named(machine.results, str(about["baselines"]))
    with baseline_folder.lock():
        baseline = {**about, "run": about["baselines"], "backbone": NONE, "pooling": NONE, "seed": 0}
        write_settings_once(baseline_folder, baseline, command)
        ensure_scores(baseline_folder, evaluation, baseline, _baseline_records(baseline_folder, job), command)
    return rows


def check_experiment(
    experiment: Experiment, splits: Splits, evaluation: Evaluation, few_shot: FewShotSettings | None, psol: bool
) -> None:
    """Check that the data have what the job reads, and that all boxes it will score lie in their images.

    Boxes that reach out of their image are clipped when it is loaded; the log says how many.

    Raises:
        FileNotFoundError: if an image is missing whose size no annotation states.
        ValueError: if the data lack what a score, `few_shot` or `psol` reads, no score reads the boxes that `psol`
            gives, or a box is empty or has nothing inside its image.
    """
    _check_annotations(splits, evaluation)
    if few_shot is not None:
        for per_class in few_shot.per_class:
            choose_boxed(splits.val, per_class, experiment.seed)
    if psol:
        _check_psol(splits, evaluation)
    for split in (splits.val, splits.test):
        split.check_boxes()


def _check_annotations(splits: Splits, evaluation: Evaluation) -> None:
    for split in (splits.val, splits.test):
        wanted = [name for name, score in evaluation.scores.items() if score.needs_boxes]
        if wanted and not len(split.entries.boxes):
            raise ValueError(
                f"{split.name} has no boxes, which these scores read: {', '.join(wanted)}. Where there are masks, "
                "choose scores=pixels."
            )
    if evaluation.reads_pixels and true_masks(splits.test) is None:
        wanted = [name for name, score in evaluation.scores.items() if score.boxes == PIXELS]
        raise ValueError(
            f"{splits.test.name} has no masks, which these scores read: {', '.join(wanted)}; leave them out."
        )


def _check_psol(splits: Splits, evaluation: Evaluation) -> None:
    if not (len(splits.val.entries.boxes) and len(splits.test.entries.boxes)):
        raise ValueError(f"{splits.val.name} or test has no boxes, which PSOL is chosen and scored by; leave psol out.")
    if not any(score.needs_boxes and score.threshold is not None for score in evaluation.scores.values()):
        raise ValueError(
            f"PSOL gives boxes, which none of {', '.join(evaluation.scores)} reads; choose one more in `scores`, like "
            "gt_known_loc, or leave psol out."
        )
    if RULE not in evaluation.boxes:
        raise ValueError(
            f"PSOL draws its pseudo boxes by the rule {RULE!r}; choose it in `boxes` (have {sorted(evaluation.boxes)})."
        )
    if all(method.needs == "calls" for method in evaluation.maps.values()):
        raise ValueError(
            f"PSOL makes maps of all training images, for which {', '.join(evaluation.maps)} would take hours; "
            "choose one more in `maps`, like cam."
        )


def _baseline_records(folder: RunFolder, job: RunArtifacts) -> dict[str, Records]:
    """Baseline name -> box rule -> the record on test; the ground truth comes with the run's predictions."""
    evaluation = job.evaluation
    found: dict[str, Records] = {}
    truths: dict[str, pd.DataFrame] = {}
    for rule in job.rules:
        points: dict[str, int] = {}
        for split in SCORED_SPLITS:
            if split not in truths:
                truths[split] = job.predictions_and_maps(split, {})[0].assign(class_rank=-1)
            for name in BASELINES:

                def match(
                    point: int | None, name: str = name, rule: str = rule, predictions: pd.DataFrame = truths[split]
                ) -> tuple[Matches, pd.DataFrame]:
                    truth, thresholds = truth_of(predictions), np.asarray(evaluation.thresholds)
                    box_rule, protocol = evaluation.boxes[rule], evaluation.protocol
                    return match_baseline(name, truth, box_rule, thresholds, protocol, point), predictions

                path = folder.record_file(split, evaluation.record_key(name, rule))
                record = ensure_record(path, evaluation, rule, points.get(name), match)
                points[name] = record.operating_point
                found[name] = {**found.get(name, {}), rule: record}
    if evaluation.reads_pixels:  # the whole frame is no map
        path = folder.record_file("test", evaluation.record_key(CENTER_GAUSSIAN, PIXELS))

        def match_center() -> tuple[NDArray[np.int32], pd.DataFrame]:
            predictions = job.predictions_and_maps("test", {})[0].assign(class_rank=-1)
            truth, thresholds = job.truth(predictions), np.asarray(evaluation.thresholds)
            maps = CenterGaussians(truth, evaluation.protocol)
            return match_pixels(maps, truth, thresholds, evaluation.protocol), predictions

        record_of_pixels = ensure_pixel_record(path, evaluation, match_center)
        found[CENTER_GAUSSIAN] = {**found.get(CENTER_GAUSSIAN, {}), PIXELS: record_of_pixels}
    return found
