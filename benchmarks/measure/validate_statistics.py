"""How often this project's intervals hold the truth, and how often its tests err, where the truth is known.

python benchmarks/measure/validate_statistics.py [--repeats 2000] [--resamples 300] [--out FILE.md]

Two settings of S seeds are tested on N images, again and again, with seeds and images drawn anew each time. What
`wsol.comparison.paired_scores` and `wsol.comparison.estimate` say of their difference is counted against the truth,
beside what other intervals (`interval_rules.py`) say of the same outcomes (`simulated_outcomes.py`).
"""

import argparse
import functools
import gc
import importlib.metadata
import itertools
import multiprocessing
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from wsol.atomic_files import write_text
from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.paired_scores import Measured, mcnemar_tests
from wsol.comparison.summary import holm
from wsol.threads import processors
from wsol.versions import commit, versions

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure.interval_rules import RULES
from measure.simulated_outcomes import Arm, BestThreshold, HitsAtOnePoint, World

TABLE = Path(__file__).parents[2] / "results" / "measure" / "statistics.md"
SEEDS, IMAGES, SEED_SDS = (1, 2, 3, 5, 10), (200, 1000), (0.0, 0.02, 0.06)
SCORE, EFFECT = 0.65, 0.05
ARMS: tuple[Arm, ...] = ((0, SCORE), (1, SCORE), (1, SCORE + EFFECT))
ALPHA = 0.05
HYPOTHESES = 10
FIRST_SEED = 0
_PART = 100  # repeats of one job, so that the processes end together
_VALUES_AT_ONCE = 4_000_000

Counts = defaultdict[str, float]


class Case(Protocol):
    """Something to count over repeats; the counts of parts add up."""

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """Simulate so many repeats, with so many resamples of the images in each."""


@dataclass(frozen=True)
class Difference:
    """Two settings of S seeds on N images, with no effect and with one.

    Counts: `covered`, `found` and `width` of the model where there is an effect; `rejected`, by its p-value where there
    is none; `rejected by` and `width of` each other rule where there is none; `covered of settings`, which with one
    seed is another thing than `covered`; `bias` of the first score and of the difference, summed and squared.
    """

    world: World
    seeds: int
    images: int

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """See `Case`."""
        counts: Counts = defaultdict(float)
        at_once = max(1, _VALUES_AT_ONCE // (self.images * len(ARMS) * self.seeds * self.world.columns))
        for start in range(0, repeats, at_once):
            self._count_some(counts, min(at_once, repeats - start), resamples, rng)
        return counts

    def _count_some(self, counts: Counts, repeats: int, resamples: int, rng: np.random.Generator) -> None:
        drawn = self.world.draw(rng, ARMS, repeats, self.seeds, self.images)
        values = drawn.values()
        replicates = image_resamples(self.images, resamples).replicates(drawn.outcomes)
        truths = np.broadcast_to([0.0, EFFECT], (repeats, 2))
        if self.seeds == 1:  # what is estimated is the difference of the two networks that were trained
            networks = self.world.network_scores(drawn)[:, :, 0]
            truths = networks[:, 1:] - networks[:, :1]
        for repeat, (true_none, true_effect) in enumerate(truths):
            first, same, better = (
                measured(values[repeat, arm], replicates[:, repeat, arm], self.images) for arm in range(len(ARMS))
            )
            none, effect = same.minus(first).estimate, better.minus(first).estimate
            low, high = effect.interval
            counts["covered"] += low <= true_effect <= high
            counts["covered of settings"] += low <= EFFECT <= high
            counts["found"] += effect.p_value() < ALPHA
            counts["width"] += high - low
            counts["rejected"] += none.p_value(true_none) < ALPHA
        means = values.mean(axis=2)
        for name, off in {"one": means[:, 0] - SCORE, "two": means[:, 2] - means[:, 0] - EFFECT}.items():
            counts[f"bias of {name}"] += off.sum()
            counts[f"bias of {name}, squared"] += (off**2).sum()
        if self.seeds > 1:
            of_resamples = replicates[:, :, 1] - replicates[:, :, 0]
            self._count_rules(counts, values[:, 1] - values[:, 0], of_resamples, rng)

    @staticmethod
    def _count_rules(
        counts: Counts,
        values: NDArray[np.float64],
        replicates: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        middle = values.mean(axis=1)
        for name, rule in RULES.items():
            found = rule(values, replicates, rng)
            low, high = np.clip(found if found.ndim == 2 else [middle - found, middle + found], -1, 1)
            counts[f"rejected by {name}"] += ((low > 0) | (high < 0)).sum()
            counts[f"width of {name}"] += (high - low).sum()


@dataclass(frozen=True)
class McNemarTest:
    """Two networks on N images, of settings with the same score."""

    world: World
    score: float
    images: int

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """See `Case`."""
        drawn = self.world.draw(rng, ((0, self.score), (1, self.score)), repeats, 1, self.images)
        hits = drawn.outcomes.values.reshape(self.images, repeats, 2).astype(bool)
        counts: Counts = defaultdict(float)
        for repeat in range(repeats):
            one, two = (measured(np.zeros(1), np.zeros((2, 1)), self.images, hits[:, repeat, arm]) for arm in range(2))
            (test,) = mcnemar_tests(one, two)
            counts["rejected"] += test.p < ALPHA
            counts["discordant"] += test.first_only + test.second_only
        return counts


@dataclass(frozen=True)
class TenDifferences:
    """Ten settings, each compared with one more on the same images: tests that depend on each other, with no effect."""

    world: World
    seeds: int
    images: int

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """See `Case`."""
        arms = [(arm, SCORE) for arm in range(1 + HYPOTHESES)]
        drawn = self.world.draw(rng, arms, repeats, self.seeds, self.images)
        values = drawn.values()
        replicates = image_resamples(self.images, resamples).replicates(drawn.outcomes)
        counts: Counts = defaultdict(float)
        gc.freeze()  # `multipletests` collects garbage each time it is called: 250 ms of all that was imported
        for repeat in range(repeats):
            first, *others = (
                measured(values[repeat, arm], replicates[:, repeat, arm], self.images) for arm in range(len(arms))
            )
            p_values = [other.minus(first).estimate.p_value() for other in others]
            counts["any"] += min(p_values) < ALPHA
            counts["any by Holm"] += min(holm(p_values)) < ALPHA
        gc.unfreeze()
        return counts


@functools.lru_cache(maxsize=4)
def image_resamples(images: int, resamples: int) -> ImageResamples:
    """Drawn once a process, as the project draws them once for all scores of the same images."""
    return ImageResamples(images, resamples)


def measured(
    values: NDArray[np.float64],
    replicates: NDArray[np.float64],
    images: int,
    hits: NDArray[np.bool_] | None = None,
) -> Measured:
    """As the project holds a setting: values (S,), replicates (R, S), and of one seed its hits (N,)."""
    seeds = len(values)
    of_one = None if hits is None else hits[None]
    return Measured(tuple(range(seeds)), (("",),) * seeds, values, replicates.T, images, "", hits=of_one)


def cases() -> list[Case]:
    """The grid, and what stands beside it."""
    worlds: tuple[type[World], ...] = (HitsAtOnePoint, BestThreshold)
    grid = itertools.product(worlds, IMAGES, SEED_SDS, SEEDS)
    paired = itertools.product(worlds, (2, 5))
    return [
        *(Difference(world(sd), seeds, images) for world, images, sd, seeds in grid),
        *(Difference(world(SEED_SDS[-1], paired=0.8), seeds, IMAGES[-1]) for world, seeds in paired),
        *(McNemarTest(HitsAtOnePoint(sd), SCORE, images) for sd in (0.0, SEED_SDS[-1]) for images in IMAGES),
        McNemarTest(HitsAtOnePoint(0.0), 0.97, IMAGES[0]),
        *(TenDifferences(HitsAtOnePoint(sd), seeds, IMAGES[-1]) for sd in SEED_SDS for seeds in (2, 3, 5)),
    ]


def simulate(repeats: int, resamples: int, processes: int) -> dict[Case, Counts]:
    """Count all cases, each process on one thread; the numbers do not depend on how many processes there are."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    found: dict[Case, Counts] = {case: defaultdict(float) for case in cases()}
    # Started anew rather than forked, so that numpy reads the above when they import it.
    with (
        ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(found) * repeats, desc="simulating", unit="repeat", unit_scale=True) as bar,
    ):
        jobs = {
            pool.submit(_job, case, min(_PART, repeats - start), resamples, (FIRST_SEED, number, start)): case
            for number, case in enumerate(found)
            for start in range(0, repeats, _PART)
        }
        for job in as_completed(jobs):
            done, counts = job.result()
            for name, count in counts.items():
                found[jobs[job]][name] += count
            bar.update(done)
    return found


def _job(case: Case, repeats: int, resamples: int, seed: Sequence[int]) -> tuple[int, Counts]:
    return repeats, case.count(repeats, resamples, np.random.default_rng(seed))


def rate(count: float, repeats: int) -> str:
    """In percent, with the half width of the 95 % interval of the simulation's own error."""
    share = count / repeats
    return f"{100 * share:.1f} ± {196 * np.sqrt(share * (1 - share) / repeats):.1f}"


def mean(counts: Counts, name: str, repeats: int) -> str:
    """Of a bias, in points, with the same."""
    middle = counts[name] / repeats
    variance = max(counts[f"{name}, squared"] / repeats - middle**2, 0)
    return f"{100 * middle:+.2f} ± {196 * np.sqrt(variance / repeats):.2f}"


_HEADINGS = ["score", "N", "seed sd", "S"]


def _words(world: World, images: int, seeds: int) -> list[str]:
    paired = ", paired" if world.paired else ""
    return [world.name, f"{images:,}", f"{100 * world.seed_sd:g}{paired}", str(seeds)]


def tables(found: dict[Case, Counts], repeats: int) -> dict[str, str]:
    """Markdown tables by what they are of."""
    model: list[list[str]] = []
    rules: list[list[str]] = []
    one_seed: list[list[str]] = []
    bias: list[list[str]] = []
    one_test: list[list[str]] = []
    several: list[list[str]] = []
    for case, counts in found.items():
        shown = functools.partial(rate, repeats=repeats)
        if isinstance(case, Difference):
            line = _words(case.world, case.images, case.seeds)
            width = f"{100 * counts['width'] / repeats:.1f}"
            model.append([*line, *(shown(counts[name]) for name in ("covered", "rejected", "found")), width])
            if case.seeds == 1:
                one_seed.append([*line[:-1], shown(counts["covered"]), shown(counts["covered of settings"])])
            else:
                told = [(shown(counts[f"rejected by {rule}"]), counts[f"width of {rule}"]) for rule in RULES]
                rules.append([*line, *(f"{rejected} ({100 * width / repeats:.1f})" for rejected, width in told)])
            if isinstance(case.world, BestThreshold) and case.seeds == max(SEEDS):
                bias.append([*line[1:-1], *(mean(counts, f"bias of {name}", repeats) for name in ("one", "two"))])
        elif isinstance(case, McNemarTest):
            world = [f"{case.images:,}", f"{100 * case.score:g}", f"{100 * case.world.seed_sd:g}"]
            one_test.append([*world, f"{counts['discordant'] / repeats:.0f}", shown(counts["rejected"])])
        elif isinstance(case, TenDifferences):
            line = _words(case.world, case.images, case.seeds)[1:]
            several.append([*line, shown(counts["any by Holm"]), shown(counts["any"])])
    made = {
        "The model": (model, [*_HEADINGS, "coverage", "false positives", "power", "mean width"]),
        "Other intervals: false positives (mean width)": (rules, [*_HEADINGS, *RULES]),
        "One seed: coverage of": (one_seed, [*_HEADINGS[:-1], "the two networks", "the settings"]),
        "Bias of a score at its best τ": (bias, ["N", "seed sd", "one score", "difference"]),
        "McNemar's test: rejected": (one_test, ["N", "score", "seed sd", "mean discordant", "p < 0.05"]),
        "Ten differences: any found": (several, [*_HEADINGS[1:], "Holm", "uncorrected"]),
    }
    return {
        heading: tabulate(rows, names, tablefmt="github", disable_numparse=True)
        for heading, (rows, names) in made.items()
    }


def notes(repeats: int, resamples: int) -> list[str]:
    """How to read the tables, and what made them."""
    packages = versions() | {name: importlib.metadata.version(name) for name in ("scipy", "statsmodels")}
    command = shlex.join(["python", "benchmarks/measure/validate_statistics.py", *sys.argv[1:]])
    told = [
        f"All in percent, of {repeats:,} simulated tests a line; ± is the simulation's own error, 1.96 standard errors "
        f"of a rate. Images are resampled {resamples:,} times.",
        f"Simulated: two settings, both scoring {100 * SCORE:g} % or the second {100 * EFFECT:g} points more. Every "
        "test draws N images and S seeds of each setting anew, and all networks see the same images. An image is easy "
        "or hard for all networks (36 % of the variance of the latent value), for those of a setting (28 %), and for "
        "one network (36 %). seed sd: about the standard deviation of a setting's score over seeds, in points; the "
        "settings' seeds vary independently, or, where it says paired, have 80 % of their variance in common.",
        "share: hits at one operating point, where a normal latent value is above 0. best τ: hits at the best of "
        f"{BestThreshold.columns} thresholds for the very images, of peaked IoU curves whose height and place vary "
        "with image and seed. The truth is the mean over all seeds of each network's score on all images, from normal "
        "integrals; for S = 1 it is the difference of the two networks that were trained.",
        "coverage: the 95 % interval of the difference holds the truth; nominal 95. false positives: p < 0.05 against "
        "the truth where both settings score the same (for S = 1, against the difference of the networks); nominal 5. "
        f"power: p < 0.05 against 0 where the second scores {100 * EFFECT:g} points more. width: of the interval, in "
        "points.",
        "images only: bootstrap of the mean over seeds. seeds alone: t-test of the seeds' differences. nested "
        "bootstrap: seeds, then images for each seed. crossed bootstrap: seeds, then the same images for all. model: "
        "the variance of Obuchowski and Rockette, by three rules for the quantile; the project's own is Howe's.",
        "McNemar: of two networks. With a seed sd their settings score the same but the networks do not, and the test "
        "asks of the networks alone. Ten differences: of ten settings to one and the same; in truth there is none.",
        f"Random seeds: {FIRST_SEED}, the number of the case, the first repeat of a part of it. "
        f"Command: `{command}`. Code: `{commit()}`.",
    ]
    return [*told, "Versions: " + ", ".join(f"{package} {version}" for package, version in packages.items()) + "."]


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--repeats", type=int, default=2000, help="simulated tests a line")
    parser.add_argument("--resamples", type=int, default=300, help="of the images in each")
    parser.add_argument("--processes", type=int, default=processors())
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write the tables as Markdown")
    arguments = parser.parse_args()
    found = simulate(arguments.repeats, arguments.resamples, arguments.processes)
    text = "".join(f"## {heading}\n\n{table}\n\n" for heading, table in tables(found, arguments.repeats).items())
    text += "".join(f"- {note}\n" for note in notes(arguments.repeats, arguments.resamples))
    print(text)
    write_text(arguments.out, text)


if __name__ == "__main__":
    main()
