from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wsol.comparison.claim import Claim, answer
from wsol.comparison.comparison import Comparison
from wsol.comparison.paired_scores import Measured
from wsol.report.page import answers_of
from wsol.scoring.score import Score

GAP, GMP = {"pooling": "gap", "map": "cam"}, {"pooling": "gmp", "map": "cam"}


def setting(name, seeds, value):
    """Measure a score that the images move by one point."""
    values = np.full(len(seeds), value)
    replicates = values[:, None] + 0.01 * np.array([-1.0, 1.0])
    return {"loc": Measured(seeds, tuple((f"{name}-{seed}",) for seed in seeds), values, replicates, 1200, "ids")}


def answer_of(first, second=None, difference=0.2):
    """Return what the page shows of a claim that the first group is more than 1 point ahead."""
    score = Score(lambda record: 0.0, "largest", "held_out")
    asked = Claim("A claim.", "tight", {"loc": score}, "greater", 0.01, "a test", GAP, GMP if second else None)
    measured = {
        ("gap", "cam"): setting("gap", first, 0.5 + difference),
        ("gmp", "cam"): setting("gmp", second or (0,), 0.5),
    }
    comparison = Comparison("birds", pd.DataFrame({"protocol_key": ["tight-01234567"]}))
    (shown,) = answers_of(answer([asked], measured, "tight"), comparison, Path("results"))
    return shown


@pytest.mark.parametrize(
    ("first", "second", "remark"),
    [
        ((0,), (0,), "one training"),
        ((0,), (0, 1, 2), "one training"),
        ((3,), (None,), "one training"),
        ((None,), (3,), "one training"),
        ((0, 1), (0, 1), "n too small"),
        ((0, 1, 2), (0, 1), "n too small"),
    ],
)
def test_fewer_than_three_seeds_have_the_value_and_no_interval(first, second, remark):
    shown = answer_of(first, second)
    assert shown.verdict == "inconclusive"
    assert shown.badge == f"inconclusive, {remark}"
    assert (shown.estimate, shown.interval, shown.p) == ("+20.0 points", "", "")
    assert "1,200 images; n too small for an interval." in shown.reading
    assert shown.needed == "at least 3 seeds of each setting, so that their spread is known"


@pytest.mark.parametrize(("difference", "verdict"), [(0.2, "supported"), (-0.2, "reversed"), (0.0, "equivalent")])
def test_three_seeds(difference, verdict):
    shown = answer_of((0, 1, 2), (0, 1, 2), difference)
    assert shown.badge == shown.verdict == verdict
    covers = "the 95 % interval covers training seeds and test images, seeds unpaired."
    assert f"3 seeds, 1,200 images; {covers}" in shown.reading
    assert "margin: a test." in shown.reading


@pytest.mark.parametrize("second", [None, (None,)])
def test_baselines_are_no_trainings(second):
    shown = answer_of((None,), second)
    assert shown.badge == shown.verdict == "supported"
    assert "no seed, 1,200 images; the 95 % interval covers test images, for nothing was trained." in shown.reading
