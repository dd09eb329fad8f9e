"""Describe the maps of a run beside their scores: cost, degenerate maps, theorems, faithfulness."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from wsol.explain.base_measure import measure_faithfulness
from wsol.maps.theorems import exactness, same_as
from wsol.networks.classifier import Classifier
from wsol.runs.as_is import NetworkAsIs
from wsol.runs.fit import COLLAPSED, is_collapsed
from wsol.runs.records import MapsSource
from wsol.runs.run_maps import RunMaps
from wsol.training.train import PLAIN

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MapFacts:
    """Describe the maps of one method.

    Attributes:
        columns: values of `FACT_COLUMNS`, by name.
        faithfulness: a row per test image, a column per number of the measures.
    """

    columns: Mapping[str, Any]
    faithfulness: pd.DataFrame = field(default_factory=pd.DataFrame)


def status_of(run: RunMaps) -> str:
    """Return why a run is left out of means; empty if it is not, and for a network as it is, which nothing trained."""
    predictions = run.predictions("val")
    right = int((predictions["class_rank"] == 0).sum())
    collapsed = is_collapsed(right, len(predictions), run.splits.num_classes)
    if not isinstance(run.experiment, NetworkAsIs):
        return COLLAPSED if collapsed else ""
    if collapsed:
        name, count = run.experiment.trained.name, len(predictions)
        log.warning("%s is right on %d of %d images of val, as by chance; check its classes.", name, right, count)
    return ""


def describe_maps(source: MapsSource, run: RunMaps) -> MapFacts:
    """Describe the maps of one method on test, and measure their faithfulness.

    Args:
        source: of the maps.
        run: whose network made them.
    """
    evaluation, experiment, name = run.artifacts.evaluation, run.experiment, source.name
    predictions, maps = run.predictions("test"), source.read("test")
    degenerate = maps.degenerate()
    # The theorems hold for one pooling and one linear layer; a training method may use another head.
    usual = experiment.method is PLAIN or type(run.classifier()) is Classifier
    pooling = experiment.pooling_layer if usual else None
    columns = {
        "same_as": same_as(
            name, {key: evaluation.maps[key] for key in run.methods}, pooling, evaluation.protocol.cuts_negative
        ),
        "exact": exactness(evaluation.maps[name], pooling, experiment.pool_site),
        "status": status_of(run),
        "forward_ms": 1000 * predictions.attrs.get("seconds", np.nan) / len(predictions),
        "ms_per_image": 1000 * maps.seconds / len(maps.image_ids),
        "constant_maps": degenerate.constant,
        "zero_maps": degenerate.zero,
        "one_pixel_maps": degenerate.one_pixel,
    }
    frames = [
        run.artifacts.faithfulness(name, measure, functools.partial(_measure, source, run, measure))
        for measure in evaluation.faithfulness
    ]
    if not frames:
        return MapFacts(columns)
    return MapFacts(columns, pd.concat([frame.set_index("image_id") for frame in frames], axis=1))


def _measure(source: MapsSource, run: RunMaps, measure: str) -> pd.DataFrame:
    evaluation, name = run.artifacts.evaluation, source.name
    log.info("%s: %s of %s", run.artifacts.folder.path.name, measure, name)
    return measure_faithfulness(
        run.network,
        run.splits.test,
        run.methods[name],
        source.read("test"),
        evaluation.faithfulness[measure],
        run.machine,
    )
