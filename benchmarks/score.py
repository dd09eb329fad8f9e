"""Score the maps of any tool: every score that a protocol admits, from maps and annotations on disk.

python benchmarks/score.py --maps DIR_OR_FILE --boxes SOURCE --split test --protocol reference [--json FILE]
python benchmarks/score.py --baseline center --boxes SOURCE [--json FILE]

Maps are a folder of <image_id>.npy, or one stacked .npz (image_ids, maps) or .npy. SOURCE is a folder of the field's
metadata text files, CUB_200_2011, tiny-imagenet-200, a CSV file with a line for each box (image,x0,y0,x1,y1[,label]
[,width,height][,split]), or a predictions-*.parquet of a run. Maps are of each image's true class. The scores are the
options of conf/scores, and of a folder of your own that --config-dir names.
"""

import argparse
import json
import logging
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from config.options import command_words
from config.score_options import box_rules_of, score_options
from wsol.atomic_files import write_text
from wsol.data.annotations.find import find_truth
from wsol.data.ground_truth import GroundTruth
from wsol.identity import digest
from wsol.maps.stored_maps import Degenerate
from wsol.runs.folder import save_frame
from wsol.scoring.baselines import CenterGaussians, whole_frame
from wsol.scoring.external.class_ranks import read_class_ranks
from wsol.scoring.external.maps import check_maps, find_maps
from wsol.scoring.external.rows import Choice, HeldOut, Row, ScoreTable
from wsol.scoring.match_maps import MapSource
from wsol.scoring.protocol import NAMED, Protocol
from wsol.scoring.stream_scores import Reading, SplitMaps, StreamedScores
from wsol.scoring.thresholds import LABEL_FREE, find_threshold, threshold_grid
from wsol.versions import commit, versions

_CHOSE_TAU = {
    "oracle": "the scored boxes",
    "held_out": "other images",
    "fixed": "fixed",
    "": "",
    **{policy: f"each map ({method})" for policy, method in LABEL_FREE.items()},
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--maps", type=Path, metavar="DIR_OR_FILE", help="activation maps, one for each image")
    what.add_argument("--baseline", choices=("center", "frame"), help="score a centred Gaussian, or the whole frame")
    made.add_argument("--boxes", type=Path, metavar="SOURCE", required=True, help="annotations")
    made.add_argument("--split", default="test", help="of the annotations (test)")
    made.add_argument("--protocol", choices=sorted(NAMED), default="reference", help="reference")
    made.add_argument("--step", type=float, default=0.001, help="of the thresholds, from 0 to below 1 (0.001)")
    made.add_argument("--tau", type=float, action="append", metavar="τ", help="a threshold fixed beforehand (0.2)")
    made.add_argument("--held-out", type=Path, metavar="FILE", help="what --json wrote for another split: its best τ")
    made.add_argument(
        "--score-maps", action="store_true", help="maps have the protocol's size and lie in [0, 1]: take them as is"
    )
    made.add_argument("--ids", type=Path, metavar="FILE", help="of a stacked .npy: an image id a line")
    made.add_argument("--predictions", type=Path, metavar="CSV", help="a line for each image: id, classes, best first")
    made.add_argument("--masks", type=Path, metavar="DIR", help="where mask files lie that the metadata name")
    made.add_argument("--images", type=Path, metavar="DIR", help="for a CSV without sizes: where the images lie")
    made.add_argument("--inclusive", action="store_true", help="of a CSV: the pixel (x1, y1) lies inside its box")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything here, curves included")
    made.add_argument("--per-image", type=Path, metavar="FILE", help="write a row an image here (.csv or .parquet)")
    return made


def read_held_out(path: Path, protocol: Protocol, images: str) -> HeldOut:
    """Read the best thresholds of another split.

    Raises:
        ValueError: if --json did not write the file, or it is of another protocol, or of the very images that are
            scored.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        rows, name, others = saved["scores"], saved["protocol"]["name"], saved["images_digest"]
        best = {
            (row["boxes"], row["iou_threshold"]): row["threshold"]
            for row in rows
            if row["score"] == "box_acc" and row["tau"] == "oracle"
        }
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not what --json wrote ({error!r}).") from None
    if name != protocol.name:
        raise ValueError(f"{path} was made by protocol {name!r} and cannot choose thresholds for {protocol.name!r}.")
    if not best:
        raise ValueError(f"{path} holds no threshold: protocol {name!r} has a fixed one, or the split has no boxes.")
    if others == images:
        raise ValueError(f"{path} is of the very images that are scored; held-out thresholds come from other ones.")
    return best


def maps_of(
    arguments: argparse.Namespace, truth: GroundTruth, protocol: Protocol
) -> tuple[MapSource, Degenerate | None]:
    """Find and check the maps; count those that are degenerate, but for a baseline."""
    if arguments.baseline is not None:
        return CenterGaussians(truth, protocol), None
    maps = find_maps(arguments.maps, truth, arguments.ids)
    sizes = [protocol.grid or truth.size(n) for n in range(len(truth))] if arguments.score_maps else None
    return maps, check_maps(arguments.maps, maps, sizes)


def per_image(
    streamed: StreamedScores, truth: GroundTruth, points: dict[float, int], protocol: Protocol
) -> pd.DataFrame:
    """Make a row an image, which scores of other maps of the same images can be paired with."""
    frame = pd.DataFrame(
        {
            "image_id": truth.image_ids,
            "class_id": truth.class_ids,
            "class_rank": streamed.class_rank,
            "protocol": protocol.name,
            **_by_policy("{}_threshold", streamed.thresholds[streamed.label_free]),
        }
    )
    for rule, iou in streamed.label_free_iou.items():
        frame = frame.assign(**_by_policy(f"iou_{rule}_{{}}", iou))
        for place, tau in enumerate(points):
            frame[f"iou_{rule}_at_{tau:g}"] = streamed.point_iou[rule][:, place]
    return frame.assign(peak_distance=streamed.peak_distance, energy_inside=streamed.energy_inside)


def _by_policy(column: str, values: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    return {column.format(policy): values[:, place] for place, policy in enumerate(LABEL_FREE)}


def table_of(rows: list[Row]) -> str:
    """Format rows for people: in percent, and with what chose τ in words."""
    cells = []
    for row in rows:
        value = f"{row.value:.2f} x" if row.score == "box_area_ratio" else f"{100 * row.value:.2f}"
        delta = "" if row.iou_threshold is None else f"{row.iou_threshold:g}"
        tau = "" if row.threshold is None else f"{row.threshold:.3g}"
        cells.append([row.score, value, row.boxes, delta, tau, _CHOSE_TAU[row.tau]])
    headers = ["score", "%", "boxes", "IoU ≥ δ", "τ", "chosen by"]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def values_of(rows: list[Row]) -> dict[str, Any]:
    """Map each score to its value, or, where it has several, to a value for each label."""
    values: dict[str, Any] = {}
    for name in dict.fromkeys(row.score for row in rows):
        same = {_label(row): row.value for row in rows if row.score == name}
        values[name] = next(iter(same.values())) if len(same) == 1 else same
    return values


def _label(row: Row) -> str:
    tau = f"{row.tau} {row.threshold:g}" if row.tau == "fixed" else row.tau
    return f"{row.boxes} {row.iou_threshold:g} {tau}" if row.score == "box_acc" else tau


def score(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """Compute the scores: what the command writes, and the rows that it prints."""
    protocol = NAMED[arguments.protocol]
    thresholds = threshold_grid(arguments.step)
    taus = arguments.tau or ([0.2] if protocol.threshold is None else [protocol.threshold])
    points = {tau: find_threshold(thresholds, tau, "--tau") for tau in taus}
    truth = find_truth(arguments.boxes, arguments.split, arguments.masks, arguments.images, arguments.inclusive)
    images = digest(truth.image_ids.tolist())
    held_out = None if arguments.held_out is None else read_held_out(arguments.held_out, protocol, images)
    ranks, listed = (None, 0) if arguments.predictions is None else read_class_ranks(arguments.predictions, truth)
    if protocol.map_class == "predicted" and ranks is None:
        raise ValueError(f"Protocol {protocol.name!r} counts a box only where the class is right: give --predictions.")
    maps, degenerate = maps_of(arguments, truth, protocol)
    if held_out is not None:
        chosen = held_out["largest", 0.5]
        points[chosen] = find_threshold(thresholds, chosen, f"{arguments.held_out}")
    scores = score_options()
    rules = box_rules_of(scores)
    if arguments.baseline == "frame":
        rules = dict.fromkeys(rules, whole_frame)
    given = arguments.score_maps and arguments.baseline is None
    split = SplitMaps(maps, truth, ranks, are_score_maps=given, from_maps=arguments.baseline != "frame")
    table = ScoreTable.of(split, scores, Reading(rules, thresholds, protocol, list(points.values())))
    rows = table.rows(Choice({tau: points[tau] for tau in taus}, held_out, listed))
    if arguments.per_image is not None:
        save_frame(arguments.per_image, per_image(table.streamed, truth, points, protocol))
    return {
        "maps": str(arguments.maps or f"baseline {arguments.baseline}"),
        "boxes": str(arguments.boxes),
        "split": arguments.split,
        "images": len(truth),
        "images_digest": images,
        "true_boxes": sum(len(boxes) for boxes in truth.boxes),
        "protocol": asdict(protocol),
        "thresholds": len(thresholds),
        "degenerate_maps": None if degenerate is None else asdict(degenerate),
        **values_of(rows),
        "scores": [asdict(row) for row in rows],
        "curves": table.curves(),
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit(),
        "versions": versions(),
    }, rows


def main() -> int:
    """Score, print and write; return the exit status, which is 2 for input that cannot be scored."""
    arguments = parser().parse_args(command_words())
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        result, rows = score(arguments)
        if arguments.json is not None:
            write_text(arguments.json, json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table_of(rows))
    print(
        f"\n{result['images']:,} images, {result['true_boxes']:,} true boxes, {result['thresholds']} thresholds.\n"
        f"Protocol {arguments.protocol}: {NAMED[arguments.protocol].text}."
    )
    if result["degenerate_maps"] and any(result["degenerate_maps"].values()):
        counts = result["degenerate_maps"]
        print(
            f"Degenerate maps, scored all the same: {counts['constant']} constant ({counts['zero']} of them zero), "
            f"{counts['one_pixel']} of one pixel."
        )
    for name in ("json", "per_image"):
        if getattr(arguments, name) is not None:
            print(f"{name.replace('_', ' ')}: {getattr(arguments, name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
