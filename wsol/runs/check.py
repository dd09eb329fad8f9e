"""Check before anything is trained that the data have what a job reads."""

from collections.abc import Callable
from dataclasses import dataclass

from wsol.data.masks import true_masks
from wsol.data.splits import Splits
from wsol.networks.backbone import Backbone
from wsol.runs.experiment import Evaluation, Experiment
from wsol.runs.few_shot import FewShotSettings, choose_boxed
from wsol.runs.psol import RULE
from wsol.scoring.score import PIXELS


@dataclass(frozen=True)
class BoxNetworks:
    """Name the networks that boxes train beside the classifier of a job.

    Attributes:
        build_backbone: makes their trunk, without what a training method adds to it; called after seeding.
        few_shot: networks that some boxes of `val` train, with rows of their own beside all heads; None: none.
        psol: train a box regressor on the run's own boxes of the training images, as one more of its maps.
    """

    build_backbone: Callable[[], Backbone]
    few_shot: FewShotSettings | None = None
    psol: bool = False


def check_experiment(
    experiment: Experiment, splits: Splits, evaluation: Evaluation, box_networks: BoxNetworks | None = None
) -> None:
    """Check that the data have what a job reads, and that all boxes that it will score lie in their images.

    Boxes that reach out of their image are clipped when it is loaded, and counted in the log.

    Raises:
        FileNotFoundError: if an image is missing whose size no annotation states.
        ValueError: if the data lack what a score, `few_shot` or `psol` reads, no score reads the boxes that `psol`
            gives, or a box is empty or has nothing inside its image.
    """
    check_scored(splits, evaluation)
    if box_networks is not None and box_networks.few_shot is not None:
        for per_class in box_networks.few_shot.per_class:
            choose_boxed(splits.val, per_class, experiment.seed)
    if box_networks is not None and box_networks.psol:
        _check_psol(splits, evaluation)


def check_scored(splits: Splits, evaluation: Evaluation) -> None:
    """Check that val and test have what the scores read, and that their boxes lie in their images.

    Raises:
        FileNotFoundError: as `check_experiment`.
        ValueError: if a split lacks boxes or masks that a score reads, or a box is empty or outside of its image.
    """
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
    for split in (splits.val, splits.test):
        split.check_boxes()


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
