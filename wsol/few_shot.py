"""Which boxes of `val` a network is trained with, and which choose its threshold."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsol.box_training import training_steps
from wsol.image_set import ImageSet
from wsol.protocol import Protocol
from wsol.score import Score
from wsol.supervision import VAL_BOXES, Supervision, supervision_of
from wsol.train import TrainSettings


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
