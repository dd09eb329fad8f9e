"""Simulate how often the intervals of wsol contain the true difference, and how often its tests err.

python benchmarks/measure/validate_statistics.py [--repeats 2000] [--resamples 300] [--out FILE.md]

Every repeat draws seeds and images, and tests two settings of S seeds on N images. The command compares the intervals
and tests of `wsol.comparison.paired_scores` and `wsol.comparison.estimate`, and those of other rules
(`interval_rules.py`), with the true difference of the simulated outcomes (`simulated_outcomes.py`).
"""

import functools
import itertools
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.comparison.bootstrap import ImageResamples
from wsol.comparison.paired_scores import Measured, mcnemar_tests
from wsol.comparison.summary import holm
from wsol.threads import processors

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure.harness import command_of, make_parser, markdown, publish, version_of
from measure.interval_rules import RULES
from measure.simulated_outcomes import Arm, BestThreshold, HitsAtOnePoint, World

SEEDS, IMAGES, SEED_SDS = (1, 2, 3, 5, 10), (200, 1000), (0.0, 0.02, 0.06)
SCORE, EFFECT = 0.65, 0.05
ARMS: tuple[Arm, ...] = ((0, SCORE), (1, SCORE), (1, SCORE + EFFECT))
ALPHA = 0.05
HYPOTHESES = 10
FIRST_SEED = 0
_PART = 100  # repeats of one job; small jobs let the processes end together
_VALUES_AT_ONCE = 4_000_000

Counts = defaultdict[str, float]


class Case(Protocol):
    """A simulated test that is counted over repeats; the counts of parts add up."""

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """Simulate a number of repeats, each with a number of resamples of the images."""


@dataclass(frozen=True)
class Difference:
    """Two settings of S seeds on N images, with no effect and with one.

    Seeds of the settings are unpaired, or paired where the world pairs them, as two maps of the same networks are.

    Counts: `covered`, `found` and `width` of the model where there is an effect; `rejected` by the model's p-value
    where there is none; `rejected by` and `width of` each other rule, all of paired seeds, where there is none;
    `covered of settings`, which differs from `covered` with one seed; `bias` of the first score and of the difference,
    and the bootstrap's estimate of the former, summed and squared.
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
        if self.seeds == 1:  # the estimated quantity is the difference of the two trained networks
            networks = self.world.network_scores(drawn)[:, :, 0]
            truths = networks[:, 1:] - networks[:, :1]
        for repeat, (true_none, true_effect) in enumerate(truths):
            first, same, better = (
                measured(
                    values[repeat, arm],
                    replicates[:, repeat, arm],
                    self.images,
                    name="" if self.world.paired else str(arm),
                )
                for arm in range(len(ARMS))
            )
            none, effect = same.minus(first).estimate, better.minus(first).estimate
            low, high = effect.interval
            counts["covered"] += low <= true_effect <= high
            counts["covered of settings"] += low <= EFFECT <= high
            counts["found"] += effect.p_value() < ALPHA
            counts["width"] += high - low
            counts["rejected"] += none.p_value(true_none) < ALPHA
        means = values.mean(axis=2)
        estimated = replicates[:, :, 0].mean(axis=(0, 2)) - means[:, 0]
        biases = {"one": means[:, 0] - SCORE, "two": means[:, 2] - means[:, 0] - EFFECT, "one, estimated": estimated}
        for name, off in biases.items():
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
            ends = rule(values, replicates, rng)
            low, high = np.clip(ends if ends.ndim == 2 else [middle - ends, middle + ends], -1, 1)
            counts[f"rejected by {name}"] += ((low > 0) | (high < 0)).sum()
            counts[f"width of {name}"] += (high - low).sum()


@dataclass(frozen=True)
class McNemarTest:
    """Two networks of settings with the same score, on N images."""

    world: World
    score: float
    images: int

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """See `Case`."""
        drawn = self.world.draw(rng, ((0, self.score), (1, self.score)), repeats, 1, self.images)
        hits = drawn.outcomes.values.reshape(self.images, repeats, 2).astype(bool)
        counts: Counts = defaultdict(float)
        for repeat in range(repeats):
            first, second = (
                measured(np.zeros(1), np.zeros((2, 1)), self.images, hits[:, repeat, arm]) for arm in range(2)
            )
            (test,) = mcnemar_tests(first, second)
            counts["rejected"] += test.p < ALPHA
            counts["discordant"] += test.first_only + test.second_only
        return counts


@dataclass(frozen=True)
class TenDifferences:
    """Ten settings, each compared with the same further one on the same images: dependent tests without an effect."""

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
        for repeat in range(repeats):
            first, *others = (
                measured(values[repeat, arm], replicates[:, repeat, arm], self.images, name=str(arm))
                for arm in range(len(arms))
            )
            p_values = [other.minus(first).estimate.p_value() for other in others]
            counts["any"] += min(p_values) < ALPHA
            counts["any by Holm"] += min(holm(p_values)) < ALPHA
        return counts


@dataclass(frozen=True)
class ThresholdOfVal:
    """Two settings with the same score at the τ that `val` chooses, a share of hits; there is no true difference.

    Counts: `rejected` where each resample of test is read at the τ that a resample of `val` chooses, as wsol does;
    `rejected, τ fixed` where the resamples are read at the chosen τ; the widths of both.
    """

    seeds: int
    images: int
    val_images: int
    seed_sd: float

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """See `Case`."""
        counts: Counts = defaultdict(float)
        for _ in range(repeats):
            drawn = BestThreshold(self.seed_sd).draw(rng, ARMS[:2], 1, self.seeds, self.val_images + self.images)
            hits = drawn.outcomes.values.reshape(-1, 2, self.seeds, BestThreshold.columns).astype(np.float32)
            val, test = hits[: self.val_images], hits[self.val_images :]
            points = val.mean(axis=0).argmax(axis=-1)[..., None]
            values = np.take_along_axis(test.mean(axis=0), points, axis=-1)[..., 0].astype(np.float64)
            of_val = np.tensordot(val_resamples(self.val_images, resamples).counts.astype(np.float32), val, 1)
            of_test = np.tensordot(image_resamples(self.images, resamples).counts.astype(np.float32), test, 1)
            for name, chosen in {"": of_val.argmax(axis=-1)[..., None], ", τ fixed": points[None]}.items():
                replicates = np.take_along_axis(of_test, chosen, axis=-1)[..., 0].astype(np.float64) / self.images
                first, second = (
                    measured(values[arm], replicates[:, arm], self.images, name=str(arm)) for arm in range(2)
                )
                none = second.minus(first).estimate
                counts[f"rejected{name}"] += none.p_value() < ALPHA
                counts[f"width{name}"] += np.subtract(*none.interval[::-1])
        return counts


@dataclass(frozen=True)
class ShareNearOne:
    """One setting whose score is near 1. Counts: `covered` and `width` of its interval."""

    world: HitsAtOnePoint
    score: float
    seeds: int
    images: int

    def count(self, repeats: int, resamples: int, rng: np.random.Generator) -> Counts:
        """See `Case`."""
        drawn = self.world.draw(rng, ((0, self.score),), repeats, self.seeds, self.images)
        values = drawn.values()
        replicates = image_resamples(self.images, resamples).replicates(drawn.outcomes)
        counts: Counts = defaultdict(float)
        for repeat in range(repeats):
            low, high = measured(values[repeat, 0], replicates[:, repeat, 0], self.images).estimate.interval
            counts["covered"] += max(low, 0) <= self.score <= min(high, 1)
            counts["width"] += min(high, 1) - max(low, 0)
        return counts


@functools.lru_cache(maxsize=4)
def val_resamples(images: int, resamples: int) -> ImageResamples:
    """Return resamples of val, which are independent of those of test."""
    return ImageResamples(images, resamples, seed=1)


@functools.lru_cache(maxsize=4)
def image_resamples(images: int, resamples: int) -> ImageResamples:
    """Return resamples that are drawn once for each process, as wsol draws them once for all scores."""
    return ImageResamples(images, resamples)


def measured(
    values: NDArray[np.float64],
    replicates: NDArray[np.float64],
    images: int,
    hits: NDArray[np.bool_] | None = None,
    name: str = "",
) -> Measured:
    """Make the scores of a setting from values (S,), replicates (R, S), and the hits (N,) of one seed.

    Settings of one name are of the same networks, so that their seeds are paired.
    """
    seeds = len(values)
    of_one = None if hits is None else hits[None]
    runs = tuple((f"{name} {seed}",) for seed in range(seeds))
    return Measured(tuple(range(seeds)), runs, values, replicates.T, images, "", hits=of_one, counts_images=True)


def cases() -> list[Case]:
    """Return the grid of cases, and the cases beside the grid."""
    worlds: tuple[type[World], ...] = (HitsAtOnePoint, BestThreshold)
    grid = itertools.product(worlds, IMAGES, SEED_SDS, SEEDS)
    paired = itertools.product(worlds, (2, 5))
    return [
        *(Difference(world(sd), seeds, images) for world, images, sd, seeds in grid),
        *(Difference(world(SEED_SDS[-1], paired=0.8), seeds, IMAGES[-1]) for world, seeds in paired),
        *(McNemarTest(HitsAtOnePoint(sd), SCORE, images) for sd in (0.0, SEED_SDS[-1]) for images in IMAGES),
        McNemarTest(HitsAtOnePoint(0.0), 0.97, IMAGES[0]),
        *(TenDifferences(HitsAtOnePoint(sd), seeds, IMAGES[-1]) for sd in SEED_SDS for seeds in (2, 3, 5)),
        *(
            ThresholdOfVal(seeds, IMAGES[0], val, sd)
            for val, sd, seeds in itertools.product((60, 200), SEED_SDS[:2], (3, 5))
        ),
        *(
            ShareNearOne(HitsAtOnePoint(0.0), score, 3, images)
            for images, score in itertools.product(IMAGES, (0.97, 0.99, 0.998))
        ),
    ]


def simulate(repeats: int, resamples: int, processes: int) -> dict[Case, Counts]:
    """Count all cases, each process on one thread; the counts do not depend on the number of processes."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    counts_of: dict[Case, Counts] = {case: defaultdict(float) for case in cases()}
    # Processes are spawned and not forked, so that numpy reads these variables when they import it.
    with (
        ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(counts_of) * repeats, desc="simulating", unit="repeat", unit_scale=True) as bar,
    ):
        jobs = {
            pool.submit(_job, case, min(_PART, repeats - start), resamples, (FIRST_SEED, number, start)): case
            for number, case in enumerate(counts_of)
            for start in range(0, repeats, _PART)
        }
        for job in as_completed(jobs):
            done, counts = job.result()
            for name, count in counts.items():
                counts_of[jobs[job]][name] += count
            bar.update(done)
    return counts_of


def _job(case: Case, repeats: int, resamples: int, seed: Sequence[int]) -> tuple[int, Counts]:
    return repeats, case.count(repeats, resamples, np.random.default_rng(seed))


def rate(count: float, repeats: int) -> str:
    """Format a rate in percent, with half the 95 % interval of the simulation's own error."""
    share = count / repeats
    return f"{100 * share:.1f} ± {196 * np.sqrt(share * (1 - share) / repeats):.1f}"


def mean(counts: Counts, name: str, repeats: int) -> str:
    """Format a mean bias in points, with half the 95 % interval of the simulation's own error."""
    middle = counts[name] / repeats
    variance = max(counts[f"{name}, squared"] / repeats - middle**2, 0)
    return f"{100 * middle:+.2f} ± {196 * np.sqrt(variance / repeats):.2f}"


_HEADINGS = ["score", "N", "seed sd", "S"]


def _words(world: World, images: int, seeds: int) -> list[str]:
    paired = ", paired" if world.paired else ""
    return [world.name, f"{images:,}", f"{100 * world.seed_sd:g}{paired}", str(seeds)]


def tables(counts_of: dict[Case, Counts], repeats: int) -> list[str]:
    """Return Markdown tables with headings."""
    model: list[list[str]] = []
    rules: list[list[str]] = []
    one_seed: list[list[str]] = []
    bias: list[list[str]] = []
    one_test: list[list[str]] = []
    several: list[list[str]] = []
    of_val: list[list[str]] = []
    near_one: list[list[str]] = []
    for case, counts in counts_of.items():
        shown = functools.partial(rate, repeats=repeats)
        if isinstance(case, Difference):
            line = _words(case.world, case.images, case.seeds)
            width = f"{100 * counts['width'] / repeats:.1f}"
            model.append([*line, *(shown(counts[name]) for name in ("covered", "rejected", "found")), width])
            if case.seeds == 1:
                one_seed.append([*line[:-1], shown(counts["covered"]), shown(counts["covered of settings"])])
            else:
                errors = [(shown(counts[f"rejected by {rule}"]), counts[f"width of {rule}"]) for rule in RULES]
                rules.append([*line, *(f"{rejected} ({100 * width / repeats:.1f})" for rejected, width in errors)])
            if isinstance(case.world, BestThreshold) and case.seeds == max(SEEDS):
                biases = ("one", "one, estimated", "two")
                bias.append([*line[1:-1], *(mean(counts, f"bias of {name}", repeats) for name in biases)])
        elif isinstance(case, McNemarTest):
            world = [f"{case.images:,}", f"{100 * case.score:g}", f"{100 * case.world.seed_sd:g}"]
            one_test.append([*world, f"{counts['discordant'] / repeats:.0f}", shown(counts["rejected"])])
        elif isinstance(case, TenDifferences):
            line = _words(case.world, case.images, case.seeds)[1:]
            several.append([*line, shown(counts["any by Holm"]), shown(counts["any"])])
        elif isinstance(case, ThresholdOfVal):
            line = [f"{case.images:,}", str(case.val_images), f"{100 * case.seed_sd:g}", str(case.seeds)]
            for name in ("", ", τ fixed"):
                line.append(f"{shown(counts[f'rejected{name}'])} ({100 * counts[f'width{name}'] / repeats:.1f})")
            of_val.append(line)
        elif isinstance(case, ShareNearOne):
            line = [f"{case.images:,}", f"{100 * case.score:g}", str(case.seeds)]
            near_one.append([*line, shown(counts["covered"]), f"{100 * counts['width'] / repeats:.2f}"])
    named = {
        "The model": (model, [*_HEADINGS, "coverage", "false positives", "power", "mean width"]),
        "Other intervals: false positives (mean width)": (rules, [*_HEADINGS, *RULES]),
        "One seed: coverage of": (one_seed, [*_HEADINGS[:-1], "the two networks", "the settings"]),
        "Bias of a score at its best τ": (bias, ["N", "seed sd", "one score", "by bootstrap", "difference"]),
        "τ of val: false positives (mean width)": (
            of_val,
            ["N", "val", "seed sd", "S", "val resampled", "τ fixed"],
        ),
        "A share near 100 %": (near_one, ["N", "score", "S", "coverage", "mean width"]),
        "McNemar's test: rejected": (one_test, ["N", "score", "seed sd", "mean discordant", "p < 0.05"]),
        "Ten differences: any found": (several, [*_HEADINGS[1:], "Holm", "uncorrected"]),
    }
    return [f"## {heading}\n\n{markdown(rows, headers)}" for heading, (rows, headers) in named.items()]


def notes(repeats: int, resamples: int) -> list[str]:
    """Return the notes below the tables."""
    return [
        f"All in percent, of {repeats:,} simulated tests a line; ± is the simulation's own error, 1.96 standard errors "
        f"of a rate. Images are resampled {resamples:,} times.",
        f"Simulated: two settings, both scoring {100 * SCORE:g} % or the second {100 * EFFECT:g} points more. Every "
        "test draws its own N images and S seeds of each setting, and all networks see the same images. An image is "
        "easy or hard for all networks (36 % of the variance of the latent value), for those of a setting (28 %), and "
        "for one network (36 %). seed sd: the approximate standard deviation of a setting's score over seeds, in "
        "points; the settings' seeds vary independently, or, if marked paired, have 80 % of their variance in common.",
        "share: hits at one operating point, where a normal latent value is above 0. best τ: hits at the best of "
        f"{BestThreshold.columns} thresholds for the scored images, of peaked IoU curves whose height and place vary "
        "with image and seed. The true score is the mean over all seeds of each network's score on all images, from "
        "normal integrals; for S = 1 the true difference is that of the two trained networks.",
        "coverage: the 95 % interval contains the true difference; nominal 95. false positives: p < 0.05 against the "
        "true difference where both settings score the same (for S = 1, against the difference of the networks); "
        f"nominal 5. power: p < 0.05 against 0 where the second scores {100 * EFFECT:g} points more. width: of the "
        "interval, in points.",
        "images only: bootstrap of the mean over seeds. seeds alone: t-test of the seeds' differences. nested "
        "bootstrap: seeds, then images for each seed. crossed bootstrap: seeds, then the same images for all. model: "
        "the variance of Obuchowski and Rockette of the seeds' differences, by three rules for the quantile. All these "
        "pair seeds by their number. The project pairs seeds of the same networks alone, with Howe's rule; those of "
        "different networks have Welch's degrees of freedom in it (the first table; lines marked paired are paired).",
        "by bootstrap: the mean over resamples less the score, which tables print as the bias. τ of val: hits at the τ "
        "that val images choose for each network; there is no true difference. val resampled: every resample of test "
        "is read at the τ that a resample of val chooses. A share near 100 %: one setting, no variation over seeds.",
        "McNemar: of two networks. With a seed sd their settings score the same but the networks do not, and the test "
        "concerns the networks alone. Ten differences: of ten settings to the same further one; there is no true "
        "difference.",
        f"Random seeds: {FIRST_SEED}, the number of the case, the first repeat of its part.",
    ]


def main() -> None:
    """Simulate, print and write the tables."""
    parser = make_parser(__doc__, "results/measure/statistics.md")
    parser.add_argument("--repeats", type=int, default=2000, help="simulated tests for each line")
    parser.add_argument("--resamples", type=int, default=300, help="resamples of the images in each test")
    parser.add_argument("--processes", type=int, default=processors())
    arguments = parser.parse_args()
    counts_of = simulate(arguments.repeats, arguments.resamples, arguments.processes)
    publish(
        tables(counts_of, arguments.repeats),
        notes(arguments.repeats, arguments.resamples),
        arguments.out,
        command_of(__file__, sys.argv[1:]),
        {"scipy": str(version_of("scipy"))},
    )


if __name__ == "__main__":
    main()
