import numpy as np
import pandas as pd
import pytest

from wsol.comparison.summary import summarize
from wsol.report.score_table import score_table


def rows_of(values):
    """{(pooling, seed): value} of one map and one score, and a baseline at 0.3."""
    common = {"map": "cam", "score": "max_box_acc", "protocol": "tight: largest, τ on test", "images": 50}
    common |= {"run": "r", "commit": "c"}
    result = [{"pooling": pooling, "seed": seed, "value": value, **common} for (pooling, seed), value in values.items()]
    return pd.DataFrame([*result, {**common, "pooling": "none", "seed": 0, "value": 0.3, "map": "whole_frame"}])


TWO_SEEDS = {("gap", 0): 0.5, ("gap", 1): 0.7, ("gmp", 0): 0.4, ("gmp", 1): 0.5}


def line(summary, pooling):
    (result,) = summary[summary["pooling"] == pooling].to_dict("records")
    return result


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_mean_and_spread_on_paper():
    summary = summarize(rows_of(TWO_SEEDS))
    assert summary["pooling"].tolist() == ["gap", "gmp", "gmp - gap", "none"]
    gap = line(summary, "gap")
    assert gap["mean"] == pytest.approx(0.6)
    assert gap["std"] == pytest.approx(np.sqrt(0.02))  # sample standard deviation
    assert gap["seeds"] == 2
    assert gap["images"] == 50


def test_the_difference_is_that_of_the_means_over_all_seeds():
    difference = line(summarize(rows_of({("gap", 0): 0.5, ("gap", 1): 0.9, ("gmp", 2): 0.4})), "gmp - gap")
    assert difference["mean"] == pytest.approx(-0.3)
    assert difference["seeds"] == 1


def test_one_pooling_has_no_difference():
    assert "gmp - gap" not in set(summarize(rows_of({("gap", 0): 0.5}))["pooling"])


def test_scores_of_two_protocols_never_share_a_column():
    rows = rows_of(TWO_SEEDS)
    rows.loc[0, "protocol"] = "reference: largest, τ on test"
    with pytest.raises(ValueError, match="max_box_acc was scored by several protocols"):
        summarize(rows)


def test_without_records_cells_are_percent_alone():
    table = score_table(summarize(rows_of(TWO_SEEDS)))
    assert [column.text for column in table.columns] == ["pooling", "map", "seeds", "max_box_acc (τ on test)"]
    assert [row[2] for row in texts(table)] == ["2: n too small", "2: n too small", "2: n too small", "–"]
    assert [row[3] for row in texts(table)] == ["50.0; 70.0", "40.0; 50.0", "−15.0", "30.0"]
    assert [row[0] for row in texts(table)] == ["gap", "gmp", "gmp − gap", "no network"]
    assert not any(row[3].best for row in table.rows)


def with_facts(rows):
    """The same rows as a run tells them: CAM takes 2 and 4 ms, and has a map of zeros with each seed."""
    facts = {"same_as": "", "forward_ms": 10.0, "constant_maps": 1, "zero_maps": 1, "one_pixel_maps": 0}
    grad_cam = rows[rows["pooling"] != "none"].assign(map="grad_cam", same_as="same as cam up to ReLU")
    cam = rows[rows["pooling"] != "none"].assign(**facts)
    cam["ms_per_image"] = 2.0 + 2.0 * cam["seed"]
    others = grad_cam.assign(**{**facts, "same_as": grad_cam["same_as"], "ms_per_image": 0.5, "constant_maps": 0})
    others["zero_maps"] = 0
    return pd.concat([cam, others, rows[rows["pooling"] == "none"]], ignore_index=True)


def test_cost_degenerate_maps_and_theorems_stand_in_the_table():
    table = score_table(summarize(with_facts(rows_of(TWO_SEEDS))))
    headings = [column.text for column in table.columns]
    assert headings[2] == "by theorem"
    assert headings[-2:] == ["degenerate maps", "ms/image"]
    lines = {(row[0], row[1]): dict(zip(headings, row, strict=True)) for row in texts(table)}
    assert lines["gap", "cam"]["by theorem"] == ""
    assert lines["gap", "grad_cam"]["by theorem"] == "same as cam up to ReLU"
    assert lines["gap", "cam"]["degenerate maps"] == "2 zero"
    assert lines["gap", "grad_cam"]["degenerate maps"] == "0"
    assert lines["gap", "cam"]["ms/image"] == "3"
    difference = lines["gmp − gap", "cam"]
    assert [difference[name] for name in ("by theorem", "degenerate maps", "ms/image")] == ["", "", ""]
    assert lines["no network", "whole_frame"]["ms/image"] == ""
