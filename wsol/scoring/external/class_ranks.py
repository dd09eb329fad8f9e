"""Read class predictions that any tool wrote, and rank the true classes among them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.data.ground_truth import GroundTruth

T = TypeVar("T")
NOT_LISTED = 1_000_000  # the rank of a class that is not among those given


def read_class_ranks(path: Path, truth: GroundTruth) -> tuple[NDArray[np.int64], int]:
    """Read the rank of each true class from a file of predictions.

    Args:
        path: a CSV file with a line for each image: its id, then predicted classes, the best first, as class ids or as
            names of the annotations. A first line that starts with `image` is a heading. Or a run's
            predictions-*.parquet.
        truth: the split.

    Returns:
        (N,) rank of the true class, 0 is top-1; and the smallest number of classes that the file lists for an image,
        which limits the k of top-k.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming images that are missing, extra or there twice, classes that are unknown, and lines without
            any; or if the annotations contain no classes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No predictions at {path}.")
    if (truth.class_ids < 0).any():
        raise ValueError("The annotations name no classes, so predictions cannot be right or wrong.")
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path, columns=["image_id", "class_rank"])
        ids, ranks, listed = frame["image_id"].tolist(), frame["class_rank"].tolist(), NOT_LISTED
        return np.array(_in_order(path, dict(zip(ids, ranks, strict=True)), truth), np.int64), listed
    class_ids = {name: index for index, name in enumerate(truth.class_names)}
    predicted: dict[str, list[int]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, fields in enumerate(csv.reader(file), start=1):
            fields = [field.strip() for field in fields]
            if not any(fields) or (number == 1 and fields[0].lower().startswith("image")):
                continue
            image, names = fields[0], [field for field in fields[1:] if field]
            if image in predicted or not names:
                what = f"image {image!r} comes a second time" if image in predicted else "no class is given"
                raise ValueError(f"{path}, line {number}: {what}.")
            predicted[image] = [_class_id(path, number, name, class_ids) for name in names]
    in_order = _in_order(path, predicted, truth)
    pairs = zip(in_order, truth.class_ids, strict=True)
    ranks = [classes.index(label) if label in classes else NOT_LISTED for classes, label in pairs]
    return np.array(ranks, np.int64), min(len(classes) for classes in in_order)


def _class_id(path: Path, number: int, name: str, class_ids: dict[str, int]) -> int:
    if name in class_ids:
        return class_ids[name]
    if name.isdecimal():
        return int(name)
    raise ValueError(f"{path}, line {number}: class {name!r} is neither a class id nor a name that annotations have.")


def _in_order(path: Path, by_image: dict[str, T], truth: GroundTruth) -> list[T]:
    image_ids: Sequence[str] = truth.image_ids.tolist()
    problems = [f"missing: {image_id}" for image_id in image_ids if image_id not in by_image]
    extra = sorted(set(by_image) - set(image_ids))
    problems += [f"extra, of no image of the split: {image_id}" for image_id in extra]
    if problems:
        raise ValueError(f"{len(problems)} problems with the predictions in {path}:\n  " + "\n  ".join(problems))
    return [by_image[image_id] for image_id in image_ids]
