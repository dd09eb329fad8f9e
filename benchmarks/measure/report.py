"""Measure the time of a report over many large runs, and of resampling beside its plain definition.

python benchmarks/measure/report.py [--runs 50] [--images 10000] [--thresholds 100] [--out FILE.md]

The command writes made-up runs with one map method, both box rules and all scores to a temporary folder, and runs
`benchmarks/report.py` on them in a separate process: tables, figures, claims and page. Then it times the resamples of
one best-over-τ score as a matrix product and by their definition, image by image.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from tqdm import tqdm

from wsol.atomic_files import write_json
from wsol.comparison.bootstrap import ImageResamples
from wsol.identity import describe
from wsol.runs.experiment import Evaluation
from wsol.runs.folder import FACT_COLUMNS, RUN_COLUMNS, SCORE_COLUMNS, RunFolder, save_frame
from wsol.scoring.outcomes import best_over_thresholds
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.thresholds import LABEL_FREE
from wsol.threads import processors
from wsol.versions import commit, versions

sys.path.insert(0, str(Path(__file__).parents[1]))
from config.build import evaluation_of
from config.options import CONF
from measure.harness import command_of, make_parser, markdown, publish

_CLASSES, _SIDE = 200, 224


def evaluation(thresholds: int) -> Evaluation:
    """Return the default evaluation with CAM alone."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return evaluation_of(compose("run", overrides=["maps=[cam]", f"thresholds.step={1 / thresholds}"]))


def record_of(generator: np.random.Generator, images: int, thresholds: int, shift: float) -> LocalizationRecord:
    """Make up outcomes: IoU curves with a peak, and boxes near the true boxes."""
    taus = np.arange(thresholds) / thresholds
    peak = generator.beta(2, 4, (images, 1))
    height = np.clip(generator.normal(0.55 + shift, 0.2, (images, 1)), 0, 1)
    true = np.concatenate([generator.uniform(0, 80, (images, 2)), generator.uniform(120, _SIDE, (images, 2))], axis=1)
    boxes = np.clip(true + generator.normal(0, 25, true.shape), 0, _SIDE)
    return LocalizationRecord(
        image_ids=np.array([f"test/{place:06}.jpg" for place in range(images)]),
        class_ids=np.arange(images) % _CLASSES,
        class_rank=generator.geometric(0.7, images) - 1,
        best_iou=(height * np.exp(-(((taus - peak) / 0.25) ** 2))).astype(np.float32),
        boxes=boxes.astype(np.float32),
        true_boxes=true.astype(np.float32),
        thresholds=taus,
        operating_point=thresholds // 4,
        label_free=generator.integers(0, thresholds, (images, len(LABEL_FREE))),
        peak_distance=generator.exponential(20, images).astype(np.float32),
        energy_inside=generator.random(images).astype(np.float32),
    )


def make_runs(results: Path, runs: int, images: int, thresholds: int) -> None:
    """Write run folders as `run_experiment` does, without images, maps and weights."""
    scored_by, generator = evaluation(thresholds), np.random.default_rng(0)
    for place in tqdm(range(runs), desc="making up runs", leave=False):
        pooling, seed = ("gap", "gmp")[place % 2], place // 2
        name = f"made_up-net-{pooling}-s{seed}-00000000"
        folder = RunFolder(results / "runs" / name)
        about: dict[str, Any] = dict.fromkeys(RUN_COLUMNS, "made_up")
        about |= {
            "run": name,
            "backbone": "net",
            "pooling": pooling,
            "seed": seed,
            "comparison": "made_up-net-00000000",
        }
        command = "python benchmarks/run.py sweep=gap_vs_gmp"
        data = {"split_sizes": {"train": 0, "val": images // 10, "test": images}, "num_classes": _CLASSES}
        identity = {"identity": {"data": {"settings": {}, "fingerprint": ""}, "seed": seed}}
        folder.path.mkdir(parents=True)
        folder.write_settings(
            {**about, **data, **identity, "command": command, "commit": commit(), "versions": versions()}
        )
        text = {"protocol": scored_by.protocol.name, "text": scored_by.protocol.text, "command": command}
        write_json(folder.protocol_file(scored_by.key), {**text, "settings": describe(scored_by)})
        by_rule = {}
        for rule in scored_by.boxes:
            for split, count in (("val", images // 10), ("test", images)):
                shift = 0.03 * (pooling == "gap") + generator.normal(0, 0.01)
                by_rule[rule] = record_of(generator, count, thresholds, shift)
                save_frame(folder.record_file(split, scored_by.record_key("cam", rule)), by_rule[rule].to_frame())
        save_frame(folder.predictions_file("test"), predictions_of(by_rule["largest"]))
        facts = {"same_as": "", "forward_ms": 1.0, "ms_per_image": 1.0}
        rows = [
            {
                **about,
                **facts,
                "protocol_key": scored_by.key,
                "map": "cam",
                "score": score_name,
                "protocol": scored_by.protocol_of(score),
                "value": score(by_rule),
                "threshold": score.threshold_used(by_rule),
                "images": images,
                "commit": commit(),
            }
            for score_name, score in scored_by.scores.items()
        ]
        columns = [*RUN_COLUMNS, *SCORE_COLUMNS, *FACT_COLUMNS]
        save_frame(
            folder.scores_file(scored_by.key), pd.DataFrame(rows).reindex(columns=columns).fillna({"zero_maps": 0})
        )


def predictions_of(record: LocalizationRecord) -> pd.DataFrame:
    """Return the predictions of a record's images."""
    frame = pd.DataFrame(
        {
            "image_id": record.image_ids,
            "class_id": record.class_ids,
            "class_rank": record.class_rank,
            "boxes": list(record.true_boxes),
        }
    )
    frame.attrs = {"size": [_SIDE, _SIDE]}
    return frame


def measure_report(results: Path) -> tuple[float, float]:
    """Return seconds and GiB of one report in a separate process.

    Raises:
        RuntimeError: if the report failed, with the end of its output.
    """
    command = [sys.executable, str(Path(__file__).parents[1] / "report.py"), str(results)]
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(output.read().decode()[-2000:])
    return seconds, usage.ru_maxrss / 2**20  # from KiB, the unit on Linux


def compare_resampling(images: int, thresholds: int, resamples: int = 200) -> tuple[float, float]:
    """Return the seconds for resamples of MaxBoxAcc as a matrix product, and image by image.

    Raises:
        ValueError: if the two have different scores.
    """
    iou = record_of(np.random.default_rng(0), images, thresholds, 0).best_iou
    drawn = ImageResamples(images, resamples)
    counts = drawn.counts
    start = time.perf_counter()
    ours = drawn.replicates(best_over_thresholds(iou, [0.5]))
    middle = time.perf_counter()
    plain = [float((np.repeat(iou, count, axis=0) >= 0.5).mean(axis=0).max()) for count in counts]
    end = time.perf_counter()
    if not np.allclose(ours, plain, atol=1e-6):
        raise ValueError("The two ways of resampling differ.")
    return middle - start, end - middle


def main() -> None:
    """Measure, print and write the table."""
    parser = make_parser(__doc__, "results/measure/report.md")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--thresholds", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), asked.runs, asked.images, asked.thresholds)
        seconds, memory = measure_report(Path(folder))
        size = (Path(folder) / "report.html").stat().st_size / 2**20
    ours, plain = compare_resampling(asked.images, asked.thresholds)
    lines = {
        "report, whole process": f"{seconds:.1f} s",
        "largest memory": f"{memory:.2f} GiB",
        "page": f"{size:.1f} MiB",
        "200 resamples of MaxBoxAcc, image by image over matrix product": f"{plain / ours:.0f} times the time",
    }
    headers = [f"{asked.runs} runs, {asked.images:,} images, {asked.thresholds} thresholds", "measured"]
    notes = [
        "Made-up records of both box rules on val and test, one map method, two poolings. The report makes all scores, "
        "intervals by 1,000 resamples, claims, figures and the page. Goal: under 30 s and 2 GB on two cores.",
        f"{processors()} processors.",
    ]
    publish([markdown(lines.items(), headers)], notes, asked.out, command_of(__file__, sys.argv[1:]))


if __name__ == "__main__":
    main()
