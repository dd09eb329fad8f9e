"""The table of a comparison from hand-made rows and hand-made outcomes."""

import numpy as np
import pandas as pd
import pytest

from wsol.comparison.paired_scores import Measured
from wsol.comparison.summary import FLATTERY, HELD_OUT, ORACLE, SCORE, summarize
from wsol.report.score_table import (
    ORACLES,
    difference_table,
    heading,
    percent_or_ratio,
    protocol_parts,
    score_table,
)
from wsol.scoring.score import FAITHFULNESS, NO_BOX

PLAIN, ON_TEST = "tight: largest, τ on val", "tight: largest, τ on test"
PROTOCOLS = {
    "top1_cls": NO_BOX,
    "max_box_acc": ON_TEST,
    "gt_known_loc": PLAIN,
    "max_box_acc_v2": "tight: every, τ on test",
    "box_area_ratio": PLAIN,
}


SEEDS = (0, 1, 2)


def rows_of(values, seeds=SEEDS):
    """{(pooling, map, score): value}, the same for each seed; baselines have one row."""
    return pd.DataFrame(
        {
            "pooling": pooling,
            "map": name,
            "seed": seed,
            "score": score,
            "value": value,
            "protocol": PROTOCOLS.get(score, PLAIN),
            "images": 100,
            "run": f"{pooling}-s{seed}",
            "commit": "c",
        }
        for (pooling, name, score), value in values.items()
        for seed in (seeds[:1] if pooling == "none" else seeds)
    )


def measured_of(value, spread=0.01, pooling="gap", seeds=SEEDS, **options):
    """Seeds of one value, whose resamples lie so far above and below it in turn."""
    replicates = np.tile([value + spread, value - spread], (len(seeds), 500))
    runs = tuple((f"{pooling}-s{seed}",) for seed in seeds)
    return Measured(seeds, runs, np.full(len(seeds), value), replicates, 100, "digest", **options)


def cells(table, pooling, name="cam"):
    """Heading -> cell of one line; of headings that come twice, the last."""
    (found,) = [row for row in table.rows if (row[0].text, row[1].text) == (pooling, name)]
    return dict(zip([column.text for column in table.columns], found, strict=True))


def differences(values, found=None):
    table = difference_table(summarize(rows_of(values), found))
    assert table is not None
    return table


def with_oracles():
    """Two oracles, with what the records say of both, and one plain score."""
    rows = rows_of(
        {
            ("gap", "cam", "max_box_acc"): 0.6,
            ("gap", "cam", "gt_known_loc"): 0.5,
            ("gap", "cam", "max_box_acc_v2"): 0.4,
        }
    )
    found = {
        "max_box_acc": measured_of(0.6),
        "max_box_acc held out": measured_of(0.55, -0.01),
        "gt_known_loc": measured_of(0.5),
        "max_box_acc_v2": measured_of(0.4),
        "max_box_acc_v2 held out": measured_of(0.4, 0.02),
    }
    return summarize(rows, {("gap", "cam"): found})


def test_plain_columns_come_first_then_three_for_each_oracle():
    table = score_table(with_oracles(), "title")
    assert table.title == "title"
    assert [(column.text, column.group) for column in table.columns] == [
        ("pooling", ""),
        ("map", ""),
        ("gt_known_loc (τ on val)", ""),
        ("max_box_acc (τ on test)", ORACLES),
        ("max_box_acc (τ on val)", ORACLES),
        ("oracle − held out", ORACLES),
        ("max_box_acc_v2 (τ on test)", ORACLES),
        ("max_box_acc_v2 (τ on val)", ORACLES),
        ("oracle − held out", ORACLES),
    ]
    # ± is 1.96 of 1 point, and of the 2 points between resamples that move against each other.
    assert [cell.text for cell in table.rows[0]] == [
        "gap",
        "cam",
        "50.0 ± 2.0",
        "60.0 ± 2.0",
        "55.0 ± 2.0",
        "+5 ± 4",
        "40.0 ± 2.0",
        "40 ± 4",
        "+0.0 ± 2.0",
    ]
    assert [cell.value for cell in table.rows[0][2:]] == pytest.approx([0.5, 0.6, 0.55, 0.05, 0.4, 0.4, 0])
    assert {cell.runs for cell in table.rows[0][2:]} == {("gap-s0", "gap-s1", "gap-s2")}


def test_the_hint_says_what_the_cell_has_no_room_for():
    hint = score_table(with_oracles()).rows[0][2].hint
    assert hint.startswith("3 seeds, 100 images; 95 % interval 0.4804 to 0.5196; standard deviation")
    assert "p " not in hint


def test_without_records_an_oracle_stands_alone():
    table = score_table(summarize(rows_of({("gap", "cam", "max_box_acc"): 0.6})))
    assert [column.text for column in table.columns] == ["pooling", "map", "max_box_acc (τ on test)"]
    assert table.columns[2].group == ORACLES
    assert table.rows[0][2].text == "60.0"


def test_a_missing_number_says_what_makes_it():
    asked = []

    def command(pooling, name):
        asked.append((pooling, name))
        return f"python benchmarks/run.py pooling={pooling} maps=[{name}]"

    values = {
        ("gap", "cam", "top1_cls"): 0.9,
        ("gap", "cam", "gt_known_loc"): 0.5,
        ("gmp", "cam", "gt_known_loc"): 0.4,
        ("none", "whole_frame", "gt_known_loc"): 0.3,
    }
    table = score_table(summarize(rows_of(values)), missing=command)
    (missing,) = [cell for row in table.rows for cell in row if cell.command]
    assert missing is cells(table, "gmp")["top1_cls"]
    assert (missing.text, missing.value) == ("missing", None)
    assert missing.command == "python benchmarks/run.py pooling=gmp maps=[cam]"
    assert asked == [("gmp", "cam")]
    # Neither the difference nor the baseline can be made by a command of theirs.
    for line in (("gmp − gap", "cam"), ("no network", "whole_frame")):
        assert cells(table, *line)["top1_cls"].text == "–"
        assert cells(table, *line)["top1_cls"].value is None
    assert cells(table, "gmp − gap")["gt_known_loc (τ on val)"].text == "−10.0"


def test_nan_is_a_dash_without_a_command():
    values = {("gap", "cam", "gt_known_loc"): np.nan, ("gap", "cam", "top1_cls"): 0.9}
    table = score_table(summarize(rows_of(values)), missing=lambda *_: "command")
    cell = cells(table, "gap")["gt_known_loc (τ on val)"]
    assert (cell.text, cell.value, cell.command, cell.best) == ("–", None, "", False)


def test_a_ratio_of_areas_is_no_percentage():
    values = {("gap", "cam", "box_area_ratio"): 1.346, ("gmp", "cam", "box_area_ratio"): 0.75}
    found = {
        ("gap", "cam"): {"box_area_ratio": measured_of(1.346, lowest=-np.inf, highest=np.inf)},
        ("gmp", "cam"): {"box_area_ratio": measured_of(0.75, -0.01, "gmp", lowest=-np.inf, highest=np.inf)},
    }
    table = score_table(summarize(rows_of(values), found))
    column = "box_area_ratio (τ on val)"
    assert cells(table, "gap")[column].text == "1.35 ± 0.02"
    assert cells(table, "gmp")[column].text == "0.75 ± 0.02"
    assert cells(table, "gmp − gap")[column].text == "−0.60 ± 0.04"
    assert not any(cell.best for row in table.rows for cell in row)  # neither larger nor smaller is better
    assert score_table(summarize(rows_of(values))).rows[0][2].text == "1.35"


def test_the_best_of_a_column_is_marked_and_what_is_not_distinguished_from_it():
    values = {
        ("gap", "cam", "gt_known_loc"): 0.60,
        ("gmp", "cam", "gt_known_loc"): 0.59,  # 1 point with a standard error of 2: not distinguished
        ("lse", "cam", "gt_known_loc"): 0.30,
    }
    found = {
        (pooling, "cam"): {"gt_known_loc": measured_of(values[pooling, "cam", "gt_known_loc"], spread, pooling)}
        for pooling, spread in (("gap", 0.01), ("gmp", -0.01), ("lse", -0.01))
    }
    table = score_table(summarize(rows_of(values), found))
    best = {row[0].text: row[2].best for row in table.rows}
    assert best == {"gap": True, "gmp": True, "lse": False, "gmp − gap": False, "lse − gap": False}


def test_differences_with_interval_and_tests():
    values = {
        ("gap", "cam", "gt_known_loc"): 0.5,
        ("gmp", "cam", "gt_known_loc"): 0.4,
        ("gap", "cam", "max_box_acc"): 0.6,
        ("gmp", "cam", "max_box_acc"): 0.61,
        ("gap", "cam", "box_area_ratio"): 1.3,
        ("gmp", "cam", "box_area_ratio"): 0.8,
    }
    found = {
        ("gap", "cam"): {
            "gt_known_loc": measured_of(0.5),
            "max_box_acc": measured_of(0.6),
            "max_box_acc held out": measured_of(0.6),
            "box_area_ratio": measured_of(1.3, lowest=-np.inf, highest=np.inf),
        },
        ("gmp", "cam"): {
            "gt_known_loc": measured_of(0.4, -0.01, "gmp"),
            "max_box_acc": measured_of(0.61, -0.01, "gmp"),
            "max_box_acc held out": measured_of(0.6, -0.01, "gmp"),
            "box_area_ratio": measured_of(0.8, -0.01, "gmp", lowest=-np.inf, highest=np.inf),
        },
    }
    table = differences(values, found)
    assert [column.text for column in table.columns] == [
        "difference",
        "map",
        "score",
        "points",
        "95 % interval",
        "p",
        "p (Holm)",
        "p (McNemar)",
        "seeds",
    ]
    # The interval is ± 1.96 of 2 points; z is 5, 0.5, 0 and 25. Holm: four tests, of which the two clear ones go first.
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["gmp − gap", "cam", "gt_known_loc (τ on val)", "−10.00", "−13.92 to −6.08", "< 0.001", "< 0.001", "–", "3"],
        ["gmp − gap", "cam", "oracle: max_box_acc (τ on test)", "+1.00", "−2.92 to +4.92", "0.617", "1.000", "–", "3"],
        ["gmp − gap", "cam", "max_box_acc (τ on val)", "+0.00", "−3.92 to +3.92", "1.000", "1.000", "–", "3"],
        ["gmp − gap", "cam", "box_area_ratio (τ on val)", "−0.50", "−0.54 to −0.46", "< 0.001", "< 0.001", "–", "3"],
    ]
    assert [row[3].value for row in table.rows] == pytest.approx([-0.1, 0.01, 0, -0.5])
    assert set(table.rows[0][3].runs) == {f"{head}-s{seed}" for head in ("gap", "gmp") for seed in SEEDS}


def test_mcnemar_stands_in_its_column():
    hits = np.zeros((2, 3, 100), dtype=bool)
    hits[0, :, :50] = hits[1, :, :40] = True  # ten images that gap alone gets right: p = 2 / 2^10
    values = {("gap", "cam", "gt_known_loc"): 0.5, ("gmp", "cam", "gt_known_loc"): 0.4}
    found = {
        ("gap", "cam"): {"gt_known_loc": measured_of(0.5, hits=hits[0])},
        ("gmp", "cam"): {"gt_known_loc": measured_of(0.4, -0.01, "gmp", hits=hits[1])},
    }
    (row,) = differences(values, found).rows
    assert (row[7].text, row[7].value) == ("0.002", pytest.approx(2**-9))


def test_a_difference_without_records_has_no_interval():
    values = {("gap", "cam", "gt_known_loc"): 0.5, ("gmp", "cam", "gt_known_loc"): 0.4}
    (row,) = differences(values).rows
    assert [cell.text for cell in row[3:]] == ["−10.00", "not known", "–", "–", "–", "3"]
    assert row[4].hint == "not all records are on disk"


@pytest.mark.parametrize(
    "values",
    [
        {("gap", "cam", "gt_known_loc"): 0.5},
        {("gap", "cam", "gt_known_loc"): 0.5, ("gmp", "cam", "gt_known_loc"): np.nan},
    ],
    ids=["one pooling", "not a number"],
)
def test_no_difference_no_table(values):
    assert difference_table(summarize(rows_of(values))) is None


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_list_their_values(seeds):
    values = {("gap", "cam", "gt_known_loc"): 0.5, ("gmp", "cam", "gt_known_loc"): 0.4}
    values |= {("gap", "cam", "box_area_ratio"): 1.3, ("none", "whole_frame", "gt_known_loc"): 0.3}
    few = SEEDS[:seeds]
    found = {
        ("gap", "cam"): {"gt_known_loc": measured_of(0.5, seeds=few)},
        ("gmp", "cam"): {"gt_known_loc": measured_of(0.4, pooling="gmp", seeds=few)},
    }
    summary = summarize(rows_of(values, few), found)
    table = score_table(summary)
    assert cells(table, "gap")["gt_known_loc (τ on val)"].text == "; ".join(["50.0"] * seeds)
    assert cells(table, "gap")["box_area_ratio (τ on val)"].text == "; ".join(["1.30"] * seeds)
    assert cells(table, "gap")["seeds"].text == f"{seeds}: n too small"
    assert cells(table, "no network", "whole_frame")["seeds"].text == "–"
    assert not any(cell.best for row in table.rows for cell in row)
    (row,) = difference_table(summary).rows
    assert [cell.text for cell in row[3:]] == ["−10.00", "n too small", "–", "–", "–", str(seeds)]


def test_kinds_of_lines():
    kinds = with_oracles().groupby("score", sort=False)["kind"].agg(list).to_dict()
    assert kinds == {
        "max_box_acc": [ORACLE, HELD_OUT, FLATTERY],
        "gt_known_loc": [SCORE],
        "max_box_acc_v2": [ORACLE, HELD_OUT, FLATTERY],
    }


def test_headings():
    assert heading("gt_known_loc", PLAIN) == "gt_known_loc (τ on val)"
    assert heading("top1_cls", NO_BOX) == "top1_cls"
    assert heading("deletion", f"{FAITHFULNESS}: lower is better") == "deletion (lower is better)"
    assert protocol_parts("tight: largest, τ 0.2") == ("tight", "largest", "τ 0.2")


def test_a_ratio_and_a_share_without_uncertainty():
    assert percent_or_ratio("box_area_ratio", -0.25) == "−0.25"
    assert percent_or_ratio("box_area_ratio", 0.25, sign=True) == "+0.25"
    assert percent_or_ratio("gt_known_loc", 0.25) == "25.00"
