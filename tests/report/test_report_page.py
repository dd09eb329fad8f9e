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


def setting(seeds, value):
    """Measure a score that the images move by one point."""
    values = np.full(len(seeds), value)
    replicates = values[:, None] + 0.01 * np.array([-1.0, 1.0])
    return {"loc": Measured(seeds, (("run",),) * len(seeds), values, replicates, 1200, "ids")}


def answer_of(first, second=None, difference=0.2):
    """Return what the page shows of a claim that the first group is more than 1 point ahead."""
    score = Score(lambda record: 0.0, "largest", "held_out")
    asked = Claim("A claim.", {"loc": score}, "greater", 0.01, GAP, GMP if second else None)
    measured = {("gap", "cam"): setting(first, 0.5 + difference), ("gmp", "cam"): setting(second or (0,), 0.5)}
    comparison = Comparison("birds", pd.DataFrame({"protocol_key": ["tight-01234567"]}))
    (shown,) = answers_of(answer([asked], measured), comparison, Path("results"))
    return shown


@pytest.mark.parametrize(("difference", "verdict"), [(0.2, "supported"), (-0.2, "refuted")])
@pytest.mark.parametrize(("first", "second"), [((0,), (0,)), ((0,), (0, 1)), ((3,), (None,)), ((None,), (3,))])
def test_a_verdict_on_one_training_says_so(first, second, difference, verdict):
    shown = answer_of(first, second, difference)
    assert shown.verdict == verdict
    assert shown.badge == f"{verdict}, one training"
    assert "1 seed, 1,200 images; the 95 % interval covers test images alone, for each setting was trained once" in (
        shown.reading
    )


def test_a_verdict_on_two_seeds_says_nothing_of_them():
    shown = answer_of((0, 1), (0, 1))
    assert shown.badge == shown.verdict == "supported"
    assert "2 seeds, 1,200 images; the 95 % interval covers training seeds and test images." in shown.reading


@pytest.mark.parametrize("second", [None, (None,)])
def test_baselines_are_no_trainings(second):
    shown = answer_of((None,), second)
    assert shown.badge == shown.verdict == "supported"
    assert "no seed, 1,200 images; the 95 % interval covers test images, for nothing was trained." in shown.reading
