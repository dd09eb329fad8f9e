"""Draw a comparison: for a few test images, each pooling's maps and boxes side by side."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.comparison.comparison import Comparison
from wsol.data.splits import Splits
from wsol.geometry import Size
from wsol.identity import digest
from wsol.maps.stored_maps import StoredMaps
from wsol.report.pictures.panels import DRAWN_FROM, Panel, draw_side_by_side
from wsol.runs.experiment import Evaluation
from wsol.runs.folder import RunFolder, load_maps, load_or_none, load_record
from wsol.scoring.baselines import NONE
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score_map import to_score_maps

_IMAGES = 6
_METHODS = 6  # map methods of each pooling; more would be too small, and benchmarks/explain.py draws any number


def write_gallery(results: Path, comparison: Comparison, evaluation: Evaluation, splits: Splits) -> Path:
    """Draw the first seed's runs side by side on a few test images, drawn by a fixed seed and not by their scores.

    Boxes are those of the first box rule at the threshold chosen on `val`. An existing picture of the same runs stays
    unchanged. A run whose maps were deleted is left out until it is run again.

    Returns:
        The path of the .png file.
    """
    path = results / "pictures" / f"{comparison.file_name(results)}.png"
    rows = comparison.rows[comparison.rows["backbone"] != NONE].sort_values(["pooling", "seed"])
    runs = rows.groupby("pooling")["run"].first().to_dict()
    drawn_from = digest([runs, evaluation.key])
    if path.exists() and load_or_none(path, _read_drawn_from) == drawn_from:
        return path
    rule = next(iter(evaluation.boxes))
    picked = np.sort(np.random.default_rng(0).permutation(len(splits.test))[:_IMAGES])
    samples = [splits.test[int(index)] for index in picked]
    columns = {}
    for pooling, run in runs.items():
        folder = RunFolder.named(results, run)
        for name in list(evaluation.maps)[:_METHODS]:
            maps = load_or_none(folder.maps_file("test", evaluation.map_key(name)), load_maps)
            record = load_or_none(folder.record_file("test", evaluation.record_key(name, rule)), load_record)
            if maps is not None and record is not None:
                columns[f"{pooling}, {name}"] = _panels(maps, record, picked, samples[0].size, evaluation)
    more = f"; the first {_METHODS} of {len(evaluation.maps)} methods" if len(evaluation.maps) > _METHODS else ""
    title = f"{comparison.name}\n{rule} box at the τ chosen on val; dashed: true box, solid: predicted{more}"
    draw_side_by_side(path, samples, columns, title, splits.class_names, drawn_from)
    return path


def _panels(
    maps: StoredMaps, record: LocalizationRecord, picked: NDArray[np.int64], size: Size, evaluation: Evaluation
) -> list[Panel]:
    on_image = replace(evaluation.protocol, name="drawn", grid=None)
    score_maps = to_score_maps(maps.activation_maps(picked), size, on_image)
    return [
        Panel(
            score_map=score_map,
            box=record.boxes[index],
            iou=float(record.best_iou[index, record.operating_point]),
            top1=record.class_rank[index] == 0,
        )
        for score_map, index in zip(score_maps, picked, strict=True)
    ]


def _read_drawn_from(path: Path) -> str | None:
    with Image.open(path) as picture:
        return picture.info.get(DRAWN_FROM)
