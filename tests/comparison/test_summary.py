from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wsol.comparison.paired_scores import Measured, resamples_of
from wsol.comparison.saved_maps import held_out
from wsol.comparison.summary import FLATTERY, HELD_OUT, ORACLE, SCORE, better_of, holm, summarize
from wsol.scoring.outcomes import share_of
from wsol.scoring.score import NO_BOX

IMAGES = 50
ON_VAL, ON_TEST = "tight: largest, τ on val", "tight: largest, τ on test"
LOWER = "faithfulness: lower is better"
NAN = float("nan")


S = (0, 1, 2)  # three seeds with one value


def each_seed(values):
    """Yield key and value for each seed; a key that ends in several seeds counts for each of them."""
    for key, value in values.items():
        *first, seeds = key if isinstance(key, tuple) and key != S else (key,)
        for seed in seeds if isinstance(seeds, tuple) else (seeds,):
            yield (*first, seed), value


def rows_of(values, protocols=None):
    """{(pooling, map, score, seed): value} as rows; each run has the name `pooling-s<seed>`."""
    found = [
        {
            "run": f"{pooling}-s{seed}",
            "pooling": pooling,
            "map": name,
            "score": score,
            "seed": seed,
            "protocol": (protocols or {}).get(score, ON_VAL),
            "value": value,
            "images": IMAGES,
        }
        for (pooling, name, score, seed), value in each_seed(values)
    ]
    return pd.DataFrame(found)


def known(values, se=0.0, pooling="gap", hits=None):
    """{seed: value}, all with this standard error over images, fully correlated between seeds and scores.

    Two resamples a 1/sqrt(2) above and below their mean have the sample variance a².
    """
    by_seed = {seed: value for (seed,), value in each_seed(values)}
    numbers = np.array(list(by_seed.values()))
    swing = np.array([-se, se]) / np.sqrt(2)
    runs = tuple((f"{pooling}-s{0 if seed is None else seed}",) for seed in by_seed)
    return Measured(tuple(by_seed), runs, numbers, numbers[:, None] + swing, IMAGES, "ids", hits=hits)


def of_hits(hits, pooling="gap"):
    """(S, N) which images count, with real resamples."""
    hits = np.asarray(hits, dtype=bool)
    replicates = np.stack([resamples_of(hits.shape[1]).replicates(share_of(row)) for row in hits])
    runs = tuple((f"{pooling}-s{seed}",) for seed in range(len(hits)))
    return Measured(tuple(range(len(hits))), runs, hits.mean(axis=1), replicates, hits.shape[1], "ids", hits=hits)


def two_sided(z):
    return 2 * stats.norm.sf(z)


def lines_of(summary, **wanted):
    for column, value in wanted.items():
        summary = summary[summary[column] == value]
    return summary.to_dict("records")


def line(summary, **wanted):
    (found,) = lines_of(summary, **wanted)
    return found


def of_baseline(value, **options):
    return known({None: value}, pooling="none", **options)


TWO_SEEDS = {
    ("gap", "cam", "loc", 0): 0.5,
    ("gap", "cam", "loc", 1): 0.7,
    ("gmp", "cam", "loc", 0): 0.4,
    ("gmp", "cam", "loc", 1): 0.5,
}


class TestRowsAlone:
    def test_mean_and_spread_on_paper(self):
        gap = line(summarize(rows_of(TWO_SEEDS)), pooling="gap")
        assert gap["mean"] == pytest.approx(0.6)
        assert gap["std"] == pytest.approx(np.sqrt(0.02))  # sample standard deviation
        assert (gap["seeds"], gap["images"], gap["kind"], gap["protocol"]) == (2, IMAGES, SCORE, ON_VAL)
        assert gap["runs"] == ("gap-s0", "gap-s1")

    def test_one_seed_has_no_spread(self):
        assert np.isnan(line(summarize(rows_of({("gap", "cam", "loc", 0): 0.5})), pooling="gap")["std"])

    def test_no_interval_and_no_test(self):
        summary = summarize(rows_of(TWO_SEEDS))
        told = ["low", "high", "half_width", "se", "p", "p_holm", "mcnemar"]
        assert summary[told].isna().all(axis=None)

    def test_the_difference_is_that_of_the_means(self):
        rows = rows_of({**TWO_SEEDS, ("gap", "cam", "loc", 2): 0.9, ("gmp", "cam", "loc", 3): 0.1})
        difference = line(summarize(rows), pooling="gmp - gap")
        assert difference["mean"] == pytest.approx(1 / 3 - 0.7)
        assert difference["seeds"] == 3
        assert np.isnan(difference["std"])  # seeds of different heads are no pairs
        assert difference["values"] == ()
        assert set(difference["runs"]) == set(rows["run"])

    def test_the_values_of_each_seed_in_the_order_of_the_seeds(self):
        gap = line(summarize(rows_of(dict(reversed(TWO_SEEDS.items())))), pooling="gap")
        assert gap["values"] == (0.5, 0.7)
        assert gap["runs"] == ("gap-s0", "gap-s1")

    def test_a_difference_needs_a_value_of_each(self):
        rows = rows_of({("gap", "cam", "loc", 0): NAN, ("gmp", "cam", "loc", 1): 0.4})
        assert np.isnan(line(summarize(rows), pooling="gmp - gap")["mean"])

    def test_a_map_that_one_pooling_lacks_has_no_difference(self):
        rows = rows_of({**TWO_SEEDS, ("gmp", "grad_cam", "loc", 0): 0.4})
        assert lines_of(summarize(rows), pooling="gmp - gap", map="grad_cam") == []

    def test_scores_of_two_protocols_are_refused(self):
        rows = rows_of(TWO_SEEDS)
        rows.loc[0, "protocol"] = ON_TEST
        with pytest.raises(ValueError, match="loc was scored by several protocols"):
            summarize(rows)

    @pytest.mark.parametrize("base", ["gap", "avg"])
    def test_of_three_poolings_gap_is_the_base_or_else_the_first(self, base):
        values = {(base, "cam", "loc", 0): 0.5, ("lse", "cam", "loc", 0): 0.6, ("gmp", "cam", "loc", 0): 0.3}
        summary = summarize(rows_of(values))
        first, second = sorted(["gmp", "lse"])
        assert summary["pooling"].tolist() == [
            *sorted([base, "gmp", "lse"]),
            f"{first} - {base}",
            f"{second} - {base}",
        ]
        assert line(summary, pooling=f"lse - {base}")["mean"] == pytest.approx(0.1)
        assert line(summary, pooling=f"gmp - {base}")["mean"] == pytest.approx(-0.2)

    def test_gap_is_the_base_though_another_name_comes_first(self):
        values = {("avg", "cam", "loc", 0): 0.5, ("gap", "cam", "loc", 0): 0.6}
        assert summarize(rows_of(values))["pooling"].tolist() == ["avg", "gap", "avg - gap"]


class TestIntervals:
    def test_seeds_that_agree_on_paper(self):
        measured = {("gap", "cam"): {"loc": known({S: 0.5}, se=0.1)}}
        gap = line(summarize(rows_of({("gap", "cam", "loc", S): 0.5}), measured), pooling="gap")
        assert gap["se"] == pytest.approx(0.1)
        assert gap["half_width"] == pytest.approx(0.196, abs=1e-4)  # 1.96 times 0.1
        assert (gap["low"], gap["high"]) == (pytest.approx(0.304, abs=1e-4), pytest.approx(0.696, abs=1e-4))

    def test_three_seeds_on_paper(self):
        # Images add nothing, so it is Student's t with two degrees of freedom: 4.303 times 0.1 / sqrt(3).
        values = {0: 0.5, 1: 0.6, 2: 0.7}
        rows = rows_of({("gap", "cam", "loc", seed): value for seed, value in values.items()})
        gap = line(summarize(rows, {("gap", "cam"): {"loc": known(values)}}), pooling="gap")
        assert gap["se"] == pytest.approx(0.1 / np.sqrt(3))
        assert gap["half_width"] == pytest.approx(0.2484, abs=1e-4)

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_fewer_than_three_seeds_have_values_and_no_interval(self, seeds):
        values = {0: 0.5, 1: 0.7}
        values = {seed: values[seed] for seed in range(seeds)}
        rows = rows_of({("gap", "cam", "loc", seed): value for seed, value in values.items()})
        gap = line(summarize(rows, {("gap", "cam"): {"loc": known(values, 0.1)}}), pooling="gap")
        assert gap["values"] == tuple(values.values())
        assert np.isnan([gap["low"], gap["high"], gap["half_width"], gap["se"]]).all()

    def test_all_right_reaches_down_alone(self):
        # Clopper and Pearson, no event in 50 images: 1 - 0.025 to the power of 1/50.
        measured = {("gap", "cam"): {"loc": known({S: 1.0})}}
        gap = line(summarize(rows_of({("gap", "cam", "loc", S): 1.0}), measured), pooling="gap")
        below = 1 - 0.025 ** (1 / IMAGES)
        assert (gap["low"], gap["high"]) == (pytest.approx(1 - below), 1)
        assert gap["half_width"] == pytest.approx(below)

    def test_a_score_without_a_value_has_none(self):
        measured = {("gap", "cam"): {"loc": known({S: NAN})}}
        gap = line(summarize(rows_of({("gap", "cam", "loc", S): NAN}), measured), pooling="gap")
        assert np.isnan([gap["mean"], gap["low"], gap["high"], gap["half_width"]]).all()

    @pytest.mark.parametrize("values", [{0: 0.5}, {0: 0.5, 1: 0.8}, {0: 0.5, 1: 0.7, 2: 0.6}])
    def test_records_of_other_values_than_the_rows_are_ignored(self, values):
        measured = {("gap", "cam"): {"loc": known(values, se=0.1)}}
        rows = rows_of({("gap", "cam", "loc", 0): 0.5, ("gap", "cam", "loc", 1): 0.7})
        gap = line(summarize(rows, measured), pooling="gap")
        assert gap["mean"] == pytest.approx(0.6)
        assert np.isnan([gap["low"], gap["high"], gap["half_width"], gap["se"]]).all()

    def test_lines_and_scores_that_are_not_measured_stand_beside_those_that_are(self):
        rows = rows_of(
            {("gap", "cam", "loc", S): 0.5, ("gap", "cam", "cls", S): 0.9, ("gap", "grad_cam", "loc", S): 0.5}
        )
        summary = summarize(rows, {("gap", "cam"): {"loc": known({S: 0.5}, se=0.1)}})
        has = summary[summary["half_width"].notna()]
        assert list(zip(has["map"], has["score"], strict=True)) == [("cam", "loc")]


class TestDifferences:
    def two(self, gap, gmp, gap_se=0.0, gmp_se=0.0, **options):
        values = {("gap", "cam", "loc", seed): value for (seed,), value in each_seed(gap)}
        values |= {("gmp", "cam", "loc", seed): value for (seed,), value in each_seed(gmp)}
        measured = {
            ("gap", "cam"): {"loc": known(gap, gap_se)},
            ("gmp", "cam"): {"loc": known(gmp, gmp_se, "gmp")},
        }
        return line(summarize(rows_of(values), measured, **options), pooling="gmp - gap")

    def test_images_are_paired(self):
        # Each alone has a standard error of about 0.1; they swing together, so their difference has 0.02.
        found = self.two({S: 0.5}, {S: 0.55}, 0.1, 0.12)
        assert found["se"] == pytest.approx(0.02)
        assert found["p"] == pytest.approx(two_sided(2.5), rel=1e-3)
        assert (found["low"], found["high"]) == (pytest.approx(0.0108, abs=1e-4), pytest.approx(0.0892, abs=1e-4))

    def test_one_difference_needs_no_correction(self):
        found = self.two({S: 0.5}, {S: 0.55}, 0.1, 0.12)
        assert found["p_holm"] == found["p"]

    def test_seeds_are_not_paired(self):
        # Variances of the means 0.04 / 3 and 0.01 / 3; pairs would differ by 0.1 exactly, with no variance at all.
        found = self.two({0: 0.3, 1: 0.5, 2: 0.7}, {0: 0.5, 1: 0.6, 2: 0.7})
        assert found["mean"] == pytest.approx(0.1)
        assert found["se"] ** 2 == pytest.approx(0.05 / 3)
        freedom = 0.05**2 / (0.04**2 / 2 + 0.01**2 / 2)  # Welch
        assert found["p"] == pytest.approx(2 * stats.t.sf(0.1 / found["se"], freedom))

    def test_other_seeds_of_each(self):
        found = self.two({0: 0.4, 1: 0.5, 2: 0.6}, {5: 0.2, 6: 0.2, 7: 0.2, 8: 0.2})
        assert (found["mean"], found["seeds"]) == (pytest.approx(-0.3), 3)
        assert found["p"] == pytest.approx(2 * stats.t.sf(0.3 / (0.1 / np.sqrt(3)), 2))

    def test_records_of_other_values_than_the_rows_are_ignored(self):
        rows = rows_of({("gap", "cam", "loc", S): 0.5, ("gmp", "cam", "loc", S): 0.4})
        measured = {
            ("gap", "cam"): {"loc": known({S: 0.5}, 0.1)},
            ("gmp", "cam"): {"loc": known({S: 0.7}, 0.2, "gmp")},
        }
        found = line(summarize(rows, measured), pooling="gmp - gap")
        assert found["mean"] == pytest.approx(-0.1)
        assert np.isnan([found["low"], found["p"]]).all()

    def test_mcnemar_on_paper(self):
        # Seed 0: gmp alone is right 6 times, gap alone never: 2 / 2^6. Seeds 1 and 2: once each: 1. The largest counts.
        gap = np.zeros((3, IMAGES), dtype=bool)
        gmp = np.zeros((3, IMAGES), dtype=bool)
        gap[:, :20] = gmp[:, :26] = True
        gap[1:], gmp[1:] = False, False
        gap[1:, :5], gmp[1:, 1:6] = True, True
        assert self.mcnemar(gap, gmp) == 1
        assert self.mcnemar(gap[[0, 0, 0]], gmp[[0, 0, 0]]) == pytest.approx(2 / 2**6)

    def mcnemar(self, gap, gmp):
        measured = {("gap", "cam"): {"loc": of_hits(gap)}, ("gmp", "cam"): {"loc": of_hits(gmp, "gmp")}}
        values = {
            (pooling, "cam", "loc", seed): value
            for pooling, hits in (("gap", gap), ("gmp", gmp))
            for seed, value in enumerate(hits.mean(axis=1))
        }
        return line(summarize(rows_of(values), measured), pooling="gmp - gap")["mcnemar"]

    def test_no_mcnemar_where_there_are_no_hits(self):
        assert np.isnan(self.two({S: 0.5}, {S: 0.55}, 0.1, 0.12)["mcnemar"])

    def test_equal_to_the_last_image(self):
        hits = np.tile(np.arange(IMAGES) < 20, (3, 1))
        rows = rows_of({("gap", "cam", "loc", S): 0.4, ("gmp", "cam", "loc", S): 0.4})
        measured = {("gap", "cam"): {"loc": of_hits(hits)}, ("gmp", "cam"): {"loc": of_hits(hits, "gmp")}}
        found = line(summarize(rows, measured), pooling="gmp - gap")
        assert (found["mean"], found["p"], found["mcnemar"]) == (0, 1, 1)
        assert found["low"] == -found["high"] < 0


class TestOracles:
    def summary(self, rows_differ=False):
        best = {"gap": {0: 0.6, 1: 0.8, 2: 0.7}, "gmp": {0: 0.5, 1: 0.7, 2: 0.6}}
        twins = {"gap": {0: 0.5, 1: 0.6, 2: 0.55}, "gmp": {0: 0.3, 1: 0.65, 2: 0.625}}
        values = {(head, "cam", "best", seed): value for head in best for seed, value in best[head].items()}
        values["gmp", "cam", "best", 0] += rows_differ / 4
        measured = {
            (head, "cam"): {"best": known(best[head], pooling=head), held_out("best"): known(twins[head], pooling=head)}
            for head in best
        }
        return summarize(rows_of(values, {"best": ON_TEST}), measured)

    def test_the_held_out_twin_on_paper(self):
        summary = self.summary()
        oracle, twin = (line(summary, pooling="gap", kind=kind) for kind in (ORACLE, HELD_OUT))
        assert (oracle["score"], twin["score"]) == ("best", "best")
        assert (oracle["protocol"], twin["protocol"]) == (ON_TEST, ON_VAL)
        assert oracle["mean"] == pytest.approx(0.7)
        assert (twin["mean"], twin["std"]) == (pytest.approx(0.55), pytest.approx(0.05))
        assert (twin["seeds"], twin["images"], twin["runs"]) == (3, IMAGES, ("gap-s0", "gap-s1", "gap-s2"))
        assert not np.isnan(twin["half_width"])

    def test_how_much_the_oracle_flatters_is_taken_seed_by_seed(self):
        flattery = line(self.summary(), pooling="gap", kind=FLATTERY)
        assert flattery["mean"] == pytest.approx(0.15)  # of 0.1, 0.2 and 0.15
        assert flattery["std"] == pytest.approx(0.05)
        assert flattery["se"] == pytest.approx(0.05 / np.sqrt(3))
        assert np.isnan([flattery["p"], flattery["p_holm"]]).all()
        assert not flattery["best"]

    def test_the_bias_of_the_best_threshold_is_that_of_the_resamples(self):
        measured = known({S: 0.6})
        measured = replace(measured, replicates=measured.replicates + 0.02)
        rows = rows_of({("gap", "cam", "best", S): 0.6, ("gap", "cam", "loc", S): 0.6}, {"best": ON_TEST})
        summary = summarize(rows, {("gap", "cam"): {"best": measured, "loc": measured}})
        assert line(summary, score="best")["bias"] == pytest.approx(0.02)
        assert np.isnan(line(summary, score="loc")["bias"])  # no threshold was chosen on these images

    def test_differences_of_both(self):
        summary = self.summary()
        oracle, twin = (line(summary, pooling="gmp - gap", kind=kind) for kind in (ORACLE, HELD_OUT))
        assert oracle["mean"] == pytest.approx(-0.1)
        assert twin["mean"] == pytest.approx(-0.025)  # 0.525 less 0.55
        assert twin["protocol"] == ON_VAL
        assert lines_of(summary, pooling="gmp - gap", kind=FLATTERY) == []

    def test_a_twin_of_other_records_than_the_rows_is_ignored(self):
        summary = self.summary(rows_differ=True)
        assert [row["kind"] for row in lines_of(summary, pooling="gmp")] == [ORACLE]
        assert [row["kind"] for row in lines_of(summary, pooling="gmp - gap")] == [ORACLE]
        assert [row["kind"] for row in lines_of(summary, pooling="gap")] == [ORACLE, HELD_OUT, FLATTERY]

    def test_without_records_there_is_no_twin(self):
        summary = summarize(rows_of({("gap", "cam", "best", S): 0.6}, {"best": ON_TEST}))
        assert summary["kind"].tolist() == [ORACLE]


class TestHolm:
    def test_on_paper(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_nothing_to_correct(self):
        assert holm([]) == []
        assert holm(iter([])) == []

    def test_one_alone(self):
        assert holm([0.04]) == pytest.approx([0.04])

    def test_at_most_one(self):
        assert holm([0.9, 0.8]) == [1, 1]

    def table(self):
        """Three maps, z of 2, 2.5 and 3 where boxes are read, and 2.2 of the class, which is the same for all maps."""
        z = {"cam": 2.0, "grad_cam": 2.5, "layer_cam": 3.0}
        values: dict = {}
        measured: dict = {}
        for name, distance in z.items():
            values |= {("gap", name, "loc", S): 0.5, ("gap", name, "cls", S): 0.5}
            values |= {("gmp", name, "loc", S): 0.5 + 0.05 * distance, ("gmp", name, "cls", S): 0.61}
            measured["gap", name] = {"loc": known({S: 0.5}), "cls": known({S: 0.5})}
            measured["gmp", name] = {
                "loc": known({S: 0.5 + 0.05 * distance}, 0.05, "gmp"),
                "cls": known({S: 0.61}, 0.05, "gmp"),
            }
        return summarize(rows_of(values, {"cls": NO_BOX}), measured)

    def test_over_the_table_with_a_score_that_reads_no_box_counted_once(self):
        summary = self.table()
        difference = summary[summary["pooling"] == "gmp - gap"]
        p = {z: two_sided(z) for z in (2.0, 2.2, 2.5, 3.0)}
        of_class = difference[difference["score"] == "cls"]
        assert of_class["p"].tolist() == pytest.approx([p[2.2]] * 3, rel=1e-3)
        # Four hypotheses: 4 p(3), 3 p(2.5), 2 p(2.2), p(2), none below the one before.
        assert of_class["p_holm"].tolist() == pytest.approx([2 * p[2.2]] * 3, rel=1e-3)
        of_boxes = difference[difference["score"] == "loc"].set_index("map")["p_holm"]
        assert of_boxes["layer_cam"] == pytest.approx(4 * p[3.0], rel=1e-3)
        assert of_boxes["grad_cam"] == pytest.approx(3 * p[2.5], rel=1e-3)
        assert of_boxes["cam"] == pytest.approx(2 * p[2.2], rel=1e-3)  # more than its own

    def test_scores_themselves_are_no_hypotheses(self):
        summary = self.table()
        assert summary.loc[~summary["pooling"].str.contains(" - "), ["p", "p_holm"]].isna().all(axis=None)

    def test_the_oracle_and_its_twin_are_two_hypotheses(self):
        values = {("gap", "cam", "best", S): 0.5, ("gmp", "cam", "best", S): 0.65}
        measured = {
            ("gap", "cam"): {"best": known({S: 0.5}), held_out("best"): known({S: 0.5})},
            ("gmp", "cam"): {
                "best": known({S: 0.65}, 0.05, "gmp"),
                held_out("best"): known({S: 0.6}, 0.05, "gmp"),
            },
        }
        summary = summarize(rows_of(values, {"best": ON_TEST}), measured)
        oracle, twin = (line(summary, pooling="gmp - gap", kind=kind) for kind in (ORACLE, HELD_OUT))
        assert oracle["p_holm"] == pytest.approx(2 * two_sided(3), rel=1e-3)
        assert twin["p_holm"] == pytest.approx(two_sided(2), rel=1e-3)


class TestBest:
    def best(self, values, z=None, protocol=ON_VAL, score="loc", sign=1):
        """Which maps of gap are best, with these z to the best of them, whose images add nothing."""
        rows = rows_of({("gap", name, score, S): value for name, value in values.items()}, {score: protocol})
        top = (max if sign > 0 else min)(values.values())
        measured = {
            ("gap", name): {score: known({S: value}, abs(top - value) / z[name] if name in z else 0.0)}
            for name, value in (values.items() if z is not None else ())
        }
        summary = summarize(rows, measured)
        return summary.loc[summary["best"], "map"].tolist()

    def test_rows_alone_the_best(self):
        assert self.best({"a": 0.5, "b": 0.7, "c": 0.6}) == ["b"]

    def test_rows_alone_equals_are_both_best(self):
        assert self.best({"a": 0.7, "b": 0.7, "c": 0.6}) == ["a", "b"]

    def test_what_a_test_does_not_tell_apart(self):
        assert self.best({"a": 0.8, "b": 0.79, "c": 0.5}, {"b": 1.0, "c": 5.0}) == ["a", "b"]
        assert self.best({"a": 0.8, "b": 0.79, "c": 0.5}, {"b": 4.0, "c": 5.0}) == ["a"]

    def test_with_holm_within_the_column(self):
        # p(2.1) = 0.036: enough alone, and not as the larger of two halves of a family: 2 p(2.2) = 0.056.
        values = {"a": 0.8, "b": 0.7, "c": 0.6}
        assert self.best({"a": 0.8, "b": 0.7}, {"b": 2.1}) == ["a"]
        assert self.best(values, {"b": 2.1, "c": 2.2}) == ["a", "b", "c"]
        assert self.best(values, {"b": 2.1, "c": 5.0}) == ["a"]

    def test_lower_is_better(self):
        assert self.best({"a": 0.5, "b": 0.7, "c": 0.4}, protocol=LOWER, score="deletion_auc") == ["c"]
        z = {"a": 1.0, "b": 5.0}
        assert self.best({"a": 0.41, "b": 0.7, "c": 0.4}, z, LOWER, "deletion_auc", sign=-1) == ["a", "c"]

    @pytest.mark.parametrize("score", ["coverage", "leakage", "box_area_ratio"])
    def test_none_where_neither_more_nor_less_is_better(self, score):
        assert self.best({"a": 0.5, "b": 0.7}, {"a": 1.0}, score=score) == []

    def test_none_where_near_zero_is_better(self):
        assert self.best({"a": 0.5, "b": 0.7}, protocol="faithfulness: near zero is better", score="similarity") == []

    def test_a_line_alone_is_not_the_best(self):
        assert self.best({"a": 0.5}) == []
        assert self.best({"a": 0.5, "b": NAN}) == []

    def test_a_line_without_a_value_takes_no_part(self):
        assert self.best({"a": 0.5, "b": NAN, "c": 0.4}) == ["a"]

    def test_columns_are_judged_apart(self):
        rows = rows_of(
            {
                ("gap", "a", "loc", S): 0.5,
                ("gap", "b", "loc", S): 0.6,
                ("gap", "a", "cls", S): 0.9,
                ("gap", "b", "cls", S): 0.8,
            }
        )
        best = summarize(rows).query("best")
        assert set(zip(best["score"], best["map"], strict=True)) == {("loc", "b"), ("cls", "a")}

    def test_differences_take_no_part(self):
        rows = rows_of({("gap", "cam", "loc", S): 0.5, ("gmp", "cam", "loc", S): 0.4})
        summary = summarize(rows)
        assert summary.loc[summary["best"], "pooling"].tolist() == ["gap"]

    def test_fewer_than_three_seeds_are_never_best(self):
        assert not summarize(rows_of(TWO_SEEDS))["best"].any()
        few = {("gap", "cam", "loc", S): 0.5, ("gmp", "cam", "loc", S): 0.3, ("lse", "cam", "loc", 0): 0.5}
        assert summarize(rows_of(few)).query("best")["pooling"].tolist() == ["gap"]
        few["lse", "cam", "loc", 0] = 0.9
        assert not summarize(rows_of(few))["best"].any()  # the highest is of one seed, so nothing is known

    def test_poolings_are_compared_with_unpaired_seeds(self):
        gap, gmp = {0: 0.5, 1: 0.7, 2: 0.6}, {0: 0.4, 1: 0.6, 2: 0.5}  # pairs would differ by 0.1 exactly
        rows = rows_of(
            {
                (head, "cam", "loc", seed): value
                for head, own in (("gap", gap), ("gmp", gmp))
                for seed, value in own.items()
            }
        )
        measured = {("gap", "cam"): {"loc": known(gap)}, ("gmp", "cam"): {"loc": known(gmp, pooling="gmp")}}
        assert summarize(rows, measured).query("best")["pooling"].tolist() == ["gap", "gmp"]  # t = 1.2

    def test_baselines_take_part(self):
        heads = {0: 0.5, 1: 0.6, 2: 0.7}
        rows = rows_of(
            {**{("gap", "cam", "loc", seed): value for seed, value in heads.items()}, ("none", "center", "loc", 0): 0.7}
        )
        told = {("gap", "cam"): {"loc": known(heads)}}
        assert summarize(rows, told).query("best")["map"].tolist() == ["center"]
        measured = {**told, ("none", "center"): {"loc": of_baseline(0.7)}}
        assert summarize(rows, measured).query("best")["map"].tolist() == ["cam", "center"]  # t = 1.7, p = 0.2

    def test_the_twin_has_a_best_of_its_own(self):
        values = {("gap", "a", "best", S): 0.6, ("gap", "b", "best", S): 0.8}
        measured = {
            ("gap", "a"): {"best": known({S: 0.6}), held_out("best"): known({S: 0.5})},
            ("gap", "b"): {"best": known({S: 0.8}), held_out("best"): known({S: 0.4})},
        }
        summary = summarize(rows_of(values, {"best": ON_TEST}), measured)
        best = summary[summary["best"]]
        assert list(zip(best["map"], best["kind"], strict=True)) == [("a", HELD_OUT), ("b", ORACLE)]

    def test_the_twin_is_tested_by_its_own_values(self):
        values = {("gap", "a", "best", S): 0.6, ("gap", "b", "best", S): 0.8}
        measured = {
            ("gap", "a"): {"best": known({S: 0.6}, 0.04), held_out("best"): known({S: 0.5}, 0.01)},  # z of 5 and 1
            ("gap", "b"): {"best": known({S: 0.8}), held_out("best"): known({S: 0.51})},
        }
        best = summarize(rows_of(values, {"best": ON_TEST}), measured).query("best")
        assert set(zip(best["map"], best["kind"], strict=True)) == {("b", ORACLE), ("a", HELD_OUT), ("b", HELD_OUT)}

    def test_records_of_other_values_than_the_rows_are_ignored(self):
        rows = rows_of({("gap", "a", "loc", S): 0.8, ("gap", "b", "loc", S): 0.2})
        measured = {("gap", "a"): {"loc": known({S: 0.8})}, ("gap", "b"): {"loc": known({S: 0.79}, 0.1)}}
        assert summarize(rows, measured).query("best")["map"].tolist() == ["a"]

    def test_a_seed_without_a_value_is_no_tie(self):
        rows = rows_of(
            {
                ("gap", "a", "loc", S): 0.8,
                ("gap", "b", "loc", (0, 2)): 0.2,
                ("gap", "b", "loc", 1): NAN,
            }
        )
        measured = {
            ("gap", "a"): {"loc": known({S: 0.8})},
            ("gap", "b"): {"loc": known({0: 0.2, 1: NAN, 2: 0.2})},
        }
        table = summarize(rows, measured).set_index("map")
        assert np.isnan(table.loc["b", "mean"])  # not the mean of the seed that has one
        assert not table["best"].any()  # of one line that can be told, none is the best

    def test_a_score_that_reads_no_box_is_one_hypothesis_here_too(self):
        # p(2.1) = 0.036 once, not once for every map.
        values: dict = {}
        measured: dict = {}
        for name in ("a", "b", "c"):
            values |= {("gap", name, "cls", S): 0.9, ("gmp", name, "cls", S): 0.8}
            measured["gap", name] = {"cls": known({S: 0.9})}
            measured["gmp", name] = {"cls": known({S: 0.8}, 0.1 / 2.1, "gmp")}
        best = summarize(rows_of(values, {"cls": NO_BOX}), measured).query("best")
        assert best["pooling"].tolist() == ["gap"] * 3

    @pytest.mark.parametrize(
        ("score", "protocol", "expected"),
        [
            ("max_box_acc", ON_TEST, "higher"),
            ("coverage", ON_VAL, ""),
            ("top1_cls", NO_BOX, "higher"),
            ("insertion_auc", "faithfulness: higher is better", "higher"),
            ("deletion_auc", LOWER, "lower"),
            ("randomization_similarity", "faithfulness: near zero is better", ""),
        ],
    )
    def test_better_of(self, score, protocol, expected):
        assert better_of(score, protocol) == expected


class TestBaselines:
    ROWS = rows_of({**TWO_SEEDS, ("none", "center", "loc", 0): 0.3})

    def test_they_stand_last_and_in_no_difference(self):
        summary = summarize(self.ROWS)
        assert summary["pooling"].tolist() == ["gap", "gmp", "gmp - gap", "none"]

    def test_an_interval_of_images_alone(self):
        summary = summarize(self.ROWS, {("none", "center"): {"loc": of_baseline(0.3, se=0.1)}})
        found = line(summary, pooling="none")
        assert found["seeds"] == 1
        assert found["half_width"] == pytest.approx(0.196, abs=1e-4)
        assert found["runs"] == ("none-s0",)

    def test_baselines_alone(self):
        summary = summarize(rows_of({("none", "center", "loc", 0): 0.3, ("none", "frame", "loc", 0): 0.1}))
        assert summary["map"].tolist() == ["center", "frame"]
        assert summary["best"].tolist() == [True, False]


class TestOrder:
    def test_poolings_maps_scores_kinds(self):
        values = {}
        for pooling in ("gmp", "gap"):
            for name in ("layer_cam", "cam"):  # neither is in the order of the alphabet
                for score in ("top1", "best"):
                    values[pooling, name, score, S] = 0.5
        values["none", "center", "top1", 0] = values["none", "center", "best", 0] = 0.5
        measured = {
            (pooling, name): {"best": known({S: 0.5}), held_out("best"): known({S: 0.4})}
            for pooling in ("gap", "gmp")
            for name in ("layer_cam", "cam")
        }
        measured["none", "center"] = {"best": of_baseline(0.5), held_out("best"): of_baseline(0.4)}
        summary = summarize(rows_of(values, {"best": ON_TEST}), measured)
        lines = list(zip(summary["pooling"], summary["map"], strict=True))
        assert list(dict.fromkeys(lines)) == [
            ("gap", "layer_cam"),
            ("gap", "cam"),
            ("gmp", "layer_cam"),
            ("gmp", "cam"),
            ("gmp - gap", "layer_cam"),
            ("gmp - gap", "cam"),
            ("none", "center"),
        ]
        of_setting = [("top1", SCORE), ("best", ORACLE), ("best", HELD_OUT), ("best", FLATTERY)]
        for pooling, name in dict.fromkeys(lines):
            found = lines_of(summary, pooling=pooling, map=name)
            expected = of_setting[:3] if " - " in pooling else of_setting
            assert [(row["score"], row["kind"]) for row in found] == expected
        assert summary.index.tolist() == list(range(len(summary)))


class TestFacts:
    def test_means_and_sums_over_seeds(self):
        rows = rows_of(TWO_SEEDS).assign(
            same_as=["", "", "same as x", "same as x"],
            forward_ms=10.0,
            ms_per_image=[2.0, 4.0, 1.0, 1.0],
            constant_maps=[1, 2, 0, 0],
            zero_maps=0,
            one_pixel_maps=0,
        )
        summary = summarize(rows)
        gap, gmp, difference = (line(summary, pooling=pooling) for pooling in ("gap", "gmp", "gmp - gap"))
        assert (gap["ms_per_image"], gap["forward_ms"], gap["constant_maps"], gap["same_as"]) == (3, 10, 3, "")
        assert (gmp["ms_per_image"], gmp["constant_maps"], gmp["same_as"]) == (1, 0, "same as x")
        assert pd.isna([difference["ms_per_image"], difference["constant_maps"], difference["same_as"]]).all()

    def test_rows_of_older_versions_have_none(self):
        gap = line(summarize(rows_of(TWO_SEEDS)), pooling="gap")
        assert gap["same_as"] == ""
        assert np.isnan([gap["ms_per_image"], gap["zero_maps"]]).all()

    def test_each_run_counts_once_whatever_it_was_scored_by(self):
        values = {("gap", "cam", score, seed): 0.5 for score in ("loc", "cls", "top1") for seed in (0, 1)}
        rows = rows_of(values).assign(
            same_as="", forward_ms=1.0, ms_per_image=1.0, constant_maps=2, zero_maps=1, one_pixel_maps=0
        )
        gap = summarize(rows).iloc[0]
        assert (gap["constant_maps"], gap["zero_maps"]) == (4, 2)
