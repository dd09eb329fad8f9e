import numpy as np
import pandas as pd
import pytest

from wsol.reports import format_table, summarize


def rows_of(values):
    """{(pooling, seed): value} of one map and one score, and a baseline at 0.3."""
    common = {"map": "cam", "score": "max_box_acc", "protocol": "tight: largest, τ on test", "images": 50}
    found = [{"pooling": pooling, "seed": seed, "value": value, **common} for (pooling, seed), value in values.items()]
    return pd.DataFrame([*found, {**common, "pooling": "none", "seed": 0, "value": 0.3, "map": "whole_frame"}])


TWO_SEEDS = {("gap", 0): 0.5, ("gap", 1): 0.7, ("gmp", 0): 0.4, ("gmp", 1): 0.5}


def line(summary, pooling):
    (found,) = summary[summary["pooling"] == pooling].to_dict("records")
    return found


def test_mean_and_spread_on_paper():
    summary = summarize(rows_of(TWO_SEEDS))
    assert summary["pooling"].tolist() == ["gap", "gmp", "gmp - gap", "none"]
    gap = line(summary, "gap")
    assert gap["mean"] == pytest.approx(0.6)
    assert gap["std"] == pytest.approx(np.sqrt(0.02))  # sample standard deviation
    assert gap["seeds"] == 2
    assert gap["images"] == 50


def test_the_difference_is_taken_seed_by_seed():
    difference = line(summarize(rows_of(TWO_SEEDS)), "gmp - gap")
    assert difference["mean"] == pytest.approx(-0.15)  # of -0.1 and -0.2
    assert difference["std"] == pytest.approx(np.sqrt(0.005))


def test_the_difference_uses_shared_seeds_alone():
    difference = line(summarize(rows_of({("gap", 0): 0.5, ("gap", 1): 0.9, ("gmp", 0): 0.4})), "gmp - gap")
    assert difference["mean"] == pytest.approx(-0.1)
    assert difference["seeds"] == 1


def test_no_shared_seed_no_difference():
    summary = summarize(rows_of({("gap", 0): 0.5, ("gmp", 1): 0.4}))
    assert line(summary, "gmp - gap")["seeds"] == 0
    assert format_table(summary).iloc[2, 2] == "–"


def test_one_pooling_has_no_difference():
    assert "gmp - gap" not in set(summarize(rows_of({("gap", 0): 0.5}))["pooling"])


def test_cells_are_percent_with_spread_and_sign():
    table = format_table(summarize(rows_of(TWO_SEEDS)))
    assert table.columns.tolist() == ["pooling", "map", "max_box_acc (τ on test)"]
    assert table.iloc[:, 2].tolist() == ["60.0 ± 14.1", "45.0 ± 7.1", "−15.0 ± 7.1", "30.0"]
    assert table["pooling"].tolist() == ["gap", "gmp", "gmp − gap", "no network"]


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
    table = format_table(summarize(with_facts(rows_of(TWO_SEEDS))))
    assert table.columns[2] == "by theorem"
    assert table.columns[-2:].tolist() == ["degenerate maps", "ms/image"]
    lines = table.set_index(["pooling", "map"])
    assert lines.loc[("gap", "cam"), "by theorem"] == ""
    assert lines.loc[("gap", "grad_cam"), "by theorem"] == "same as cam up to ReLU"
    assert lines.loc[("gap", "cam"), "degenerate maps"] == "2 zero"
    assert lines.loc[("gap", "grad_cam"), "degenerate maps"] == "0"
    assert lines.loc[("gap", "cam"), "ms/image"] == "3"
    assert lines.loc[("gmp − gap", "cam"), ["by theorem", "degenerate maps", "ms/image"]].tolist() == ["", "", ""]
    assert lines.loc[("no network", "whole_frame"), "ms/image"] == ""
