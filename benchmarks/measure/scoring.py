"""Measure the scoring of all thresholds beside the field's evaluation, and check that their scores are equal.

python benchmarks/measure/scoring.py [--reference CHECKOUT] [--maps 20] [--images 50000] [--out FILE.md]

CHECKOUT is a checkout of github.com/clovaai/wsolevaluation; without it, the command uses the plain OpenCV version of
`tests/helpers/reference.py`. Both are timed on the same maps in turn, on one thread, from the score map to the best IoU
at each threshold. Then stored maps of 14 x 14 cells are resized and scored on all processors.
"""

import functools
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.data.ground_truth import GroundTruth, same_size
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.external.rows import ScoreTable
from wsol.scoring.match_maps import counted, match_maps
from wsol.scoring.matching import best_of
from wsol.scoring.protocol import REFERENCE
from wsol.scoring.stream_scores import Reading, SplitMaps
from wsol.scoring.thresholds import threshold_grid
from wsol.threads import processors

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
import reference
from config.score_options import score_options
from measure.harness import command_of, make_parser, markdown, publish, seconds_of

SIZE = (224, 224)
Scorer = Callable[[NDArray[np.float64], NDArray[np.float64], bool, NDArray[np.int64]], NDArray[np.float64]]


def families(count: int) -> Iterator[tuple[str, list[NDArray[np.float64]]]]:
    """Make score maps like those of a network: upsampled blobs with noise, and raw pixel gradients."""
    generator = np.random.default_rng(0)
    for cells in (7, 14, 28):
        for interpolation in ("bicubic", "bilinear"):
            for blobs in (1, 3, 8):
                yield (
                    f"{cells} px, {interpolation}, {blobs} blobs",
                    [upsampled(blob_map(generator, cells, blobs), interpolation) for _ in range(count)],
                )
    noise = [generator.exponential(size=SIZE) for _ in range(max(1, count // 10))]
    yield "raw gradients", [(pixels - pixels.min()) / (pixels.max() - pixels.min()) for pixels in noise]


def blob_map(generator: np.random.Generator, cells: int, blobs: int) -> NDArray[np.float64]:
    """Draw a (cells, cells) activation map: Gaussians of random place, width and height, and 2 % noise."""
    y, x = np.mgrid[:cells, :cells] / cells
    activation_map = 0.02 * generator.normal(size=(cells, cells))
    for _ in range(blobs):
        (center_y, center_x), width = generator.random(2), generator.uniform(0.06, 0.3)
        bump = np.exp(-((y - center_y) ** 2 + (x - center_x) ** 2) / (2 * width**2))
        activation_map += generator.uniform(0.3, 1) * bump
    return activation_map


def upsampled(activation_map: NDArray[np.float64], interpolation: str) -> NDArray[np.float64]:
    """Make a score map as the reference does, with either interpolation."""
    method = cv2.INTER_CUBIC if interpolation == "bicubic" else cv2.INTER_LINEAR
    resized = cv2.resize(activation_map, SIZE, interpolation=method)
    return (resized - resized.min()) / (resized.max() - resized.min())


def ours(
    scores: NDArray[np.float64], taus: NDArray[np.float64], only_largest: bool, true_boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score a map by wsol's engine; `true_boxes` contains inclusive boxes."""
    edges = (true_boxes + np.array([0, 0, 1, 1])).astype(np.float32)
    return best_of((largest if only_largest else every)(scores, taus, REFERENCE), edges)[0].astype(np.float64)


def checkout_scorer(folder: Path) -> Scorer:
    """Load the evaluator of a checkout of the reference.

    Raises:
        SystemExit: if the folder is no such checkout.
    """
    # The reference was written for numpy 1, and imports packages that scoring does not need.
    for name, kind in {"float": float, "int": int}.items():
        setattr(np, name, kind)
    if "munch" not in sys.modules:
        sys.modules["munch"] = types.ModuleType("munch")
    if not (folder / "evaluation.py").is_file():
        raise SystemExit(f"{folder} contains no evaluation.py. Pass a checkout of github.com/clovaai/wsolevaluation.")
    sys.path.insert(0, str(folder))
    import evaluation  # type: ignore[import-not-found]

    def score(
        scores: NDArray[np.float64], taus: NDArray[np.float64], only_largest: bool, true_boxes: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        boxes, counts = evaluation.compute_bboxes_from_scoremaps(scores, list(taus), not only_largest)
        overlap = evaluation.calculate_multiple_iou(np.concatenate(boxes, axis=0), true_boxes).max(1)
        ends = np.cumsum(counts)
        return np.array([max(overlap[end - count : end]) for end, count in zip(ends, counts, strict=True)])

    return score


def plain(
    scores: NDArray[np.float64], taus: NDArray[np.float64], only_largest: bool, true_boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score a map by the plain OpenCV version of the tests."""
    return reference.best_iou(scores, taus, only_largest, true_boxes)


def compare(
    peer: Scorer, maps: list[NDArray[np.float64]], taus: NDArray[np.float64], only_largest: bool
) -> dict[str, float]:
    """Return the median milliseconds per map of both scorers, which take turns every five maps.

    Raises:
        SystemExit: if an IoU differs by more than the rounding to float32.
    """
    true_boxes = np.array([[40, 60, 170, 180]])
    ours(maps[0], taus, only_largest, true_boxes)  # the first call compiles
    milliseconds: dict[str, list[float]] = {"peer": [], "ours": []}
    for first in range(0, len(maps), 5):
        best: dict[str, list[NDArray[np.float32]]] = {"peer": [], "ours": []}
        for name, scorer in {"peer": peer, "ours": ours}.items():
            for scores in maps[first : first + 5]:
                start = time.perf_counter()
                iou = scorer(scores, taus, only_largest, true_boxes)
                milliseconds[name].append(1000 * (time.perf_counter() - start))
                best[name].append(iou.astype(np.float32))
        if not np.array_equal(best["peer"], best["ours"]):
            raise SystemExit("The engine and the reference disagree. This is a bug; please report it.")
    return {name: float(np.median(times)) for name, times in milliseconds.items()}


def seconds_for(images: int) -> dict[str, float]:
    """Time the scoring of stored maps of 14 x 14 cells at 1,000 thresholds, by each box rule and by both at once."""
    generator = np.random.default_rng(1)
    activation_maps = np.stack([blob_map(generator, 14, 1 + n % 5) for n in range(min(images, 1000))])
    many = np.resize(activation_maps, (images, 14, 14))
    names = [str(n) for n in range(images)]
    stored = StoredMaps.of(names, torch.from_numpy(many))
    boxes = [np.array([[40, 60, 171, 181]], np.float32)] * images
    ground_truth = GroundTruth(np.array(names), np.zeros(images, np.int64), boxes, same_size(images, SIZE))
    taus = threshold_grid(0.001)
    rules: dict[str, BoxRule] = {"largest": largest, "every": every}
    seconds = {}
    for name, rule in rules.items():
        with counted(stored, name) as maps:
            seconds[name] = seconds_of(
                functools.partial(match_maps, maps, ground_truth, rule, taus, REFERENCE, point=0)
            )
    split, reading = SplitMaps(stored, ground_truth), Reading(rules, taus, REFERENCE)
    all_scores = functools.partial(ScoreTable.of, split, score_options(), reading)
    return {**seconds, "both in one pass, with all scores of benchmarks/score.py": seconds_of(all_scores)}


def main() -> None:
    """Measure, print and write the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--reference", type=Path, help="a checkout of github.com/clovaai/wsolevaluation")
    parser.add_argument("--maps", type=int, default=20, help="number of maps in each family")
    parser.add_argument("--thresholds", type=int, nargs="+", default=[100, 1000], help="numbers of thresholds")
    parser.add_argument("--images", type=int, default=50_000, help="number of stored maps to score; 0 for none")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    peer = checkout_scorer(arguments.reference) if arguments.reference else plain
    rows: list[dict[str, Any]] = []
    for family, maps in tqdm(families(arguments.maps), total=19, desc="families", leave=False):
        for only_largest in (True, False):
            for count in arguments.thresholds:
                times = compare(peer, maps, np.arange(0, 1, 1 / count), only_largest)
                rule = "largest" if only_largest else "every"
                rows.append({"maps": family, "rule": rule, "thresholds": count, **times})
    frame = pd.DataFrame(rows)
    frame["times faster"] = frame["peer"] / frame["ours"]
    like_cams = frame[frame["maps"] != "raw gradients"]
    medians = like_cams.groupby(["rule", "thresholds"], as_index=False).median(numeric_only=True)
    table = pd.concat([frame, medians.assign(maps="median over blobs")], ignore_index=True)
    name = "a checkout of wsolevaluation" if arguments.reference else "tests/helpers/reference.py"
    notes = [
        f"Milliseconds per map of 224 x 224 on one thread, medians over {arguments.maps} maps; peer: {name}. Both have "
        "the same best IoU for each map and threshold.",
        f"Lowest ratio: {frame['times faster'].min():.1f}.",
    ]
    if arguments.images:
        taken = ", ".join(f"{rule} {seconds:.1f} s" for rule, seconds in seconds_for(arguments.images).items())
        notes.append(
            f"{arguments.images:,} stored maps of 14 x 14 cells, resizing and 1,000 thresholds included, on "
            f"{processors()} processors: {taken}."
        )
    text = markdown(table.to_numpy().tolist(), table.columns.tolist(), ".3g")
    command = command_of(__file__, sys.argv[1:], {"--reference": lambda word: "CHECKOUT"})
    publish([text], notes, arguments.out, command, {"opencv": cv2.__version__})


if __name__ == "__main__":
    main()
